// Finds out whether a file has a name in the share where neither the filesystem nor the kernel's
// caches say: by reading the directories. Needed for handles that an NFS client kept over a reboot.
//
// One search takes as long as `find` does and leaves notes of what it saw, so that the handles that
// come next take one directory each. The notes are hints: every answer is checked against the tree.
// They take 12 MiB at most.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "snapstore/object_id.h"
#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

class VolumeCore;

class InodeSearch {
   public:
    // May be called from any thread, without any lock. One search runs at a time and few callers
    // wait for it, the others get ETIMEDOUT, which lets an NFS client ask again later: numbers that
    // somebody invented must not keep every thread of the daemon busy.
    Result<bool> has_name(const VolumeCore& core, ObjectId object);

   private:
    struct Hint {
        std::uint64_t inode;
        ObjectId directory;
    };
    static constexpr std::size_t kMostHints = 1 << 19;
    static constexpr int kMostCallers = 4;

    Result<bool> check_hints(const VolumeCore& core, ObjectId object) const;
    Result<bool> search(const VolumeCore& core, ObjectId object);

    std::atomic<int> callers_ = 0;
    std::mutex mutex_;         // held over a search; nothing else is locked under it
    std::vector<Hint> hints_;  // sorted by inode
};

// Climbs from a directory until it is known whose it is: is it the share's root, or below that and
// not below .umbra? `directory` may be O_PATH.
Result<bool> is_in_share(const VolumeCore& core, UniqueFd directory);

}  // namespace umbra
