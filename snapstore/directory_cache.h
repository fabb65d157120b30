// Directories of the live tree that were used last, held open for *at calls: opening one by its
// handle takes longer than most look-ups in it. Bounded; a removed directory is dropped at once, so
// that it does not stay behind.
//
// Thread-safe. Locks: one per shard, leaves, never held over a system call.
#pragma once

#include <array>
#include <cstddef>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "snapstore/live_mount.h"
#include "snapstore/object_id.h"
#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

// A directory that is open (O_PATH) as long as somebody refers to it.
class DirectoryReference {
   public:
    explicit DirectoryReference(std::shared_ptr<const UniqueFd> fd) : fd_(std::move(fd)) {}
    int get() const { return fd_->get(); }

   private:
    std::shared_ptr<const UniqueFd> fd_;
};

class DirectoryCache {
   public:
    static constexpr std::size_t kMost = 256;

    // Errors: those of LiveMount::open_object; ENOTDIR.
    Result<DirectoryReference> open(const LiveMount& mount, ObjectId directory);
    // It has been removed.
    void forget(ObjectId directory);

   private:
    static constexpr std::size_t kShards = 16;
    struct Shard {
        std::mutex mutex;
        std::vector<std::pair<ObjectId, std::shared_ptr<const UniqueFd>>>
            used;  // last one in front
    };
    Shard& shard_of(ObjectId object) { return shards_[ObjectIdHash{}(object) % kShards]; }

    std::array<Shard, kShards> shards_;
};

}  // namespace umbra
