// Who an object is: inode number and generation of the underlying filesystem, as its own file
// handle holds them. It survives restarts and is never reused.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <functional>

namespace umbra {

// Counter raised by every snapshot. Epoch e is the time after snapshot e and before snapshot e+1.
// Epoch 0 is the time before the first snapshot.
using Epoch = std::uint64_t;

struct ObjectId {
    std::uint64_t inode = 0;
    std::uint32_t generation = 0;

    bool valid() const { return inode != 0; }
    auto operator<=>(const ObjectId&) const = default;
};

struct ObjectIdHash {
    std::size_t operator()(const ObjectId& id) const noexcept {
        std::uint64_t mixed =
            (id.inode ^ (std::uint64_t{id.generation} << 32)) * 0x9E3779B97F4A7C15ULL;
        return static_cast<std::size_t>(mixed ^ (mixed >> 29));
    }
};

}  // namespace umbra
