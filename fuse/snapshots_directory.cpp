#include "fuse/snapshots_directory.h"

#include <dirent.h>

#include <cstring>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "fuse/access_check.h"
#include "fuse/node_name.h"
#include "fuse/snapshot_view.h"
#include "snapstore/directory_versions.h"

namespace umbra::snapshots_directory {

namespace {

constexpr blksize_t kBlockSize = 4096;
constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;

}  // namespace

// Times are those of the newest snapshot, so that they change when a snapshot is made. The
// nanoseconds count the changes of the list: an NFS server must see one also when a snapshot was
// deleted, and none otherwise.
Result<struct stat> own_status(MountContext& context, NodeId node) {
    UMBRA_ASSIGN(const ObjectId object, context.live_object(node.folder()));
    UMBRA_ASSIGN(const struct stat folder, context.live().status(object));
    if (!S_ISDIR(folder.st_mode)) return errno_only(ESTALE);
    const std::vector<Snapshot> snapshots = context.volume().catalog().snapshots();
    struct stat status {};
    status.st_ino = context.numbering().shown_inode(node);
    status.st_mode = S_IFDIR | (node.is_folder_snapshots() ? folder.st_mode & 0555 : 0755);
    status.st_nlink = node.is_folder_snapshots() ? 2 : 2 + snapshots.size();
    status.st_uid = folder.st_uid;
    status.st_gid = folder.st_gid;
    status.st_blksize = kBlockSize;
    struct timespec changed {};
    if (!snapshots.empty()) changed.tv_sec = snapshots.back().created.tv_sec;
    changed.tv_nsec =
        static_cast<long>(context.volume().catalog().sequence() % kNanosecondsPerSecond);
    status.st_atim = status.st_mtim = status.st_ctim = changed;
    return status;
}

namespace {

// What a token is in the .snapshots of a folder: never remembered by the kernel under its name,
// since another caller may not enter it, and since the folder may be moved.
Result<NodeEntry> folder_then(const Request& request, NodeId node, const Snapshot& snapshot) {
    MountContext& context = request.context();
    UMBRA_ASSIGN(const ObjectId folder, context.live_object(node.folder()));
    UMBRA_ASSIGN(const std::vector<ObjectId> way,
                 context.volume().directory_versions().way_to(snapshot.epoch, folder));
    UMBRA_TRY(
        access_check::check_way(context, access_check::requester_of(request), snapshot.epoch, way));
    UMBRA_ASSIGN(const struct stat status,
                 context.volume().past(snapshot.epoch).status(way.back()));
    UMBRA_ASSIGN(NodeEntry entry,
                 context.past_entry_in(node, snapshot.epoch, {way.back(), status}));
    entry.entry_seconds = 0;
    return entry;
}

// Which snapshots are listed.
Result<std::vector<Snapshot>> listed(MountContext& context, NodeId node) {
    Volume& volume = context.volume();
    const ViewSettings settings = volume.view_settings();
    std::vector<Snapshot> snapshots;
    if (settings.everywhere) {
        UMBRA_ASSIGN(const ObjectId folder, context.live_object(node.folder()));
        UMBRA_ASSIGN(snapshots, volume.directory_versions().differing(folder));
    } else {
        snapshots = volume.catalog().snapshots();
    }
    return thinned(std::move(snapshots), settings.share_view_max);
}

// Runs on the snapshot thread, which no exception may end.
template <typename Task>
void later(Request& request, Task task) {
    MountContext& context = request.context();
    auto kept = std::make_shared<Request>(std::move(request));
    const bool added = context.snapshot_thread().add([kept, task = std::move(task)] {
        try {
            task(*kept);
        } catch (const std::exception&) {
            if (!kept->answered()) kept->error(ENOMEM);
        }
    });
    if (!added) kept->error(ENOTCONN);
}

void create(Request& request, const std::string& label) {
    MountContext& context = request.context();
    Volume::SnapshotOptions options;
    options.label = label;
    const auto snapshot = context.volume().create_snapshot(options);
    if (!snapshot) return request.error(snapshot.error());
    const auto entry = snapshot_view::root_entry(context, snapshot->epoch);
    if (!entry) return request.error(entry.error());
    request.entry(*entry, NodeId::snapshots_directory());
}

void remove(Request& request, const std::string& name) {
    MountContext& context = request.context();
    const auto snapshot = context.volume().catalog().find_name(name);
    if (!snapshot) return request.error(ENOENT);
    const auto deleted = context.volume().delete_snapshot(snapshot->epoch);
    request.done_or_error(deleted);
}

class SnapshotList final : public DirectoryReader {
   public:
    SnapshotList(MountContext& context, NodeId node, std::vector<Snapshot> snapshots)
        : context_(context), node_(node), snapshots_(std::move(snapshots)) {}

