#include "fuse/dirty_pages.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <memory>

#include "snapstore/unique_fd.h"

namespace umbra {

namespace {

constexpr off_t kKeepPagesFrom = 16
                                 << 20;  // file size from which losing the cached pages would hurt

// The kernel's own handle of a FUSE inode (fs/fuse/inode.c, fuse_encode_fh).
constexpr int kFuseHandleType = 0x81;  // FILEID_INO64_GEN
constexpr std::size_t kFuseHandleWords = 3;

// Opens a node of the mount without a name; invalid when the kernel does not have it.
UniqueFd open_node(int mount, NodeId node, std::uint32_t generation) {
    constexpr std::size_t kSize =
        sizeof(struct file_handle) + kFuseHandleWords * sizeof(std::uint32_t);
    alignas(struct file_handle) std::array<char, kSize> bytes{};
    auto* handle = reinterpret_cast<struct file_handle*>(bytes.data());
    handle->handle_bytes = kFuseHandleWords * sizeof(std::uint32_t);
    handle->handle_type = kFuseHandleType;
    const std::array<std::uint32_t, kFuseHandleWords> words = {
        static_cast<std::uint32_t>(node.value() >> 32), static_cast<std::uint32_t>(node.value()),
        generation};
    std::memcpy(handle->f_handle, words.data(), sizeof words);
    return UniqueFd(::open_by_handle_at(mount, handle, O_RDONLY | O_CLOEXEC | O_NONBLOCK));
}

bool is_large(MountContext& context, NodeId node) {
    const std::shared_ptr<FileHandle> handle = context.open_files().any_of(node);
    struct stat status {};
    return handle && handle->live() && ::fstat(handle->live()->fd.get(), &status) == 0 &&
           status.st_size >= kKeepPagesFrom;
}

// The mount as its users see it, open only as long as it is needed: it makes the mount busy.
class OwnMount {
   public:
    explicit OwnMount(MountContext& context) : context_(context) {}

    // False where it is not possible (another mount in the way, for example).
    bool synchronize(NodeId node, std::uint32_t generation) {
        if (!root_.valid()) {
            root_.reset(
                ::open(context_.options().mountpoint.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        }
        if (!root_.valid()) return false;
        const UniqueFd file = open_node(root_.get(), node, generation);
        return file.valid() && ::fsync(file.get()) == 0;
    }

   private:
    MountContext& context_;
    UniqueFd root_;
};

}  // namespace

void hand_over_dirty_pages(MountContext& context, fuse_session* session) {
    const bool writeback = context.options().writeback;
    // Without the writeback cache only mappings make pages dirty, and a writable one needs O_RDWR.
    const OpenedFor kind = writeback ? OpenedFor::kWriting : OpenedFor::kReadingAndWriting;
    const FlushScope flushing(context);
    OwnMount mount(context);
    for (const NodeId node : context.open_files().nodes_opened(kind)) {
        const auto known = context.nodes().find(node);
        if (!known || known->unlinked) continue;  // without a name it is in no snapshot
        if ((writeback || is_large(context, node)) && mount.synchronize(node, known->generation)) {
            continue;
        }
        fuse_lowlevel_notify_inval_inode(session, node.value(), 0, 0);
    }
}

}  // namespace umbra
