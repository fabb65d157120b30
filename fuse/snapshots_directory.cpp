#include "fuse/snapshots_directory.h"

#include <dirent.h>

#include <cstring>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "fuse/node_name.h"
#include "fuse/snapshot_view.h"

namespace umbra::snapshots_directory {

namespace {

constexpr blksize_t kBlockSize = 4096;
constexpr std::uint64_t kNanosecondsPerSecond = 1'000'000'000;

// Times are those of the newest snapshot, so that they change when a snapshot is made. The
// nanoseconds count the changes of the list: an NFS server must see one also when a snapshot was
// deleted, and none otherwise.
Result<struct stat> own_status(MountContext& context) {
    UMBRA_ASSIGN(const struct stat root, context.live().status(context.live().root()));
    const std::vector<Snapshot> snapshots = context.volume().catalog().snapshots();
    struct stat status {};
    status.st_ino = context.numbering().shown_inode(NodeId::snapshots_directory());
    status.st_mode = S_IFDIR | 0755;
    status.st_nlink = 2 + snapshots.size();
    status.st_uid = root.st_uid;
    status.st_gid = root.st_gid;
    status.st_blksize = kBlockSize;
    struct timespec changed {};
    if (!snapshots.empty()) changed.tv_sec = snapshots.back().created.tv_sec;
    changed.tv_nsec =
        static_cast<long>(context.volume().catalog().sequence() % kNanosecondsPerSecond);
    status.st_atim = status.st_mtim = status.st_ctim = changed;
    return status;
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
    explicit SnapshotList(MountContext& context) : context_(context) {}

    // Positions: 0 is ".", 1 is "..", and from 2 on everything after epoch position - 2.
    Result<void> seek(off_t position) override {
        if (position < 0) return errno_only(EINVAL);
        snapshots_ = context_.volume().catalog().snapshots();
        position_ = position;
        index_ = 0;
        while (index_ < snapshots_.size() && position_of(snapshots_[index_]) <= position) ++index_;
        return {};
    }

    Result<const DirectoryItem*> current() override {
        const NodeNumbering& numbering = context_.numbering();
        if (position_ == 0) {
            const ino_t inode = numbering.shown_inode(NodeId::snapshots_directory());
            item_ = DirectoryItem{".", inode, DT_DIR, 1};
        } else if (position_ == 1) {
            item_ = DirectoryItem{"..", numbering.shown_inode(NodeId::root()), DT_DIR, 2};
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
    std::vector<Snapshot> snapshots_;
    std::size_t index_ = 0;
    off_t position_ = 0;
    DirectoryItem item_;
};

}  // namespace

Result<NodeEntry> own_entry(MountContext& context) {
    UMBRA_ASSIGN(const struct stat status, own_status(context));
    return NodeEntry{NodeId::snapshots_directory(), 0, status};
}

void lookup_self(Request& request) {
    const auto entry = own_entry(request.context());
    if (!entry) return request.error(entry.error());
    request.entry(*entry, NodeId::root());
}

void lookup(Request& request, const char* name) {
    MountContext& context = request.context();
    if (std::strcmp(name, ".") == 0) return lookup_self(request);
    if (std::strcmp(name, "..") == 0) {
        const auto root = context.live().lookup_self(context.live().root());
        if (!root) return request.error(root.error());
        const auto entry = context.live_entry(*root);
        if (!entry) return request.error(entry.error());
        context.reconnections().begin(fuse_req_ctx(request.raw())->pid);
        return request.entry(*entry, NodeId::root());
    }
    if (const int code = check_name(name)) return request.error(code);
    const auto snapshot = context.volume().catalog().find_name(name);
    // Not remembered as absent: the snapshot may be made at any moment, without the kernel.
    if (!snapshot) return request.error(ENOENT);
    const auto entry = snapshot_view::root_entry(context, snapshot->epoch);
    if (!entry) return request.error(entry.error());
    request.entry(*entry, NodeId::snapshots_directory());
}

void getattr(Request& request) {
    const auto status = own_status(request.context());
    if (!status) return request.error(status.error());
    request.attributes(*status);
}

void mkdir(Request& request, const char* name) {
    if (const int code = check_name(name)) return request.error(code);
    later(request, [label = std::string(name)](Request& kept) { create(kept, label); });
}

void rmdir(Request& request, const char* name) {
    if (const int code = check_name(name)) return request.error(code);
    later(request, [name = std::string(name)](Request& kept) { remove(kept, name); });
}

Result<std::unique_ptr<DirectoryReader>> open_directory(MountContext& context) {
    return std::make_unique<SnapshotList>(context);
}

}  // namespace umbra::snapshots_directory