    // Positions: 0 is ".", 1 is "..", and from 2 on everything after epoch position - 2.
    Result<void> seek(off_t position) override {
        if (position < 0) return errno_only(EINVAL);
        // Read from the start again: what there is now.
        if (position == 0 && position_ != 0) {
            UMBRA_ASSIGN(snapshots_, listed(context_, node_));
        }
        position_ = position;
        index_ = 0;
        while (index_ < snapshots_.size() && position_of(snapshots_[index_]) <= position) ++index_;
        return {};
    }

    Result<const DirectoryItem*> current() override {
        const NodeNumbering& numbering = context_.numbering();
        if (position_ == 0) {
            item_ = DirectoryItem{".", numbering.shown_inode(node_), DT_DIR, 1};
        } else if (position_ == 1) {
            item_ = DirectoryItem{"..", numbering.shown_inode(node_.folder()), DT_DIR, 2};
        } else if (index_ < snapshots_.size()) {
            const Snapshot& snapshot = snapshots_[index_];
            item_ = DirectoryItem{snapshot.token.c_str(),
                                  numbering.shown_inode(numbering.past_root(snapshot.epoch)),
                                  DT_DIR, position_of(snapshot)};
        } else {
            return nullptr;
        }
        return &item_;
    }

    void advance() override {
        if (position_ >= 2) ++index_;
        position_ = item_.next;
    }

    Result<NodeEntry> entry_of(const DirectoryItem& /*item*/) override {
        // In a folder each is asked for by whoever enters it.
        if (node_.is_folder_snapshots()) return errno_only(EACCES);
        auto entry = snapshot_view::root_entry(context_, snapshots_[index_].epoch);
        // Deleted since the list was made.
        if (!entry && entry.error().code == ESTALE) return errno_only(ENOENT);
        return entry;
    }

    // Snapshots also come and go without the kernel.
    bool cacheable() const override { return false; }

   private:
    static off_t position_of(const Snapshot& snapshot) {
        return static_cast<off_t>(snapshot.epoch) + 2;
    }

    MountContext& context_;
    const NodeId node_;
    std::vector<Snapshot> snapshots_;
    std::size_t index_ = 0;
    off_t position_ = 0;
    DirectoryItem item_;
};

}  // namespace

NodeId of_folder(NodeId folder) {
    return folder.is_root() ? NodeId::snapshots_directory() : NodeId::folder_snapshots(folder);
}

Result<NodeEntry> own_entry(MountContext& context, NodeId node) {
    UMBRA_ASSIGN(const struct stat status, own_status(context, node));
    NodeEntry entry{node, 0, status};
    // The setting may change, the kernel does not hear of it; nor of the folder's permissions.
    if (node.is_folder_snapshots()) entry.entry_seconds = 0;
    return entry;
}

void lookup_self(Request& request, NodeId folder) {
    const auto entry = own_entry(request.context(), of_folder(folder));
    if (!entry) return request.error(entry.error());
    request.entry(*entry, folder);
}

namespace {

// "." and ".." come for NFS file handles whose inode the kernel has dropped.
Result<NodeEntry> folder_of(const Request& request, NodeId node) {
    MountContext& context = request.context();
    UMBRA_ASSIGN(const ObjectId object, context.live_object(node.folder()));
    UMBRA_ASSIGN(const Entry folder, context.live().lookup_self(object));
    UMBRA_ASSIGN(const NodeEntry entry, context.live_entry(folder));
    context.reconnections().begin(fuse_req_ctx(request.raw())->pid);
    return entry;
}

}  // namespace

void lookup(Request& request, NodeId node, const char* name) {
    MountContext& context = request.context();
    if (std::strcmp(name, ".") == 0) return lookup_self(request, node.folder());
    if (std::strcmp(name, "..") == 0) {
        const auto entry = folder_of(request, node);
        if (!entry) return request.error(entry.error());
        return request.entry(*entry, entry->node);
    }
    if (const int code = check_name(name)) return request.error(code);
    const auto snapshot = context.volume().catalog().find_name(name);
    // Not remembered as absent: the snapshot may be made at any moment, without the kernel.
    if (!snapshot) return request.error(ENOENT);
    const auto entry = node.is_folder_snapshots()
                           ? folder_then(request, node, *snapshot)
                           : snapshot_view::root_entry(context, snapshot->epoch);
    if (!entry) return request.error(entry.error());
    request.entry(*entry, node);
}

void mkdir(Request& request, NodeId node, const char* name) {
    if (node.is_folder_snapshots()) return request.error(EROFS);
    if (const int code = check_name(name)) return request.error(code);
    later(request, [label = std::string(name)](Request& kept) { create(kept, label); });
}

void rmdir(Request& request, NodeId node, const char* name) {
    if (node.is_folder_snapshots()) return request.error(EROFS);
    if (const int code = check_name(name)) return request.error(code);
    later(request, [name = std::string(name)](Request& kept) { remove(kept, name); });
}

Result<std::unique_ptr<DirectoryReader>> open_directory(MountContext& context, NodeId node) {
    UMBRA_ASSIGN(std::vector<Snapshot> snapshots, listed(context, node));
    return std::make_unique<SnapshotList>(context, node, std::move(snapshots));
}

}  // namespace umbra::snapshots_directory
