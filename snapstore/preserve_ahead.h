// Preserving ahead. A change that has to wait for the undo log has just found something of a
// directory unpreserved: a name, or the attributes of what has one. Most likely its neighbours
// change next (an archive is unpacked, chmod -R, rm -r), so they are preserved in the same wait: in
// the directory first, then in those beside it, more of them each time. Once all names of a
// directory are, a record for every other name says so (kEveryOtherName), and new names cost
// nothing until the next snapshot.
//
// What is preserved needlessly costs space only: Preserver stops where that is scarce.
#pragma once

#include <cstdint>

#include "snapstore/object_id.h"

namespace umbra {

enum class Neighbours : std::uint8_t {
    kNames,       // what the names of a directory stand for
    kAttributes,  // attributes of the objects that have these names
};

// A directory of which something had to be preserved by itself.
struct Neighbourhood {
    Neighbours kind{};
    ObjectId directory;
    bool operator==(const Neighbourhood&) const = default;
};

// How many neighbours the next run takes at most: few at first, for one change may stay the only
// one.
constexpr std::uint64_t neighbours_of_run(std::uint32_t runs_before) {
    constexpr std::uint64_t kFirst = 16, kMost = 1024;
    return runs_before >= 2 ? kMost : kFirst << (3 * runs_before);
}

// In a larger directory than this the rest is preserved one by one.
inline constexpr std::uint64_t kMostNeighbours = 8192;

// How far the neighbours of one kind in a directory have got, and the directories in it.
struct AheadProgress {
    std::uint64_t passed = 0;      // names
    std::int64_t continue_at = 0;  // place in the directory, as of d_off in getdents64(2)
    std::uint32_t runs = 0;
    bool running = false;
    bool done = false;
};

}  // namespace umbra
