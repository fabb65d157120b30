#include "snapstore/live_mount.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "snapstore/folder_below.h"

namespace umbra {

Result<LiveMount> LiveMount::open(const std::string& share) {
    auto failed = [&](ErrorKind kind, int code, const char* what) {
        return error_of(kind, code,
                        std::string(what) + " '" + share + "': " + Error{code, {}, {}}.text());
    };
    // A predecessor's own view is as good as a new one.
    const int below = FolderBelow::of(share);
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
