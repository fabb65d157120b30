#include "fuse/caller_policy.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/openat2.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <thread>

#include "snapstore/live_tree.h"
#include "snapstore/unique_fd.h"

namespace umbra {

namespace {

// Makes this thread, and it alone, act in the filesystem as somebody else. The kernel takes the
// capabilities that override permissions from a thread whose fsuid leaves 0.
bool act_as(const PeerIdentity& peer) {
    // glibc's setgroups() would change every thread of the process.
    if (::syscall(SYS_setgroups, peer.groups.size(), peer.groups.data()) != 0) return false;
    ::setfsgid(peer.gid);
    ::setfsuid(peer.uid);
    // They report no errors: ask what is in force.
    return ::setfsgid(static_cast<gid_t>(-1)) == static_cast<int>(peer.gid) &&
           ::setfsuid(static_cast<uid_t>(-1)) == static_cast<int>(peer.uid);
}

bool exists_beneath(int directory, const std::string& path) {
    if (path.empty()) return true;
    struct open_how how {};
    how.flags = O_PATH | O_NOFOLLOW | O_CLOEXEC;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    const UniqueFd found(
        static_cast<int>(::syscall(SYS_openat2, directory, path.c_str(), &how, sizeof how)));
    return found.valid();
}

bool look_up_as(const PeerIdentity& peer, const std::string& snapshot_root,
                const std::string& path) {
    if (!act_as(peer)) return false;
    const UniqueFd root(::open(snapshot_root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    return root.valid() && exists_beneath(root.get(), path);
}

}  // namespace

bool sees_everything(const PeerIdentity& peer, uid_t owner) {
    return peer.uid == 0 || peer.uid == owner;
}

Result<void> check_method_access(const std::string& method, const PeerIdentity& peer, uid_t owner) {
    const auto access = method_access(method);
    if (!access) {
        return error_of(ErrorKind::kUsage, ENOSYS, fmt::format("there is no method '{}'", method));
    }
    switch (*access) {
        case MethodAccess::kAnyone:
        case MethodAccess::kReader:
            return {};
        case MethodAccess::kOwner:
            if (sees_everything(peer, owner)) return {};
            return error_of(
                ErrorKind::kRefused, EPERM,
                fmt::format(
                    "'{}' is for root and the owner of the share (user {}); you are user {}",
                    method, owner, peer.uid));
        case MethodAccess::kRoot:
            if (peer.uid == 0) return {};
            return error_of(ErrorKind::kRefused, EPERM,
                            fmt::format("'{}' is for root; you are user {}", method, peer.uid));
    }
    return error_of(ErrorKind::kRefused, EPERM, fmt::format("'{}' is refused", method));
}

bool caller_can_look_up(const PeerIdentity& peer, const std::string& mountpoint,
                        const std::string& token, const std::string& path) {
    const std::string root = fmt::format("{}/{}/{}", mountpoint, kSnapshotsDirectoryName, token);
    bool found = false;
    // A thread of its own, which ends with the borrowed identity.
    std::thread([&] { found = look_up_as(peer, root, path); }).join();
    return found;
}

}  // namespace umbra
