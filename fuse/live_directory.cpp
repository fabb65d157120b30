#include "fuse/live_directory.h"

#include <dirent.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <utility>

#include "fuse/node_name.h"
#include "fuse/snapshots_directory.h"

namespace umbra {

bool DirectoryItem::is_dots() const { return umbra::is_dots(name); }

namespace {

class LiveDirectory final : public DirectoryReader {
   public:
    LiveDirectory(MountContext& context, NodeId node, ObjectId object, UniqueFd fd)
        : context_(context), node_(node), object_(object), fd_(std::move(fd)) {}

    Result<void> seek(off_t position) override {
        // Back at the start, what is buffered may be outdated (rewinddir).
        if (position == position_ && position != 0) return {};
        if (::lseek(fd_.get(), position, SEEK_SET) < 0) return errno_only(errno);
        position_ = position;
        begin_ = end_ = 0;
        return {};
    }

    Result<const DirectoryItem*> current() override {
        while (true) {
            if (begin_ == end_) {
                UMBRA_TRY(fill());
                if (end_ == 0) return nullptr;
            }
            const auto* record = reinterpret_cast<const dirent64*>(buffer_.data() + begin_);
            item_ = DirectoryItem{record->d_name, record->d_ino, record->d_type, record->d_off};
            // Whatever contains the share is nobody's business inside.
            if (node_.is_root() && item_.is_dots()) item_.inode = object_.inode;
            if (!context_.live().hidden(object_, item_.name)) return &item_;
            advance();
        }
    }

    void advance() override {
        const auto* record = reinterpret_cast<const dirent64*>(buffer_.data() + begin_);
        position_ = record->d_off;
        begin_ += record->d_reclen;
    }

    Result<NodeEntry> entry_of(const DirectoryItem& item) override {
        UMBRA_ASSIGN(const Entry entry, context_.live().entry_at(fd_.get(), object_, item.name));
        return context_.live_entry(entry);
    }

    // Another object under a number that was used before the kernel looks up by its name.
    bool known_to_kernel(const DirectoryItem& item) const override {
        const auto node = context_.numbering().live(item.inode);
        return node && context_.nodes().find(*node).has_value();
    }

    Result<void> synchronize() override {
        if (::fsync(fd_.get()) != 0) return errno_only(errno);
        return {};
    }

   private:
    Result<void> fill() {
        const ssize_t size = ::getdents64(fd_.get(), buffer_.data(), buffer_.size());
        // A directory that has been removed is simply empty.
        if (size < 0 && errno != ENOENT) return errno_only(errno);
        begin_ = 0;
        end_ = size > 0 ? static_cast<std::size_t>(size) : 0;
        return {};
    }

    MountContext& context_;
    const NodeId node_;
    const ObjectId object_;
    const UniqueFd fd_;
    off_t position_ = 0;  // of the item at begin_
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
    DirectoryItem item_;
    alignas(dirent64) std::array<char, 16384> buffer_;
};

// A directory that was removed while somebody works in it: below, it is no more.
class RemovedDirectory final : public DirectoryReader {
   public:
    Result<void> seek(off_t /*position*/) override { return {}; }
    Result<const DirectoryItem*> current() override { return nullptr; }
    void advance() override {}
    Result<NodeEntry> entry_of(const DirectoryItem& /*item*/) override {
        return errno_only(ENOENT);
    }
    bool cacheable() const override { return false; }
};

// A folder with .snapshots before everything else.
class WithSnapshots final : public DirectoryReader {
   public:
    WithSnapshots(MountContext& context, NodeId folder, std::unique_ptr<DirectoryReader> rest)
        : context_(context),
          snapshots_(snapshots_directory::of_folder(folder)),
          rest_(std::move(rest)) {}

    Result<void> seek(off_t position) override {
        at_snapshots_ = position == 0;
        return rest_->seek(position == kBehindSnapshots ? 0 : position);
    }

    Result<const DirectoryItem*> current() override {
        if (!at_snapshots_) return rest_->current();
        item_ = DirectoryItem{kSnapshotsDirectoryName, context_.numbering().shown_inode(snapshots_),
                              DT_DIR, kBehindSnapshots};
        return &item_;
    }

    void advance() override {
        if (!at_snapshots_) return rest_->advance();
        at_snapshots_ = false;
    }

    Result<NodeEntry> entry_of(const DirectoryItem& item) override {
        return at_snapshots_ ? snapshots_directory::own_entry(context_, snapshots_)
                             : rest_->entry_of(item);
    }

    Result<void> synchronize() override { return rest_->synchronize(); }
    bool cacheable() const override { return false; }

   private:
    // Where the rest begins: a position that no filesystem uses.
    static constexpr off_t kBehindSnapshots = 0x7fff'5eed'5eed'5eed;

    MountContext& context_;
    const NodeId snapshots_;
    const std::unique_ptr<DirectoryReader> rest_;
    bool at_snapshots_ = true;
    DirectoryItem item_;
};

}  // namespace

Result<std::unique_ptr<DirectoryReader>> open_live_directory(MountContext& context, NodeId node,
                                                             bool with_snapshots) {
    UMBRA_ASSIGN(const ObjectId object, context.live_object(node));
    auto fd = context.live().open_directory(object);
    if (!fd && fd.error().code == ESTALE && context.nodes().removed_directory(node)) {
        return std::make_unique<RemovedDirectory>();
    }
    if (!fd) return forward_error(fd);
    auto directory = std::make_unique<LiveDirectory>(context, node, object, std::move(*fd));
    if (with_snapshots) {
        return std::make_unique<WithSnapshots>(context, node, std::move(directory));
    }
    return directory;
}

}  // namespace umbra
