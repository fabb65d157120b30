#include "snapstore/thread_identity.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

namespace umbra {

namespace {

constexpr std::uint64_t bit(int capability) { return 1ull << capability; }

// What the thread may do is read once: it never changes but through the scopes here.
struct Capabilities {
    std::uint64_t effective = 0;
    std::uint64_t permitted = 0;
    std::uint64_t inheritable = 0;
};

Capabilities read_capabilities() {
    struct __user_cap_header_struct header {
        _LINUX_CAPABILITY_VERSION_3, 0
    };
    struct __user_cap_data_struct data[2] = {};
    syscall(SYS_capget, &header, data);
    auto join = [](std::uint32_t low, std::uint32_t high) {
        return low | static_cast<std::uint64_t>(high) << 32;
    };
    return {join(data[0].effective, data[1].effective), join(data[0].permitted, data[1].permitted),
            join(data[0].inheritable, data[1].inheritable)};
}

void set_effective(const Capabilities& capabilities, std::uint64_t effective) {
    struct __user_cap_header_struct header {
        _LINUX_CAPABILITY_VERSION_3, 0
    };
    struct __user_cap_data_struct data[2] = {};
    for (int i = 0; i < 2; ++i) {
        data[i].effective =
            static_cast<std::uint32_t>((effective & capabilities.permitted) >> (32 * i));
        data[i].permitted = static_cast<std::uint32_t>(capabilities.permitted >> (32 * i));
        data[i].inheritable = static_cast<std::uint32_t>(capabilities.inheritable >> (32 * i));
    }
    syscall(SYS_capset, &header, data);
}

const Capabilities& thread_capabilities() {
    thread_local const Capabilities capabilities = read_capabilities();
    return capabilities;
}

// What the scopes that live on this thread have given up.
thread_local std::uint64_t given_up = 0;

// Also after setfsuid(2), which takes or gives the capabilities of filesystems by itself.
void apply_capabilities() {
    set_effective(thread_capabilities(), thread_capabilities().effective & ~given_up);
}

void give_up(int capability) {
    given_up |= bit(capability);
    apply_capabilities();
}

void take_back(int capability) {
    given_up &= ~bit(capability);
    apply_capabilities();
}

// The umask belongs to the process unless the thread has its own filesystem context.
void own_umask() {
    thread_local const bool separate = unshare(CLONE_FS) == 0;
    static_cast<void>(separate);
}

}  // namespace

CallerScope::CallerScope(const Caller& caller) {
    own_umask();
    umask_before_ = umask(caller.umask);
    thread_capabilities();
    if (caller.gid != 0) {
        setfsgid(caller.gid);
        switched_group_ = true;
    }
    if (caller.uid != 0) {
        // Leaving uid 0 drops the filesystem capabilities; they are taken back, FSETID too: the
        // kernel has cleared set-group-ID already where the caller, with all his groups, may not
        // set it. What is left out overrides quotas and reserves.
        setfsuid(caller.uid);
        give_up(CAP_SYS_RESOURCE);
        switched_user_ = true;
    }
}

CallerScope::~CallerScope() {
    if (switched_user_) {
        setfsuid(0);
        take_back(CAP_SYS_RESOURCE);
    }
    if (switched_group_) setfsgid(0);
    umask(umask_before_);
}

OrdinaryRoomScope::OrdinaryRoomScope(bool active, const Caller& caller)
    : active_(active && caller.uid != 0) {
    if (!active_) return;
    thread_capabilities();
    setfsuid(caller.uid);
    give_up(CAP_SYS_RESOURCE);
}

OrdinaryRoomScope::~OrdinaryRoomScope() {
    if (!active_) return;
    setfsuid(0);
    take_back(CAP_SYS_RESOURCE);
}

BoundScope::BoundScope(bool active) : active_(active) {
    if (active_) give_up(CAP_SYS_RESOURCE);
}

BoundScope::~BoundScope() {
    if (active_) take_back(CAP_SYS_RESOURCE);
}

namespace {

void act_in_group(gid_t group) {
    setfsgid(group);
    give_up(CAP_FSETID);
}

void act_as_root_again() {
    take_back(CAP_FSETID);
    setfsgid(0);
}

}  // namespace

ClearSetIdScope::ClearSetIdScope(bool active, int fd) {
    struct stat status {};
    // Most files have no such bits, and asking is cheaper than changing who acts.
    if (!active || fstatat(fd, "", &status, AT_EMPTY_PATH) != 0 ||
        (status.st_mode & (S_ISUID | S_ISGID)) == 0)
        return;
    active_ = true;
    act_in_group(status.st_gid);
}

ClearSetIdScope::~ClearSetIdScope() {
    if (active_) act_as_root_again();
}

OtherGroupScope::OtherGroupScope(bool active, gid_t group) : active_(active) {
    if (active_) act_in_group(group);
}

OtherGroupScope::~OtherGroupScope() {
    if (active_) act_as_root_again();
}

}  // namespace umbra
