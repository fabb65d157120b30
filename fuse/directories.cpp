// opendir, readdir, readdirplus, releasedir, fsyncdir
#include <memory>
#include <vector>

#include "fuse/directory_reader.h"
#include "fuse/live_directory.h"
#include "fuse/operations.h"
#include "fuse/snapshot_view.h"
#include "fuse/snapshots_directory.h"

namespace umbra::operations {

namespace {

Result<std::unique_ptr<DirectoryReader>> open_reader(const Request& request, NodeId node) {
    MountContext& context = request.context();
    if (node.in_snapshot()) return snapshot_view::open_directory(request, node);
    const bool live = !node.is_snapshots_directory();
    const bool with_snapshots = live &&
                                (node.is_root() || context.volume().view_settings().everywhere) &&
                                context.reconnections().take(fuse_req_ctx(request.raw())->pid);
    if (with_snapshots) return open_live_directory(context, node, with_snapshots);
    return open_directory_reader(context, node);
}

// Null: it could not be opened anew after a restart of the daemon.
std::shared_ptr<DirectoryReader> reader_of(const Request& request, const fuse_file_info* info) {
    return request.context().open_directories().find(info->fh);
}

// The reply to a readdir or readdirplus as it grows.
class Listing {
   public:
    Listing(Request& request, NodeId directory, std::size_t room)
        : request_(request),
          directory_(directory),
          room_(room),
          buffer_(std::make_unique_for_overwrite<char[]>(room)) {}

    bool empty() const { return used_ == 0; }

    // False, with nothing done, when there is no room left for the item.
    bool add(const DirectoryItem& item) {
        struct stat status {};
        status.st_ino = item.inode;
        status.st_mode = static_cast<mode_t>(item.type) << 12;
        return take(fuse_add_direntry(request_.raw(), free_space(), room_ - used_, item.name,
                                      &status, item.next));
    }

    // Without a node: the kernel learns the name only ("." and "..", and what could not be looked
    // at).
    bool add_plus(const DirectoryItem& item) {
        NodeEntry bare;
        bare.status.st_ino = item.inode;
        bare.status.st_mode = static_cast<mode_t>(item.type) << 12;
        const fuse_entry_param parameters = entry_parameters(bare);
        return take(fuse_add_direntry_plus(request_.raw(), free_space(), room_ - used_, item.name,
                                           &parameters, item.next));
    }

    // With its node, which the kernel will reference.
    bool add_plus(const DirectoryItem& item, const NodeEntry& entry) {
        const fuse_entry_param parameters = entry_parameters(entry);
        if (!take(fuse_add_direntry_plus(request_.raw(), free_space(), room_ - used_, item.name,
                                         &parameters, item.next))) {
            return false;
        }
        request_.context().nodes().remember(entry.node, entry.generation, directory_);
        counted_.push_back(entry.node);
        return true;
    }

    void reply() {
        MountContext& context = request_.context();
        if (request_.listing({buffer_.get(), used_})) return;
        for (const NodeId node : counted_) context.nodes().forget(node, 1);
    }

   private:
    char* free_space() { return buffer_.get() + used_; }

    // fuse_add_direntry writes only what fits, but always says what it needs.
    bool take(std::size_t needed) {
        if (needed > room_ - used_) return false;
        used_ += needed;
        return true;
    }

    Request& request_;
    const NodeId directory_;
    const std::size_t room_;
    std::unique_ptr<char[]> buffer_;
    std::size_t used_ = 0;
    std::vector<NodeId> counted_;
};

bool add_plus(Listing& listing, DirectoryReader& reader, const DirectoryItem& item) {
    if (item.is_dots()) return listing.add_plus(item);
    if (reader.told_lately && reader.known_to_kernel(item)) return listing.add_plus(item);
    const auto entry = reader.entry_of(item);
    if (entry) return listing.add_plus(item, *entry);
    if (entry.error().code == ENOENT) return true;  // gone meanwhile: left out
    return listing.add_plus(item);
}

// Adds entries until the reply is full or the directory ends. An error counts only before the first
// entry: later it will come again when the kernel asks for the rest.
Result<void> fill(Listing& listing, DirectoryReader& reader, RecentListings& recent,
                  NodeId directory, off_t offset, bool plus) {
    const std::lock_guard lock(reader.mutex());
    if (plus && offset == 0) reader.told_lately = recent.repeated(directory);
    UMBRA_TRY(reader.seek(offset));
    while (true) {
        const auto item = reader.current();
        if (!item && listing.empty()) return tl::make_unexpected(item.error());
        if (!item) return {};
        if (*item == nullptr) return {};
        const bool added = plus ? add_plus(listing, reader, **item) : listing.add(**item);
        if (!added) return {};
        reader.advance();
    }
}

void list(Request& request, NodeId node, std::size_t size, off_t offset, fuse_file_info* info,
          bool plus) {
    const auto reader = reader_of(request, info);
    if (reader == nullptr) return request.error(ESTALE);
    Listing listing(request, node, size);
    const auto filled =
        fill(listing, *reader, request.context().recent_listings(), NodeId(node), offset, plus);
    if (!filled) return request.error(filled.error());
    listing.reply();
}

}  // namespace

Result<std::unique_ptr<DirectoryReader>> open_directory_reader(MountContext& context, NodeId node) {
    if (node.is_snapshots_directory()) return snapshots_directory::open_directory(context, node);
    if (node.in_snapshot()) return snapshot_view::open_directory(context, node);
    return open_live_directory(context, node, false);
}

void opendir(Request& request, fuse_ino_t node, fuse_file_info* info) {
    MountContext& context = request.context();
    auto reader = open_reader(request, NodeId(node));
    if (!reader) return request.error(reader.error());
    info->cache_readdir = (*reader)->cacheable();
    info->keep_cache = info->cache_readdir;
    info->fh = context.open_directories().add(NodeId(node), std::move(*reader));
    const std::uint64_t number = info->fh;
    if (!request.opened_directory(*info)) context.open_directories().close(number);
}

void readdir(Request& request, fuse_ino_t node, std::size_t size, off_t offset,
             fuse_file_info* info) {
    list(request, NodeId(node), size, offset, info, false);
}

void readdirplus(Request& request, fuse_ino_t node, std::size_t size, off_t offset,
                 fuse_file_info* info) {
    list(request, NodeId(node), size, offset, info, true);
}

void releasedir(Request& request, fuse_ino_t /*node*/, fuse_file_info* info) {
    request.context().open_directories().close(info->fh);
    request.done();
}

void fsyncdir(Request& request, fuse_ino_t /*node*/, int /*data_only*/, fuse_file_info* info) {
    const auto reader = reader_of(request, info);
    if (reader == nullptr) return request.error(ESTALE);
    request.done_or_error(reader->synchronize());
}

}  // namespace umbra::operations
