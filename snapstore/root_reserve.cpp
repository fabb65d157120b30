#include "snapstore/root_reserve.h"

#include <fcntl.h>
#include <linux/btrfs.h>
#include <linux/dqblk_xfs.h>
#include <linux/quota.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <string>

#include "snapstore/filesystem_kind.h"

namespace umbra {

namespace {

// More than anybody writes between two looks.
constexpr std::uint64_t kNearlyFullBytes = 4ull << 30;

bool nearly_full(int fd) {
    struct statvfs status {};
    if (fstatvfs(fd, &status) != 0) return true;
    return status.f_bfree > status.f_bavail &&
           static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize < kNearlyFullBytes;
}

// The quotas of ext4, XFS and whoever else keeps them by user, group or project.
bool has_user_quotas(int fd) {
    struct fs_quota_stat state {};
    state.qs_version = FS_QSTAT_VERSION;
    const int command = static_cast<int>(QCMD(Q_XGETQSTAT, USRQUOTA));
    if (syscall(SYS_quotactl_fd, fd, command, 0, &state) == 0) return state.qs_flags != 0;
    // EPERM: somebody keeps us from looking. Everything else says that there are none.
    return errno == EPERM;
}

// Those of btrfs, by subvolume; root alone may exceed them.
bool has_subvolume_limits(int fd) {
    if (!on_btrfs(fd)) return false;
    struct btrfs_ioctl_fs_info_args info {};
    if (ioctl(fd, BTRFS_IOC_FS_INFO, &info) != 0) return true;
    std::string id;
    for (std::size_t i = 0; i < sizeof info.fsid; ++i) {
        std::array<char, 3> byte{};
        std::snprintf(byte.data(), byte.size(), "%02x", info.fsid[i]);
        id += byte.data();
        if (i == 3 || i == 5 || i == 7 || i == 9) id += '-';
    }
    return access(("/sys/fs/btrfs/" + id + "/qgroups").c_str(), F_OK) == 0;
}

std::int64_t this_second() {
    struct timespec now {};
    clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
    return now.tv_sec;
}

}  // namespace

void RootReserve::look(int fd) {
    const std::int64_t now = this_second();
    // Whoever asks meanwhile goes by what was so a second ago.
    if (looked_.exchange(now, std::memory_order_relaxed) == now) return;
    nearly_full_.store(nearly_full(fd), std::memory_order_relaxed);
    quotas_.store(has_user_quotas(fd) || has_subvolume_limits(fd), std::memory_order_relaxed);
}

bool RootReserve::matters(int fd) {
    look(fd);
    return nearly_full_.load(std::memory_order_relaxed) || quotas_.load(std::memory_order_relaxed);
}

bool RootReserve::has_quotas(int fd) {
    look(fd);
    return quotas_.load(std::memory_order_relaxed);
}

}  // namespace umbra
