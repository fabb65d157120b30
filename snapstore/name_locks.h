// Keeps names as they are while a change looks at them, preserves them and acts. The kernel does
// the same for the requests of a mount, but not for a restore that works beside it.
//
// After the gate, before ObjectState::mutex: directories first (both at once), then at most one
// object.
#pragma once

#include <array>
#include <cstddef>
#include <mutex>
#include <utility>

#include "snapstore/object_id.h"

namespace umbra {

class NameLocks {
   public:
    struct Held {
        std::unique_lock<std::mutex> first, second;
    };
    // No name in these directories changes through LiveTree while the result lives.
    Held directories(ObjectId one, ObjectId other) {
        std::size_t low = stripe_of(one);
        std::size_t high = stripe_of(other);
        if (low > high) std::swap(low, high);
        Held held{std::unique_lock(directories_[low]), {}};
        if (high != low) held.second = std::unique_lock(directories_[high]);
        return held;
    }
    Held directory(ObjectId one) { return directories(one, one); }
    // The object gains and loses no name meanwhile, so that its link count says whether one is its
    // last.
    std::unique_lock<std::mutex> object(ObjectId one) {
        return std::unique_lock(objects_[stripe_of(one)]);
    }

   private:
    static constexpr std::size_t kStripes = 1024;
    static std::size_t stripe_of(ObjectId object) { return ObjectIdHash{}(object) % kStripes; }

    std::array<std::mutex, kStripes> directories_;
    std::array<std::mutex, kStripes> objects_;
};

}  // namespace umbra
