// Which directories the kernel has been told of lately, with all that is known of their entries.
// Samba lists a folder anew for each file that it makes in it, since Windows does not mind case:
// the names alone have changed, and looking at every entry again would cost more than all the rest.
#pragma once

#include <array>
#include <chrono>
#include <mutex>

#include "fuse/node_id.h"

namespace umbra {

// Every method may be called from any thread. Lock: a leaf, held for a look.
class RecentListings {
   public:
    static constexpr std::chrono::milliseconds kLately{1000};

    // A listing begins. True where one began so lately that it need not tell again what the kernel
    // knows; otherwise it is noted as one that tells all.
    bool repeated(NodeId directory) {
        const auto now = std::chrono::steady_clock::now();
        Listing& listing = listings_[NodeIdHash{}(directory) % listings_.size()];
        const std::lock_guard lock(mutex_);
        if (listing.directory == directory && now - listing.began < kLately) return true;
        listing = {directory, now};
        return false;
    }

   private:
    struct Listing {
        NodeId directory;
        std::chrono::steady_clock::time_point began;
    };

    std::mutex mutex_;
    std::array<Listing, 64> listings_;  // one for all that share a place; guarded by mutex_
};

}  // namespace umbra
