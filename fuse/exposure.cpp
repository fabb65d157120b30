#include "fuse/exposure.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <memory>

#include "fuse/mount_table.h"
#include "fuse/registry.h"
#include "fuse/share_path.h"
#include "snapstore/live_tree.h"
#include "snapstore/proc_path.h"
#include "snapstore/token.h"
#include "snapstore/unique_fd.h"

namespace umbra {

namespace {

struct DirectoryCloser {
    void operator()(DIR* directory) const { ::closedir(directory); }
};

Result<UniqueFd> open_without_links(const std::string& path, int flags) {
    struct open_how how {};
    how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC | O_DIRECTORY);
    how.resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    for (;;) {
        UniqueFd fd(
            static_cast<int>(::syscall(SYS_openat2, AT_FDCWD, path.c_str(), &how, sizeof how)));
        if (fd.valid()) return fd;
        if (errno != EAGAIN && errno != EINTR) break;
    }
    const int code = errno;
    if (code == ELOOP)
        return error_of(ErrorKind::kRefused, ELOOP,
                        fmt::format("'{}' goes through a symbolic link, and whoever can change "
                                    "that could choose the place: name the folder itself",
                                    path));
    if (code == ENOENT)
        return error_of(ErrorKind::kNotFound, ENOENT,
                        fmt::format("there is no folder '{}': make it first", path));
    return errno_error(code, fmt::format("cannot open the folder '{}'", path));
}

Result<void> check_empty(int folder, const std::string& path) {
    UniqueFd own(::openat(folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    std::unique_ptr<DIR, DirectoryCloser> stream(own.valid() ? ::fdopendir(own.get()) : nullptr);
    if (!stream) return errno_error(errno, fmt::format("cannot read the folder '{}'", path));
    own.release();
    while (const dirent* entry = ::readdir(stream.get())) {
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..")
            return error_of(ErrorKind::kRefused, ENOTEMPTY,
                            fmt::format("the folder '{}' is not empty, and what is in it would be "
                                        "hidden: name an empty one",
                                        path));
    }
    return {};
}

Result<UniqueFd> open_place(const std::string& path) {
    if (::geteuid() != 0)
        return error_of(ErrorKind::kRefused, EPERM,
                        "only root can expose a snapshot: others find it in .snapshots");
    if (!path.starts_with('/'))
        return error_of(
            ErrorKind::kUsage, EINVAL,
            fmt::format("'{}' is no absolute path: a mount point is named from / on", path));
    UMBRA_ASSIGN(UniqueFd folder, open_without_links(path, O_RDONLY));
    struct statx status {};
    if (::statx(folder.get(), "", AT_EMPTY_PATH, STATX_BASIC_STATS, &status) != 0)
        return errno_error(errno, fmt::format("cannot look at the folder '{}'", path));
    if ((status.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0)
        return error_of(
            ErrorKind::kRefused, EBUSY,
            fmt::format("something is mounted at '{}' already: name another folder", path));
    if (resolve_share_path(Registry(), path, LastComponent::kKeep))
        return error_of(ErrorKind::kRefused, EBUSY,
                        fmt::format("'{}' lies in a share, which could not be unmounted then: name "
                                    "a folder outside",
                                    path));
    UMBRA_TRY(check_empty(folder.get(), path));
    return folder;
}

}  // namespace

Result<std::vector<Exposure>> find_exposures(const std::string& share_root) {
    UMBRA_ASSIGN(const std::vector<MountTableEntry> table, read_mount_table());
    std::vector<Exposure> exposures;
    const auto share = mount_at(table, share_root);
    if (!share || share->type != kMountType) return exposures;
    const std::string folder = fmt::format("/{}/", kSnapshotsDirectoryName);
    for (const auto& mount : table) {
        if (mount.device != share->device || mount.type != kMountType ||
            !mount.root.starts_with(folder))
            continue;
        const std::string token = mount.root.substr(folder.size());
        if (parse_token(token)) exposures.push_back({token, mount.mountpoint});
    }
    return exposures;
}

Result<void> check_exposure_place(const std::string& path) {
    UMBRA_TRY(open_place(path));
    return {};
}

Result<void> expose_snapshot(const std::string& share_root, const std::string& token,
                             const std::string& path) {
    if (!parse_token(token))
        return error_of(ErrorKind::kUsage, EINVAL, fmt::format("'{}' is no token", token));
    UMBRA_ASSIGN(const UniqueFd place, open_place(path));
    const std::string snapshot =
        fmt::format("{}/{}/{}", share_root, kSnapshotsDirectoryName, token);
    const UniqueFd tree(::open_tree(AT_FDCWD, snapshot.c_str(),
                                    OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_SYMLINK_NOFOLLOW));
    if (!tree.valid()) return errno_error(errno, fmt::format("cannot open '{}'", snapshot));
    struct mount_attr attributes {};
    attributes.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;
    attributes.propagation = MS_PRIVATE;
    if (::mount_setattr(tree.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0 ||
        ::move_mount(tree.get(), "", place.get(), "",
                     MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
        return errno_error(errno, fmt::format("cannot expose {} at '{}'", token, path));
    return {};
}

Result<void> unexpose_snapshot(const std::string& mountpoint) {
    if (::geteuid() != 0)
        return error_of(ErrorKind::kRefused, EPERM,
                        fmt::format("only root can take the exposure at '{}' away", mountpoint));
    // By the folder above: a descriptor of the mount itself would keep it busy.
    const std::size_t slash = mountpoint.rfind('/');
    UMBRA_ASSIGN(const UniqueFd parent,
                 open_without_links(slash == 0 ? "/" : mountpoint.substr(0, slash), O_PATH));
    const std::string name = mountpoint.substr(slash + 1);
    if (::umount2(fmt::format("{}/{}", ProcPath(parent.get()).c_str(), name).c_str(),
                  UMOUNT_NOFOLLOW) == 0)
        return {};
    return errno_error(errno, fmt::format("cannot unmount the snapshot at '{}'{}", mountpoint,
                                          errno == EBUSY ? ", which programs still use" : ""));
}

}  // namespace umbra
