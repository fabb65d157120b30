#include "snapstore/live_mount.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "snapstore/folder_below.h"

namespace umbra {

namespace {

// Is this place seen through a mount that shows other owners than the filesystem has?
bool on_idmapped_mount(const std::string& path) {
    constexpr unsigned kMountId = 0x1000;  // STATX_MNT_ID
    struct statx status {};
    if (statx(AT_FDCWD, path.c_str(), AT_SYMLINK_NOFOLLOW, kMountId, &status) != 0 ||
        (status.stx_mask & kMountId) == 0)
        return false;
    std::ifstream table("/proc/self/mountinfo");
    for (std::string line; std::getline(table, line);) {
        std::istringstream words(line);
        std::uint64_t id = 0;
        std::string parent, device, root, place, options;
        if (!(words >> id >> parent >> device >> root >> place >> options) ||
            id != status.stx_mnt_id)
            continue;
        return ("," + options + ",").find(",idmapped,") != std::string::npos;
    }
    return false;
}

}  // namespace

Result<LiveMount> LiveMount::open(const std::string& share) {
    auto failed = [&](ErrorKind kind, int code, const char* what) {
        return error_of(kind, code,
                        std::string(what) + " '" + share + "': " + Error{code, {}, {}}.text());
    };
    // A predecessor's own view is as good as a new one.
    const int below = FolderBelow::of(share);
    if (below < 0 && on_idmapped_mount(share))
        return error_of(ErrorKind::kRefused, EINVAL,
                        "'" + share +
                            "' is seen through an idmapped mount, and its history would belong to "
                            "others than its files: make the folder a share, and mount it, where "
                            "the filesystem itself is mounted");
    UniqueFd tree(below >= 0 ? fcntl(below, F_DUPFD_CLOEXEC, 0)
                             : static_cast<int>(syscall(
                                   SYS_open_tree, AT_FDCWD, share.c_str(),
                                   OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW)));
    if (!tree.valid()) {
        bool missing = errno == ENOENT || errno == ENOTDIR;
        return failed(missing ? ErrorKind::kNotFound : ErrorKind::kSystem, errno,
                      "opening the share");
    }
    struct mount_attr attributes {};
    attributes.attr_set = MOUNT_ATTR_NOATIME;
    attributes.attr_clr = MOUNT_ATTR__ATIME;
    if (below < 0 && syscall(SYS_mount_setattr, tree.get(), "", AT_EMPTY_PATH, &attributes,
                             sizeof attributes) != 0)
        return failed(ErrorKind::kSystem, errno, "setting noatime on Umbra's own view of");
    LiveMount mount;
    mount.root.reset(openat(tree.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!mount.root.valid())
        return failed(errno == ENOTDIR ? ErrorKind::kUsage : ErrorKind::kSystem, errno,
                      "opening as a directory");
    struct stat status {};
    if (fstat(mount.root.get(), &status) != 0) return failed(ErrorKind::kSystem, errno, "reading");
    mount.device = status.st_dev;
    UMBRA_ASSIGN(mount.codec, HandleCodec::learn(mount.root.get(), share));
    UMBRA_ASSIGN(mount.root_id, mount.codec.identify(mount.root.get()));
    return mount;
}

}  // namespace umbra
