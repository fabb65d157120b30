// The rule of keeping: which undo records nobody needs once a snapshot is gone. Used to delete and
// to foretell what a deletion would free.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "snapstore/volume_core.h"

namespace umbra {

// Looks at all records and limbo objects that can depend on snapshot `snapshot` alone: those of the
// epochs from it up to the next existing snapshot. Time is proportional to what changed in those
// epochs.
class Reclaimer {
   public:
    // `needed(after, until)`: does a snapshot s with after < s <= until remain?
    Reclaimer(VolumeCore& core, std::function<bool(Epoch after, Epoch until)> needed)
        : core_(core), needed_(std::move(needed)) {}

    // Bytes that would come back, without changing anything; of the index, which is merged later,
    // none is counted.
    Result<std::uint64_t> measure(Epoch from, Epoch until);
    // Frees them: index first, then log space, then limbo.
    Result<void> reclaim(Epoch from, Epoch until);

   private:
    struct FileFindings {
        std::vector<UndoLog::Range> dead_records;  // whole records, neighbours merged
        std::vector<UndoLog::Range> dead_data;     // parts of records that stay
        bool anything_alive = false;
    };
    Result<FileFindings> look_at(const UndoLog::FileInfo& file, IndexBatch* removals);
    Result<bool> dead(const RecordHeader& header, std::uint64_t file, std::uint64_t offset,
                      IndexBatch* removals, std::vector<UndoLog::Range>& dead_data);
    Result<bool> dead_entry(const RecordHeader& header, std::span<const std::byte> payload,
                            IndexBatch* removals);
    Result<bool> dead_content(const RecordHeader& header, LogPlace place,
                              std::span<const std::byte> payload, IndexBatch* removals);
    Result<bool> dead_extent(const RecordHeader& header, std::uint64_t offset,
                             std::span<const std::byte> payload, IndexBatch* removals,
                             std::vector<UndoLog::Range>& dead_data);
    Result<bool> unneeded(ObjectId object, Epoch previous, Epoch epoch);
    Result<Epoch> birth_of(ObjectId object);
    Result<std::vector<ObjectId>> dead_limbo(Epoch epoch);

    VolumeCore& core_;
    std::function<bool(Epoch, Epoch)> needed_;
    ObjectId birth_object_;  // the last one asked for: records of one object come in a row
    Epoch birth_ = 0;
};

}  // namespace umbra
