#include "fuse/mount_place.h"

#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "fuse/mount_table.h"
#include "fuse/share_path.h"
#include "snapstore/volume.h"

namespace umbra {

namespace {

constexpr useconds_t kLookAgainMicroseconds = 20'000;

tl::unexpected<Error> refused(std::string message) {
    return error_of(ErrorKind::kRefused, EBUSY, std::move(message));
}

Result<std::string> existing_folder(const std::string& path, const char* what) {
    UMBRA_ASSIGN(std::string canonical, canonical_path(path, LastComponent::kFollow));
    struct stat status {};
    if (::stat(canonical.c_str(), &status) != 0) {
        const int code = errno;
        const ErrorKind kind =
            code == ENOENT || code == ENOTDIR ? ErrorKind::kNotFound : ErrorKind::kSystem;
        return error_of(kind, code,
                        fmt::format("{} '{}': {}", what, path, Error{code, kind, {}}.text()));
    }
    if (!S_ISDIR(status.st_mode)) {
        return error_of(ErrorKind::kUsage, ENOTDIR,
                        fmt::format("{} '{}' is not a folder", what, path));
    }
    return canonical;
}

std::string described(const MountedShare& mounted) {
    return mounted.in_place()
               ? fmt::format("the mounted share '{}'", mounted.share)
               : fmt::format("the share '{}', mounted at '{}'", mounted.share, mounted.mountpoint);
}

// `folder` is to become, or to show, a share of its own.
Result<void> check_apart_from(const MountedShare& mounted, const std::string& folder) {
    for (const std::string& taken : {mounted.share, mounted.mountpoint}) {
        if (folder == taken) {
            return refused(fmt::format(
                "'{}' is mounted already, at '{}' by process {}: 'umbra umount' ends that", folder,
                mounted.mountpoint, mounted.pid));
        }
        if (path_is_within(folder, taken)) {
            return refused(fmt::format("'{}' lies in {}: shares cannot be nested", folder,
                                       described(mounted)));
        }
        if (path_is_within(taken, folder)) {
            return refused(fmt::format("'{}' contains {}: shares cannot be nested", folder,
                                       described(mounted)));
        }
    }
    if (path_is_within(folder, mounted.diff_area)) {
        return refused(fmt::format("'{}' lies in the diff area of {}", folder, described(mounted)));
    }
    return {};
}

// Mounts of daemons that no registry here knows: another namespace's, or a dead one's.
Result<void> check_apart_from_mounts(const std::string& folder) {
    UMBRA_ASSIGN(const std::vector<MountTableEntry> table, read_mount_table());
    for (const auto& mount : table) {
        if (mount.type != kMountType || mount_at(table, mount.mountpoint)->type != kMountType)
            continue;
        if (path_is_within(folder, mount.mountpoint) || path_is_within(mount.mountpoint, folder)) {
            return refused(
                fmt::format("'{}' and the Umbra mount at '{}' overlap: shares cannot be nested",
                            folder, mount.mountpoint));
        }
    }
    return {};
}

Result<void> check_no_share_above(const std::string& folder) {
    for (std::string above = folder; above != "/";) {
        above.erase(above.rfind('/'));
        if (above.empty()) above = "/";
        if (Volume::is_share(above)) {
            return refused(
                fmt::format("'{}' lies in the share '{}': shares cannot be nested", folder, above));
        }
    }
    return {};
}

// umount(8) returns before the daemon has ended: what it unmounted there is waited for.
Result<std::vector<MountedShare>> mounted_to_stay(const Registry& registry,
                                                  const std::string& folder) {
    const auto deadline = std::chrono::steady_clock::now() + kEndingPatience;
    for (;;) {
        UMBRA_ASSIGN(std::vector<MountedShare> all, registry.mounted());
        const bool ending = std::any_of(all.begin(), all.end(), [&](const MountedShare& mounted) {
            return (mounted.share == folder || mounted.mountpoint == folder) && !is_shown(mounted);
        });
        if (!ending || std::chrono::steady_clock::now() >= deadline) return all;
        ::usleep(kLookAgainMicroseconds);
    }
}

Result<void> check_apart(const Registry& registry, const std::string& folder) {
    UMBRA_ASSIGN(const std::vector<MountedShare> all, mounted_to_stay(registry, folder));
    for (const auto& mounted : all) UMBRA_TRY(check_apart_from(mounted, folder));
    UMBRA_TRY(check_apart_from_mounts(folder));
    return check_no_share_above(folder);
}

// A killed daemon leaves a mount that answers nothing but ENOTCONN; nobody can use it for anything.
Result<void> detach_if_dead(const std::string& path,
                            const std::function<void(const std::string&)>& note) {
    UMBRA_ASSIGN(const std::string canonical, canonical_path(path, LastComponent::kFollow));
    for (;;) {
        UMBRA_ASSIGN(const std::vector<MountTableEntry> table, read_mount_table());
        const auto top = mount_at(table, canonical);
        struct statfs status {};
        if (!top || top->type != kMountType) return {};
        if (::statfs(canonical.c_str(), &status) == 0 || errno != ENOTCONN) return {};
        if (::umount2(canonical.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) != 0) {
            return errno_error(
                errno,
                fmt::format("cannot detach the mount at '{}', whose daemon has died", canonical));
        }
        note(fmt::format("detached the mount at '{}', whose daemon had died", canonical));
    }
}

}  // namespace

bool is_shown(const MountedShare& mounted) {
    const auto table = read_mount_table();
    if (!table) return true;
    const auto top = mount_at(*table, mounted.mountpoint);
    return top && top->type == kMountType;
}

Result<std::string> check_share_place(const Registry& registry, const std::string& share) {
    auto folder = existing_folder(share, "the folder");
    if (!folder) return folder;
    if (*folder == "/") return refused("'/' cannot be a share: choose a folder below it");
    UMBRA_TRY(check_apart(registry, *folder));
    return folder;
}

Result<void> check_diff_area_place(const Registry& registry, const std::string& share,
                                   const std::string& diff_area) {
    if (path_is_within(diff_area, share)) {
        return error_of(ErrorKind::kUsage, EINVAL,
                        fmt::format("the diff area '{}' lies in the share '{}': choose a place "
                                    "outside, or leave it out for "
                                    "the default place",
                                    diff_area, share));
    }
    UMBRA_ASSIGN(const std::vector<MountedShare> all, registry.mounted());
    for (const auto& mounted : all) {
        if (!path_is_within(diff_area, mounted.share) &&
            !path_is_within(diff_area, mounted.mountpoint))
            continue;
        return refused(
            fmt::format("the diff area '{}' lies in {}: choose a place that is in no share",
                        diff_area, described(mounted)));
    }
    return check_no_share_above(diff_area);
}

Result<MountPlace> plan_mount(const Registry& registry, const std::string& share,
                              const std::optional<std::string>& mountpoint,
                              const std::function<void(const std::string&)>& note) {
    if (mountpoint) UMBRA_TRY(detach_if_dead(*mountpoint, note));
    UMBRA_TRY(detach_if_dead(share, note));
    registry.clean();

    UMBRA_ASSIGN(std::string folder, check_share_place(registry, share));
    MountPlace in_place{folder, folder};
    if (!mountpoint) return in_place;

    UMBRA_ASSIGN(std::string place, existing_folder(*mountpoint, "the mount point"));
    if (place == folder) return in_place;
    if (path_is_within(place, folder) || path_is_within(folder, place)) {
        return refused(fmt::format(
            "the mount point '{}' and the share '{}' overlap: mount in place, or elsewhere", place,
            folder));
    }
    UMBRA_TRY(check_apart(registry, place));
    if (!Volume::is_share(folder)) {
        return error_of(ErrorKind::kNotFound, ENOENT,
                        fmt::format("'{}' is no share yet: make it one with 'umbra init'", share));
    }
    return MountPlace{std::move(folder), std::move(place)};
}

}  // namespace umbra
