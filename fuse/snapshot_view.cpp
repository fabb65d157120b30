#include "fuse/snapshot_view.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstddef>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "fuse/access_check.h"
#include "fuse/node_name.h"
#include "fuse/snapshots_directory.h"

namespace umbra::snapshot_view {

namespace {

Result<NodeEntry> entry_by_id(MountContext& context, Epoch epoch, ObjectId id) {
    UMBRA_ASSIGN(const struct stat status, context.volume().past(epoch).status(id));
    return context.past_entry(epoch, PastEntry{id, status});
}

// What the kernel is to know of a node of a snapshot.
Result<NodeEntry> own_entry(MountContext& context, NodeId node) {
    UMBRA_ASSIGN(const PastObject object, context.past_object(node));
    UMBRA_ASSIGN(NodeEntry entry, entry_by_id(context, object.epoch, object.id));
    entry.node = node;
    return entry;
}

// The directory that a directory of a snapshot was in. It never changes, so the node table knows
// it, unless the kernel found the directory by a file handle.
Result<NodeId> parent_of(MountContext& context, NodeId node, const PastObject& directory) {
    const NodeNumbering& numbering = context.numbering();
    if (node.is_view()) {
        const auto view = context.view_nodes().find(node);
        if (!view) return errno_only(ESTALE);
        return view->parent;
    }
    if (numbering.is_any_root(node)) return NodeId::snapshots_directory();
    const auto known = context.nodes().find(node);
    if (known && known->parent != node) return known->parent;
    UMBRA_ASSIGN(const ObjectId parent,
                 context.volume().past(directory.epoch).parent(directory.id));
    return numbering.past(directory.epoch, parent.inode);
}

Result<NodeEntry> parent_entry(MountContext& context, NodeId node, const PastObject& directory) {
    UMBRA_ASSIGN(const NodeId parent, parent_of(context, node, directory));
    if (parent.is_snapshots_directory()) return snapshots_directory::own_entry(context, parent);
    return own_entry(context, parent);
}

Result<NodeEntry> look(const Request& request, NodeId directory, std::string_view name) {
    MountContext& context = request.context();
    UMBRA_ASSIGN(const PastObject object, context.past_object(directory));
    // "." and ".." come for NFS file handles whose inode the kernel has dropped.
    if (name == ".") return own_entry(context, directory);
    if (name == "..") return parent_entry(context, directory, object);
    if (const int code = check_name(name)) return errno_only(code);
    UMBRA_TRY(access_check::check_today(context, request, object.id, X_OK));
    UMBRA_ASSIGN(const PastEntry found,
                 context.volume().past(object.epoch).lookup(object.id, std::string(name)));
    return context.past_entry_in(directory, object.epoch, found);
}

class PastDirectory final : public DirectoryReader {
   public:
    PastDirectory(MountContext& context, NodeId node, Epoch epoch,
                  std::vector<PastDirectoryEntry> entries, ino_t own_inode, ino_t parent_inode)
        : context_(context),
          node_(node),
          epoch_(epoch),
          entries_(std::move(entries)),
          own_inode_(own_inode),
          parent_inode_(parent_inode) {}

    // Positions count "." and ".." and then the entries, which never change.
    Result<void> seek(off_t position) override {
        if (position < 0) return errno_only(EINVAL);
        position_ = static_cast<std::size_t>(position);
        return {};
    }

    Result<const DirectoryItem*> current() override {
        const auto next = static_cast<off_t>(position_ + 1);
        if (position_ == 0) {
            item_ = DirectoryItem{".", own_inode_, DT_DIR, next};
        } else if (position_ == 1) {
            item_ = DirectoryItem{"..", parent_inode_, DT_DIR, next};
        } else if (position_ - kDots < entries_.size()) {
            const PastDirectoryEntry& entry = entries_[position_ - kDots];
            UMBRA_ASSIGN(const NodeId node, context_.numbering().past(epoch_, entry.id.inode));
            item_ = DirectoryItem{entry.name.c_str(), context_.numbering().shown_inode(node),
                                  entry.type, next};
        } else {
            return nullptr;
        }
        return &item_;
    }

    void advance() override { ++position_; }

    Result<NodeEntry> entry_of(const DirectoryItem& /*item*/) override {
        const ObjectId id = entries_[position_ - kDots].id;
        UMBRA_ASSIGN(const struct stat status, context_.volume().past(epoch_).status(id));
        return context_.past_entry_in(node_, epoch_, PastEntry{id, status});
    }

   private:
    static constexpr std::size_t kDots = 2;

