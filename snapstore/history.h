// Questions about what changed, answered from the index and the undo log: versions of one path and
// the difference of two moments. Time follows what changed, not the size of the share.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "snapstore/attributes.h"
#include "snapstore/byte_range.h"
#include "snapstore/catalog.h"
#include "snapstore/object_id.h"
#include "snapstore/result.h"

namespace umbra {

class VolumeCore;

// One distinct version of a path: how it was in the snapshots first..last (consecutive existing
// snapshots).
struct Version {
    Snapshot first;     // oldest snapshot that shows this version
    Snapshot last;      // newest snapshot that shows it
    bool live = false;  // the live tree shows this very version too
    ObjectId id;
    struct stat status {};
};

enum class DifferenceKind { kAdded, kRemoved, kModified, kMetadata, kRenamed, kTypeChanged };

struct Difference {
    DifferenceKind kind = DifferenceKind::kModified;
    std::string path;              // relative to the share, as of `to` (kRemoved: as of `from`)
    std::string old_path;          // kRenamed only
    bool content_changed = false;  // with kRenamed: also modified
    unsigned char type = 0;        // DT_*
    std::optional<std::uint64_t> old_size, new_size;
};

// Where a file differs from what a snapshot has at its path, as far as it has been looked at.
struct ChangedRanges {
    bool known = false;             // false: it may be anywhere
    std::uint64_t inode = 0;        // of the file that this is said of
    std::vector<ByteRange> ranges;  // of the file as the snapshot has it
    std::uint64_t next = 0;         // the block to go on with; 0: that was all
};

class History {
   public:
    explicit History(VolumeCore& core) : core_(core) {}

    // Newest first; empty when no snapshot has the path. `path` is relative to the share. A version
    // that only the live tree has is not listed.
    Result<std::vector<Version>> versions(const std::string& path);

    // Is the regular file at `path` now the very file that snapshot has there, its contents not
    // written to since? Looks into the index alone. False says nothing about contents.
    Result<bool> contents_untouched(Epoch snapshot, const std::string& path);

    // Where the regular file at `path`, if it is the very one that the snapshot has there, may
    // differ from that; from block `from` on, some of it at a time. Looks into the index alone.
    Result<ChangedRanges> changed_ranges(Epoch snapshot, const std::string& path,
                                         std::uint64_t from);

    // What changed between snapshot `from` and snapshot `to` (or now), sorted by path.
    Result<std::vector<Difference>> difference(Epoch from, std::optional<Epoch> to);

   private:
    VolumeCore& core_;
};

}  // namespace umbra
