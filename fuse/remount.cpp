#include "fuse/remount.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mount.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "fuse/daemon_options.h"
#include "fuse/mount_table.h"
#include "fuse/share_access.h"
#include "fuse/share_path.h"
#include "snapstore/unique_fd.h"

namespace umbra {

namespace {

struct AttributeOption {
    std::string_view name;
    std::uint64_t set;
    std::uint64_t clear;
};

constexpr std::array<AttributeOption, 11> kAttributeOptions = {{
    {"suid", 0, MOUNT_ATTR_NOSUID},
    {"nosuid", MOUNT_ATTR_NOSUID, 0},
    {"dev", 0, MOUNT_ATTR_NODEV},
    {"nodev", MOUNT_ATTR_NODEV, 0},
    {"exec", 0, MOUNT_ATTR_NOEXEC},
    {"noexec", MOUNT_ATTR_NOEXEC, 0},
    // These exclude each other, and have one field of the attributes.
    {"atime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME},
    {"noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME},
    {"diratime", 0, MOUNT_ATTR_NODIRATIME},
    {"nodiratime", MOUNT_ATTR_NODIRATIME, 0},
}};

constexpr std::array<std::string_view, 3> kSuperblockFlags = {"sync", "async", "dirsync"};

// Of every mount of FUSE, as /proc/self/mountinfo has it.
constexpr std::array<std::string_view, 3> kShownByKernel = {"user_id=", "group_id=", "max_read="};

std::vector<std::string_view> words_of(const std::vector<std::string>& lists) {
    std::vector<std::string_view> words;
    for (std::string_view list : lists) {
        while (!list.empty()) {
            const std::size_t comma = list.find(',');
            words.push_back(list.substr(0, comma));
            list = comma == std::string_view::npos ? std::string_view{} : list.substr(comma + 1);
        }
    }
    return words;
}

bool take_attribute(RemountOptions& options, std::string_view word) {
    const auto* const found =
        std::find_if(kAttributeOptions.begin(), kAttributeOptions.end(),
                     [&](const AttributeOption& option) { return option.name == word; });
    if (found == kAttributeOptions.end()) return false;
    // A later word takes back what an earlier one said.
    options.set_attributes = (options.set_attributes & ~found->clear) | found->set;
    options.clear_attributes = (options.clear_attributes & ~found->set) | found->clear;
    return true;
}

// What the daemon has of its own. Everything else that is no option of a mount is refused here.
Result<void> take_daemon_option(RemountOptions& options, std::string_view word) {
    DaemonOptions daemon;
    UMBRA_TRY(add_mount_options(daemon, word));
    if (word.starts_with("memory=")) options.memory_bytes = daemon.memory_bytes;
    if (word.starts_with("lease=")) options.lease_seconds = daemon.lease.count();
    options.writeback = options.writeback || daemon.writeback;
    options.debug = options.debug || daemon.debug;
    return {};
}

Result<void> take_option(RemountOptions& options, std::string_view word) {
    const auto shown = [&](std::string_view prefix) { return word.starts_with(prefix); };
    if (word == "remount" || std::any_of(kShownByKernel.begin(), kShownByKernel.end(), shown))
        return {};
    if (word == "ro" || word == "rw") {
        options.read_only = word == "ro";
        return {};
    }
    if (std::find(kSuperblockFlags.begin(), kSuperblockFlags.end(), word) !=
        kSuperblockFlags.end()) {
        options.superblock_flags.emplace_back(word);
        return {};
    }
    if (take_attribute(options, word)) return {};
    return take_daemon_option(options, word);
}

// The mount is the share's, not another one over it.
Result<void> check_on_top(const MountedShare& mounted) {
    UMBRA_ASSIGN(const std::vector<MountTableEntry> table, read_mount_table());
    const auto top = mount_at(table, mounted.mountpoint);
    if (top && top->type == kMountType) return {};
    return error_of(ErrorKind::kSystem, EBUSY,
                    fmt::format("cannot remount '{}': what is mounted there is not the share",
                                mounted.mountpoint));
}

// fspick(2), fsconfig(2): changes what is named and leaves the rest.
Result<void> change_superblock(const std::string& mountpoint,
                               const std::vector<std::string>& flags) {
    if (flags.empty()) return {};
    const UniqueFd context(
        ::fspick(AT_FDCWD, mountpoint.c_str(), FSPICK_CLOEXEC | FSPICK_NO_AUTOMOUNT));
    const auto failed = [&] {
        if (errno != EBUSY)
            return errno_error(errno, fmt::format("cannot remount '{}'", mountpoint));
        return error_of(ErrorKind::kSystem, EBUSY,
                        fmt::format("cannot remount '{}': files in it are open for writing; close "
                                    "them ('fuser -vm {}' names who has them) and try again",
                                    mountpoint, mountpoint));
    };
    if (!context.valid()) return failed();
    for (const std::string& flag : flags) {
        if (::fsconfig(context.get(), FSCONFIG_SET_FLAG, flag.c_str(), nullptr, 0) != 0)
            return failed();
    }
    if (::fsconfig(context.get(), FSCONFIG_CMD_RECONFIGURE, nullptr, nullptr, 0) != 0)
        return failed();
    return {};
}

Result<void> change_attributes(const std::string& mountpoint, const RemountOptions& options) {
    struct mount_attr attributes {};
    attributes.attr_set = options.set_attributes;
    attributes.attr_clr = options.clear_attributes;
    if (options.read_only)
        (*options.read_only ? attributes.attr_set : attributes.attr_clr) |= MOUNT_ATTR_RDONLY;
    if (attributes.attr_set == 0 && attributes.attr_clr == 0) return {};
    if (::mount_setattr(AT_FDCWD, mountpoint.c_str(), AT_SYMLINK_NOFOLLOW, &attributes,
                        sizeof attributes) == 0)
        return {};
    return errno_error(errno, fmt::format("cannot change the mount '{}'", mountpoint));
}

// What was mounted has these or has them not; naming what is there is no change.
Result<void> check_unchangeable(const MountedShare& mounted, const RemountOptions& options) {
    const auto has = [words = words_of({mounted.options})](std::string_view name) {
        return std::find(words.begin(), words.end(), name) != words.end();
    };
    for (const auto& [wanted, name] :
         {std::pair{options.writeback, "writeback"}, std::pair{options.debug, "debug"}}) {
        if (!wanted || has(name)) continue;
        return error_of(ErrorKind::kRefused, EINVAL,
                        fmt::format("'{}' can be given to a new mount only: unmount '{}' and mount "
                                    "it again",
                                    name, mounted.mountpoint));
    }
    return {};
}

Result<void> change_daemon(const Registry& registry, const MountedShare& mounted,
                           const RemountOptions& options) {
    nlohmann::json wanted = nlohmann::json::object();
    if (options.read_only) wanted["read_only"] = *options.read_only;
    if (options.memory_bytes) wanted["memory"] = *options.memory_bytes;
    if (options.lease_seconds) wanted["lease"] = *options.lease_seconds;
    return wanted.empty() ? Result<void>{} : reopen_volume(registry, mounted, wanted);
}

// Read-only first, then the volume; where that fails the mount is as it was.
Result<void> become_read_only(const Registry& registry, const MountedShare& mounted,
                              const RemountOptions& options) {
    struct statvfs before {};
    if (::statvfs(mounted.mountpoint.c_str(), &before) != 0)
        return errno_error(errno, fmt::format("cannot remount '{}'", mounted.mountpoint));
    UMBRA_TRY(change_superblock(mounted.mountpoint, {"ro"}));
    auto changed = change_daemon(registry, mounted, options);
    if (!changed && (before.f_flag & ST_RDONLY) == 0)
        static_cast<void>(change_superblock(mounted.mountpoint, {"rw"}));
    return changed;
}

}  // namespace

bool asks_to_remount(const std::vector<std::string>& lists) {
    const auto words = words_of(lists);
    return std::find(words.begin(), words.end(), "remount") != words.end();
}

Result<RemountOptions> parse_remount(const std::vector<std::string>& lists) {
    RemountOptions options;
    for (const std::string_view word : words_of(lists)) UMBRA_TRY(take_option(options, word));
    return options;
}

Result<void> remount_share(const Registry& registry, const std::string& path,
                           const RemountOptions& options) {
    UMBRA_ASSIGN(const SharePath share, resolve_share(registry, path));
    if (!share.mounted) {
        return error_of(ErrorKind::kNotFound, EINVAL,
                        fmt::format("cannot remount '{}': it is not mounted", share.share));
    }
    const MountedShare& mounted = *share.mounted;
    UMBRA_TRY(check_on_top(mounted));
    UMBRA_TRY(check_unchangeable(mounted, options));
    const std::string& mountpoint = mounted.mountpoint;
    if (options.read_only.value_or(false)) {
        UMBRA_TRY(become_read_only(registry, mounted, options));
    } else {
        UMBRA_TRY(change_daemon(registry, mounted, options));
        if (options.read_only) UMBRA_TRY(change_superblock(mountpoint, {"rw"}));
    }
    UMBRA_TRY(change_superblock(mountpoint, options.superblock_flags));
    return change_attributes(mountpoint, options);
}

}  // namespace umbra
