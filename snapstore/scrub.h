// Looking for damage: every record of the log, the list of snapshots, the two TOML files, the index
// against the log, and the removed files that snapshots need. Nothing is held up meanwhile: only
// where something looks wrong it is looked at again while no snapshot can be deleted.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "snapstore/object_id.h"
#include "snapstore/result.h"

namespace umbra {

class VolumeCore;

// One damaged place.
struct ScrubFinding {
    std::string file;                     // absolute, or relative to the diff area
    std::optional<std::uint64_t> offset;  // in that file
    std::string what;                     // a sentence without the above
    ObjectId object;                      // whose history it is; invalid: nobody's, or not known
    std::optional<std::string> path;      // of it in the share, where that is known
    std::vector<std::string> tokens;      // the snapshots that show it, oldest first
};

struct ScrubSlice {
    std::uint64_t done_bytes = 0;
    std::uint64_t total_bytes = 0;
    std::string cursor;  // where to go on; empty: that was all
    std::vector<ScrubFinding> findings;
};

// Looks at the next few megabytes. `cursor`: as the slice before said, empty at first. kUsage for a
// cursor that is none.
Result<ScrubSlice> scrub_slice(VolumeCore& core, const std::string& cursor);

}  // namespace umbra