    MountContext& context_;
    const NodeId node_;
    const Epoch epoch_;
    const std::vector<PastDirectoryEntry> entries_;
    const ino_t own_inode_;
    const ino_t parent_inode_;
    std::size_t position_ = 0;
    DirectoryItem item_;
};

}  // namespace

void lookup(Request& request, NodeId directory, const char* name) {
    const auto entry = look(request, directory, name);
    if (entry) return request.entry(*entry, is_dots(name) ? entry->node : directory);
    entry.error().code == ENOENT ? request.absent() : request.error(entry.error());
}

Result<struct stat> status(MountContext& context, NodeId node) {
    UMBRA_ASSIGN(const PastObject object, context.past_object(node));
    UMBRA_ASSIGN(const struct stat found, context.volume().past(object.epoch).status(object.id));
    return context.shown_past(node, found);
}

// smbd opens what a client wants to write for writing, in a snapshot too, and tells the client at
// the first write; Windows' programs rely on that. To everybody else a snapshot says at once that
// it is read-only.
namespace {

bool is_samba(const Request& request) {
    const std::string path = "/proc/" + std::to_string(fuse_req_ctx(request.raw())->pid) + "/comm";
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    char name[16];
    const ssize_t size = fd.valid() ? ::read(fd.get(), name, sizeof name) : 0;
    return size > 0 && std::string_view(name, static_cast<std::size_t>(size)).starts_with("smbd");
}

}  // namespace

void readlink(Request& request, NodeId node) {
    MountContext& context = request.context();
    const auto object = context.past_object(node);
    if (!object) return request.error(object.error());
    const auto target = context.volume().past(object->epoch).read_link(object->id);
    if (!target) return request.error(target.error());
    request.link_target(*target);
}

void open(Request& request, NodeId node, fuse_file_info& info) {
    const bool for_writing = (info.flags & O_ACCMODE) != O_RDONLY;
    if (info.flags & O_TRUNC) return request.error(EROFS);
    if (for_writing && !is_samba(request)) return request.error(EROFS);
    MountContext& context = request.context();
    const auto object = context.past_object(node);
    if (!object) return request.error(object.error());
    const int wanted = (info.flags & O_ACCMODE) == O_WRONLY ? 0 : R_OK;
    const auto permitted = access_check::check_today(context, request, object->id, wanted);
    if (!permitted) return request.error(permitted.error());
    // Past the page cache, or what is written, and then refused, would be in it.
    if (for_writing) info.direct_io = 1;
    auto file = context.volume().past(object->epoch).open(object->id);
    if (!file) return request.error(file.error());
    request.opened(FileHandle{node, std::move(*file), object->epoch}, info);
}

void read(Request& request, const FileHandle& handle, std::size_t size, off_t offset) {
    // Kept by each worker: a fresh megabyte per request would cost more than reading it.
    thread_local std::vector<std::byte> buffer;
    if (buffer.size() < size) buffer.resize(size);
    const auto got = request.context()
                         .volume()
                         .past(handle.epoch)
                         .read(*handle.past(), static_cast<std::uint64_t>(offset),
                               std::span(buffer).first(size));
    if (!got) return request.error(got.error());
    request.bytes(std::span<const std::byte>(buffer).first(*got));
}

void lseek(Request& request, const FileHandle& handle, off_t offset, int whence) {
    const auto position = request.context()
                              .volume()
                              .past(handle.epoch)
                              .seek(*handle.past(), static_cast<std::uint64_t>(offset), whence);
    if (!position) return request.error(position.error());
    request.position(static_cast<off_t>(*position));
}

Result<std::unique_ptr<DirectoryReader>> open_directory(const Request& request, NodeId node) {
    MountContext& context = request.context();
    UMBRA_ASSIGN(const PastObject object, context.past_object(node));
    UMBRA_TRY(access_check::check_today(context, request, object.id, R_OK));
    return open_directory(context, node);
}

Result<std::unique_ptr<DirectoryReader>> open_directory(MountContext& context, NodeId node) {
    UMBRA_ASSIGN(const PastObject object, context.past_object(node));
    UMBRA_ASSIGN(auto entries, context.volume().past(object.epoch).list(object.id));
    const NodeId parent = parent_of(context, node, object).value_or(node);
    return std::make_unique<PastDirectory>(context, node, object.epoch, std::move(entries),
                                           context.shown_past(node, {}).st_ino,
                                           context.shown_past(parent, {}).st_ino);
}

Result<NodeEntry> root_entry(MountContext& context, Epoch epoch) {
    return entry_by_id(context, epoch, context.live().root());
}

}  // namespace umbra::snapshot_view
