// Making a folder a share.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <climits>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "snapstore/live_mount.h"
#include "snapstore/project_id.h"
#include "snapstore/volume.h"
#include "snapstore/volume_config.h"
#include "snapstore/volume_files.h"

namespace umbra {

namespace {

constexpr std::uint64_t kMinimumFreeBytes = 1 << 20;

Result<std::string> absolute_path(const std::string& path) {
    std::unique_ptr<char, void (*)(void*)> resolved(realpath(path.c_str(), nullptr), free);
    if (!resolved)
        return error_of(errno == ENOENT ? ErrorKind::kNotFound : ErrorKind::kSystem, errno,
                        "'" + path + "': " + Error{errno, {}, {}}.text());
    return std::string(resolved.get());
}

bool is_below(const std::string& path, const std::string& folder) {
    return path == folder || folder == "/" || path.starts_with(folder + "/");
}

Result<bool> is_empty(int directory) {
    UniqueFd fd(openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid()) return errno_only(errno);
    std::unique_ptr<DIR, int (*)(DIR*)> stream(fdopendir(fd.release()), closedir);
    while (const struct dirent* entry = readdir(stream.get())) {
        std::string name = entry->d_name;
        // mkfs leaves lost+found in a filesystem made for the diff area.
        if (name != "." && name != ".." && name != "lost+found") return false;
    }
    return true;
}

Result<void> check_room(int directory, const std::string& path, const SizeLimit& limit) {
    struct statvfs filesystem {};
    if (fstatvfs(directory, &filesystem) != 0)
        return errno_error(errno, "reading the filesystem of " + path);
    if ((filesystem.f_flag & ST_RDONLY) != 0)
        return error_of(
            ErrorKind::kDiffArea, EROFS,
            "the diff area " + path + " is on a read-only filesystem; choose another place");
    if (static_cast<std::uint64_t>(filesystem.f_bavail) * filesystem.f_frsize < kMinimumFreeBytes)
        return error_of(ErrorKind::kDiffArea, ENOSPC,
                        "the filesystem of the diff area " + path +
                            " is full; free some space or choose another place");
    return check_size_limit(limit,
                            static_cast<std::uint64_t>(filesystem.f_blocks) * filesystem.f_frsize);
}

// A diff area elsewhere: an empty directory outside the share, made if it is absent.
struct OutsideArea {
    std::string path;
    UniqueFd fd;
    bool made = false;
};

Result<OutsideArea> open_outside_area(const std::string& wanted, const std::string& share,
                                      const SizeLimit& limit) {
    OutsideArea area;
    auto inside = [](const std::string& path) {
        return error_of(
            ErrorKind::kUsage, EINVAL,
            "the diff area " + path +
                " lies inside the share; choose a place outside, or leave --diff-area out");
    };
    // Before it is made, so that a refusal leaves no trace.
    auto parent = absolute_path(std::filesystem::absolute(wanted).lexically_normal().parent_path());
    if (parent && is_below(*parent, share)) return inside(wanted);
    bool made = mkdir(wanted.c_str(), 0700) == 0;
    if (!made && errno != EEXIST)
        return error_of(ErrorKind::kDiffArea, errno,
                        "creating the diff area " + wanted + ": " + Error{errno, {}, {}}.text());
    auto give_up = [&](tl::unexpected<Error> error) {
        if (made) rmdir(wanted.c_str());
        return error;
    };
    auto path = absolute_path(wanted);
    if (!path) return give_up(forward_error(path));
    area.path = std::move(*path);
    area.made = made;
    if (is_below(area.path, share)) return give_up(inside(area.path));
    area.fd.reset(::open(area.path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!area.fd.valid())
        return give_up(
            error_of(ErrorKind::kDiffArea, errno,
                     "opening the diff area " + area.path + ": " + Error{errno, {}, {}}.text()));
    auto empty = is_empty(area.fd.get());
    if (!empty) return give_up(forward_error(empty));
    if (!*empty)
        return give_up(
            error_of(ErrorKind::kRefused, ENOTEMPTY,
                     "the diff area " + area.path + " is not empty; choose an empty directory"));
    if (auto room = check_room(area.fd.get(), area.path, limit); !room)
        return give_up(forward_error(room));
    return area;
}

Result<void> write_area(int directory, const AreaConfig& config) {
    if (mkdirat(directory, kLogDirectoryName, 0700) != 0)
        return errno_error(errno, "creating the log directory of the diff area");
    if (mkdirat(directory, kIndexDirectoryName, 0700) != 0)
        return errno_error(errno, "creating the index directory of the diff area");
    return write_small_file(directory, kAreaFileName, format_area_config(config));
}

void remove_area(int directory) {
    unlinkat(directory, kAreaFileName, 0);
    unlinkat(directory, kLogDirectoryName, AT_REMOVEDIR);
    unlinkat(directory, kIndexDirectoryName, AT_REMOVEDIR);
}

Result<void> check_share(int root, const std::string& share) {
    struct stat status {};
    auto exists = [&](const char* name) {
        return fstatat(root, name, &status, AT_SYMLINK_NOFOLLOW) == 0;
    };
    if (exists(kControlDirectoryName))
        return error_of(
            ErrorKind::kRefused, EEXIST,
            "'" + share + "' is a share already (it has .umbra); mount it with 'umbra mount'");
    if (exists(kSnapshotsDirectoryName))
        return error_of(
            ErrorKind::kRefused, EEXIST,
            "'" + share +
                "' has a .snapshots of its own, the name that Umbra needs; rename it first");
    return {};
}

}  // namespace

Result<VolumeIdentity> Volume::create(const CreateOptions& options) {
    UMBRA_ASSIGN(std::string share, absolute_path(options.share));
    struct stat before {};
    if (::stat(share.c_str(), &before) != 0) return errno_error(errno, "reading '" + share + "'");
    if (!S_ISDIR(before.st_mode))
        return error_of(ErrorKind::kUsage, ENOTDIR,
                        "'" + share + "' is not a folder; a share is a folder");
    UMBRA_ASSIGN(auto mount, LiveMount::open(share));
    int root = mount.root.get();
    UMBRA_TRY(check_share(root, share));
    VolumeConfig volume{new_uuid(), {}, options.on_event};
    if (volume.uuid.empty()) return errno_error(errno, "reading random bytes for a UUID");
    std::optional<OutsideArea> outside;
    if (options.diff_area) {
        UMBRA_ASSIGN(outside, open_outside_area(*options.diff_area, share, options.max_size));
        volume.diff_area = outside->path;
    } else {
        UMBRA_TRY(check_room(root, share, options.max_size));
    }

    UniqueFd control, area;
    auto build = [&]() -> Result<void> {
        if (mkdirat(root, kControlDirectoryName, 0700) != 0)
            return errno_error(errno, "creating " + share + "/.umbra");
        control.reset(
            openat(root, kControlDirectoryName, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
        if (!control.valid()) return errno_error(errno, "opening " + share + "/.umbra");
        if (fchmod(control.get(), 0700) != 0 || fchown(control.get(), 0, 0) != 0)
            return errno_error(errno, "protecting " + share + "/.umbra");
        leave_project(control.get());  // before anything is made in it
        if (mkdirat(control.get(), kLimboDirectoryName, 0700) != 0)
            return errno_error(errno, "creating limbo");
        int area_fd = outside ? outside->fd.get() : -1;
        if (!outside) {
            if (mkdirat(control.get(), kDefaultDiffAreaName, 0700) != 0)
                return errno_error(errno, "creating the diff area");
            area.reset(openat(control.get(), kDefaultDiffAreaName,
                              O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
            if (!area.valid()) return errno_error(errno, "opening the diff area");
            area_fd = area.get();
        }
        UMBRA_TRY(write_area(area_fd, {volume.uuid, options.max_size, options.on_full}));
        // Last: with volume.toml the folder is a share.
        UMBRA_TRY(write_small_file(control.get(), kVolumeFileName, format_volume_config(volume)));
        if (fsync(root) != 0) return errno_error(errno, "syncing " + share);
        return {};
    };
    if (auto built = build(); !built) {
        if (outside) remove_area(outside->fd.get());
        if (outside && outside->made) rmdir(outside->path.c_str());
        if (area.valid()) remove_area(area.get());
        if (control.valid()) {
            unlinkat(control.get(), kVolumeFileName, 0);
            unlinkat(control.get(), kDefaultDiffAreaName, AT_REMOVEDIR);
            unlinkat(control.get(), kLimboDirectoryName, AT_REMOVEDIR);
        }
        unlinkat(root, kControlDirectoryName, AT_REMOVEDIR);
        return forward_error(built);
    }
    // Umbra's own directory must not show in the folder's times.
    const struct timespec times[2] = {before.st_atim, before.st_mtim};
    futimens(root, times);
    std::string diff_area =
        outside ? outside->path : share + "/" + kControlDirectoryName + "/" + kDefaultDiffAreaName;
    return VolumeIdentity{volume.uuid,      share,           diff_area, options.on_full,
                          options.max_size, options.on_event};
}

}  // namespace umbra
