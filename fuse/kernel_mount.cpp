#include "fuse/kernel_mount.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>
#include <sstream>
#include <string_view>

#include "fuse/mount_table.h"

namespace umbra {

namespace {

constexpr int kReadAheadKib = 1024;
// A reply that goes through a pipe must fit into one, header included, and fs.pipe-max-size is 1
// MiB: two spliced reads of 512 KiB take half the time of one of 1 MiB that is copied.
constexpr int kMaxReadBytes = 512 << 10;

struct FlagOption {
    std::string_view name;
    unsigned long set;
    unsigned long clear;
};

// The options that are flags of mount(2); the others are the filesystem's.
constexpr std::array<FlagOption, 16> kFlagOptions = {{
    {"ro", MS_RDONLY, 0},
    {"rw", 0, MS_RDONLY},
    {"suid", 0, MS_NOSUID},
    {"nosuid", MS_NOSUID, 0},
    {"dev", 0, MS_NODEV},
    {"nodev", MS_NODEV, 0},
    {"exec", 0, MS_NOEXEC},
    {"noexec", MS_NOEXEC, 0},
    {"atime", 0, MS_NOATIME},
    {"noatime", MS_NOATIME, 0},
    {"relatime", MS_RELATIME, 0},
    {"strictatime", MS_STRICTATIME, 0},
    {"diratime", 0, MS_NODIRATIME},
    {"nodiratime", MS_NODIRATIME, 0},
    {"sync", MS_SYNCHRONOUS, 0},
    {"dirsync", MS_DIRSYNC, 0},
}};

struct SystemOptions {
    unsigned long flags = 0;
    std::string text;
};

void add_option(SystemOptions& options, const std::string& name) {
    for (const FlagOption& option : kFlagOptions) {
        if (option.name != name) continue;
        options.flags = (options.flags & ~option.clear) | option.set;
        return;
    }
    options.text += "," + name;
}

SystemOptions system_options(const MountOptions& options, int device, mode_t root_mode,
                             bool read_only) {
    SystemOptions result;
    std::ostringstream rootmode;
    rootmode << std::oct << (root_mode & S_IFMT);
    result.text = "fd=" + std::to_string(device) + ",rootmode=" + rootmode.str() +
                  ",user_id=0,group_id=0,allow_other,default_permissions,max_read=" +
                  std::to_string(kMaxReadBytes);
    for (const std::string& extra : options.extra_options) {
        std::istringstream names(extra);
        for (std::string name; std::getline(names, name, ',');) {
            if (!name.empty()) add_option(result, name);
        }
    }
    if (read_only) result.flags |= MS_RDONLY;
    return result;
}

Result<std::string> absolute_path(const std::string& path) {
    std::unique_ptr<char, decltype(&std::free)> resolved(::realpath(path.c_str(), nullptr),
                                                         &std::free);
    if (!resolved) return errno_error(errno, "cannot mount at " + path);
    return std::string(resolved.get());
}

}  // namespace

Result<KernelMount> KernelMount::attach(const MountOptions& options, const std::string& source,
                                        bool read_only) {
    KernelMount mount;
    UMBRA_ASSIGN(mount.mountpoint_, absolute_path(options.mountpoint));
    const std::string& mountpoint = mount.mountpoint_;
    struct stat status {};
    if (::stat(mountpoint.c_str(), &status) != 0) {
        return errno_error(errno, "cannot mount at " + mountpoint);
    }
    if (!S_ISDIR(status.st_mode)) return errno_error(ENOTDIR, "cannot mount at " + mountpoint);

    mount.device_ = UniqueFd(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
    if (!mount.device_.valid()) {
        return errno_error(errno, "cannot open /dev/fuse (is the kernel module fuse loaded?)");
    }
    const SystemOptions system =
        system_options(options, mount.device_.get(), status.st_mode, read_only);
    if (::mount(source.c_str(), mountpoint.c_str(), "fuse.umbra", system.flags,
                system.text.c_str()) != 0) {
        if (errno == EINVAL && !options.extra_options.empty()) {
            return error_of(ErrorKind::kUsage, EINVAL,
                            "cannot mount at " + mountpoint +
                                ": the kernel does not know one of the options \"" + system.text +
                                "\"");
        }
        return errno_error(errno, "cannot mount at " + mountpoint);
    }
    const auto table = read_mount_table();
    const auto entry = table ? mount_at(*table, mountpoint) : std::nullopt;
    if (!entry) {
        ::umount2(mountpoint.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
        return error_of(ErrorKind::kSystem, ENOENT,
                        "cannot mount at " + mountpoint +
                            ": the new mount is not listed in /proc/self/mountinfo");
    }
    mount.device_number_ = entry->device;
    return mount;
}

KernelMount KernelMount::known(std::string mountpoint, std::string device_number) {
    KernelMount mount;
    mount.mountpoint_ = std::move(mountpoint);
    mount.device_number_ = std::move(device_number);
    return mount;
}

bool KernelMount::on_top() const {
    const auto table = read_mount_table();
    if (!table) return false;
    const auto entry = mount_at(*table, mountpoint_);
    return entry && entry->device == device_number_;
}

bool KernelMount::detach() const {
    return on_top() && ::umount2(mountpoint_.c_str(), UMOUNT_NOFOLLOW) == 0;
}

void KernelMount::detach_lazily() const {
    if (on_top()) ::umount2(mountpoint_.c_str(), MNT_DETACH | UMOUNT_NOFOLLOW);
}

bool KernelMount::connected(int device) {
    pollfd state{device, 0, 0};
    return ::poll(&state, 1, 0) == 0;
}

void KernelMount::abort(int device) const {
    // The number of a mount that is gone may be another mount's by now.
    if (!connected(device)) return;
    const UniqueFd file = abort_switch();
    if (file.valid() && ::write(file.get(), "1", 1) != 1) return;
}

// The switch is a file of the fusectl filesystem, seen here through a mount of its own that has no
// place in the tree of names: works also where /sys/fs/fuse/connections is not mounted.
UniqueFd KernelMount::abort_switch() const {
    const UniqueFd context(::fsopen("fusectl", FSOPEN_CLOEXEC));
    if (!context.valid() ||
        ::fsconfig(context.get(), FSCONFIG_CMD_CREATE, nullptr, nullptr, 0) != 0) {
        return {};
    }
    const UniqueFd connections(::fsmount(context.get(), FSMOUNT_CLOEXEC, 0));
    if (!connections.valid()) return {};
    const std::string minor = device_number_.substr(device_number_.find(':') + 1);
    return UniqueFd(::openat(connections.get(), (minor + "/abort").c_str(), O_WRONLY | O_CLOEXEC));
}

// Only speed hangs on this: without permission for it the kernel reads ahead 128 KiB.
void KernelMount::raise_read_ahead() const {
    const std::string path = "/sys/class/bdi/" + device_number_ + "/read_ahead_kb";
    const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    const std::string value = std::to_string(kReadAheadKib);
    if (file.valid() && ::write(file.get(), value.data(), value.size()) < 0) return;
}

}  // namespace umbra
