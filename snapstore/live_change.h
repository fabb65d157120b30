// The frame of every change to the live tree: gate, preserving, retry after making room. Internal
// to snapstore.
#pragma once

#include <fcntl.h>

#include <cerrno>
#include <shared_mutex>
#include <string>
#include <utility>

#include "snapstore/preserver.h"
#include "snapstore/volume_core.h"

namespace umbra {

// Runs attempt(Preserver&) with the gate held shared. When the diff area had no room, makes some
// and runs it again: an attempt therefore changes the live tree only after everything is preserved.
// Who made history grow waits afterwards, where the policy is to throttle: no lock is held then.
template <typename Attempt>
auto change(VolumeCore& core, Attempt&& attempt) -> decltype(attempt(std::declval<Preserver&>())) {
    if (core.read_only) return errno_only(EROFS);
    UMBRA_TRY(core.check_owner());
    std::uint64_t grown = 0;
    for (bool again = false;; again = true) {
        const std::uint64_t deletions_seen = core.deletions.load();
        bool by_limit = false;
        {
            std::shared_lock gate(core.gate);
            Preserver preserver(core);
            auto result = attempt(preserver);
            grown += preserver.grown();
            if (result || result.error().kind != ErrorKind::kNeedsSpace) {
                gate.unlock();
                if (grown > 0) core.note_growth(grown);
                return result;
            }
            by_limit = result.error().code == EDQUOT;
        }
        UMBRA_TRY(core.make_room(deletions_seen, by_limit, again));
    }
}

// A directory of the live tree for *at calls.
inline Result<DirectoryReference> open_parent(const VolumeCore& core, ObjectId directory) {
    return core.directories.open(core.mount, directory);
}

// Before the contents of a file are changed directly: what had been deferred is there.
inline Result<void> before_change(VolumeCore& core, ObjectId object, int flags = 0) {
    return core.deferred->before_change(object, (flags & (O_SYNC | O_DSYNC)) != 0);
}

// Must the caller's change be made as him, so that he gets no room that is not his to have?
inline bool room_is_kept_from(VolumeCore& core, const Caller& caller) {
    return caller.uid != 0 && core.root_reserve.matters(core.mount.root.get());
}

// An object for the ioctls of inode flags.
inline Result<UniqueFd> open_for_ioctl(const LiveMount& mount, ObjectId object) {
    return mount.open_object(object, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOATIME);
}

// EINVAL for what is no single name; EPERM for Umbra's own names in the root.
Result<void> check_new_name(const VolumeCore& core, ObjectId directory, const std::string& name);
// The same for names to be found: ENOENT for Umbra's own.
Result<void> check_old_name(const VolumeCore& core, ObjectId directory, const std::string& name);

}  // namespace umbra
