// Changes of attributes: mode, owner, size, times, xattrs with ACLs, inode flags.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "snapstore/live_change.h"
#include "snapstore/live_tree.h"
#include "snapstore/proc_path.h"
#include "snapstore/thread_identity.h"
#include "snapstore/volume_core.h"

namespace umbra {

namespace {

Result<void> preserve_attributes(Preserver& preserver, ObjectId object, int fd) {
    UMBRA_TRY(preserver.attributes(object, fd, {}));
    return preserver.wait();
}

struct timespec time_argument(TimeChange change, const struct timespec& value) {
    switch (change) {
        case TimeChange::kSet:
            return value;
        case TimeChange::kNow:
            return {0, UTIME_NOW};
        case TimeChange::kOmit:
            break;
    }
    return {0, UTIME_OMIT};
}

// ftruncate(2) always dates the file; truncate(2) to the same size does not on some filesystems.
Result<void> change_size(int fd, std::uint64_t size, const OpenFile* file, bool clear_set_id) {
    ClearSetIdScope clear(clear_set_id, fd);
    const auto length = static_cast<off_t>(size);
    const int result = file != nullptr ? ::ftruncate(file->fd.get(), length)
                                       : ::truncate(ProcPath(fd).c_str(), length);
    if (result != 0) return errno_only(errno);
    return {};
}

// fchmodat2(2) came with Linux 6.6; the way by /proc works everywhere, but takes longer.
Result<void> change_mode(int fd, mode_t mode) {
    constexpr long kFchmodat2 = 452;
    if (syscall(kFchmodat2, fd, "", mode, AT_EMPTY_PATH) == 0) return {};
    if (errno != ENOSYS && errno != EPERM) return errno_only(errno);
    if (::chmod(ProcPath(fd).c_str(), mode) != 0) return errno_only(errno);
    return {};
}

// Does what an empty change clears belong to somebody else? Then it is none: the kernel sends one
// before anybody writes to a file with set-id bits (writing clears them), and for chown(2) to
// nobody, and the two look alike.
bool spares_set_id(int fd, const Caller& caller) {
    struct stat status {};
    if (caller.uid == 0 || fstatat(fd, "", &status, AT_EMPTY_PATH) != 0) return false;
    return caller.uid != status.st_uid && !S_ISDIR(status.st_mode) &&
           (status.st_mode & (S_ISUID | S_ISGID)) != 0;
}

Result<void> apply(VolumeCore& core, int fd, const AttributeChange& change, const OpenFile* file,
                   const Caller& caller) {
    const bool times = change.access_time_change != TimeChange::kOmit ||
                       change.modification_time_change != TimeChange::kOmit;
    const bool nothing = !change.size && !change.mode && !times && !change.uid && !change.gid;
    if (nothing && spares_set_id(fd, caller)) return {};
    // Who sets neither owner nor group has called chown(2) all the same, which dates the file.
    const bool owner = change.uid || change.gid || nothing;
    const bool takes_room = change.size || owner;
    OrdinaryRoomScope room(takes_room && room_is_kept_from(core, caller), caller);
    if (change.size)
        UMBRA_TRY(change_size(fd, *change.size, file, caller.uid != 0 || change.clear_set_id));
    if (owner) {
        ClearSetIdScope clear(caller.uid != 0, fd);
        if (fchownat(fd, "", change.uid.value_or(static_cast<uid_t>(-1)),
                     change.gid.value_or(static_cast<gid_t>(-1)), AT_EMPTY_PATH) != 0)
            return errno_only(errno);
    }
    // After the owner, since changing that clears set-id bits.
    if (change.mode) UMBRA_TRY(change_mode(fd, *change.mode & 07777));
    if (times) {
        const struct timespec values[2] = {
            time_argument(change.access_time_change, change.access_time),
            time_argument(change.modification_time_change, change.modification_time)};
        if (utimensat(fd, "", values, AT_EMPTY_PATH) != 0) return errno_only(errno);
    }
    return {};
}

}  // namespace

Result<struct stat> LiveTree::change_attributes(ObjectId object, const AttributeChange& wanted,
                                                const Caller& caller, const OpenFile* file) {
    return change(
        core_, [&](Preserver & preserver) -> Result<struct stat> {
            UMBRA_ASSIGN(auto fd, core_.mount.open_object(object, O_PATH | O_NOFOLLOW));
            struct stat status {};
            if (fstatat(fd.get(), "", &status, AT_EMPTY_PATH) != 0) return errno_only(errno);
            UMBRA_TRY(preserver.attributes(object, fd.get(), {}));
            if (wanted.size && S_ISREG(status.st_mode)) {
                if (*wanted.size < static_cast<std::uint64_t>(status.st_size))
                    UMBRA_TRY(preserver.content_from(object, *wanted.size));
                else
                    UMBRA_TRY(
                        preserver.content(object, static_cast<std::uint64_t>(status.st_size), 0));
            }
            UMBRA_TRY(preserver.wait());
            if (wanted.size)
                UMBRA_TRY(before_change(core_, object));
            else
                core_.settle(object);  // or it would change the times later
            UMBRA_TRY(apply(core_, fd.get(), wanted, file, caller));
            if (fstatat(fd.get(), "", &status, AT_EMPTY_PATH) != 0) return errno_only(errno);
            core_.hide_traces(object, status);
            return status;
        });
}

Result<void> LiveTree::set_extended(ObjectId object, const std::string& name,
                                    const std::string& value, int flags, const Caller& caller) {
    return change(core_, [&](Preserver& preserver) -> Result<void> {
        UMBRA_ASSIGN(auto fd, core_.mount.open_object(object, O_PATH | O_NOFOLLOW));
        UMBRA_TRY(preserve_attributes(preserver, object, fd.get()));
        // An access ACL set by somebody outside the owning group clears set-group-ID
        // (posix_acl_update_mode).
        struct stat status {};
        if (fstatat(fd.get(), "", &status, AT_EMPTY_PATH) != 0) return errno_only(errno);
        OtherGroupScope outside(
            name == "system.posix_acl_access" && caller.uid != 0 && caller.gid != status.st_gid,
            caller.gid);
        OrdinaryRoomScope room(room_is_kept_from(core_, caller), caller);
        if (setxattr(ProcPath(fd.get()).c_str(), name.c_str(), value.data(), value.size(), flags) !=
            0)
            return errno_only(errno);
        return {};
    });
}

Result<void> LiveTree::remove_extended(ObjectId object, const std::string& name) {
    return change(core_, [&](Preserver& preserver) -> Result<void> {
        UMBRA_ASSIGN(auto fd, core_.mount.open_object(object, O_PATH | O_NOFOLLOW));
        UMBRA_TRY(preserve_attributes(preserver, object, fd.get()));
        if (removexattr(ProcPath(fd.get()).c_str(), name.c_str()) != 0) return errno_only(errno);
        return {};
    });
}

// Inode flags are no part of what a snapshot shows, but setting them changes the time of change.
Result<void> LiveTree::set_inode_flags(ObjectId object, unsigned flags) {
    return change(core_, [&](Preserver& preserver) -> Result<void> {
        UMBRA_ASSIGN(auto fd, open_for_ioctl(core_.mount, object));
        UMBRA_TRY(preserve_attributes(preserver, object, fd.get()));
        core_.settle(object);  // what is immutable cannot be written to
        int value = static_cast<int>(flags);
        if (ioctl(fd.get(), FS_IOC_SETFLAGS, &value) != 0) return errno_only(errno);
        return {};
    });
}

Result<void> LiveTree::set_extended_flags(ObjectId object, const struct fsxattr& flags) {
    return change(core_, [&](Preserver& preserver) -> Result<void> {
        UMBRA_ASSIGN(auto fd, open_for_ioctl(core_.mount, object));
        UMBRA_TRY(preserve_attributes(preserver, object, fd.get()));
        core_.settle(object);  // as above
        struct fsxattr value = flags;
        if (ioctl(fd.get(), FS_IOC_FSSETXATTR, &value) != 0) return errno_only(errno);
        return {};
    });
}

}  // namespace umbra
