// One slice of a scrub. Internal to scrub*.cpp.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "snapstore/index.h"
#include "snapstore/log_format.h"
#include "snapstore/moment.h"
#include "snapstore/scrub.h"
#include "snapstore/scrub_cursor.h"
#include "snapstore/undo_log.h"
#include "snapstore/volume_core.h"

namespace umbra {

class ScrubCheck {
   public:
    // `certain`: no deletion is under way, so what looks wrong is.
    ScrubCheck(VolumeCore& core, bool certain) : core_(core), certain_(certain) {}

    // Each looks at what the cursor says, and moves it behind that.
    Result<void> settings(ScrubCursor& cursor);
    Result<void> log(ScrubCursor& cursor);
    Result<void> index(ScrubCursor& cursor);

    std::vector<ScrubFinding> findings;

   private:
    struct Gap {  // bytes of a log file that are no records
        std::uint64_t from = 0;
        std::uint64_t to = 0;
    };

    static std::string log_name(const UndoLog::FileInfo& file) {
        return std::string(kLogDirectoryName) + "/" +
               format_log_file_name({file.epoch, file.sequence});
    }
    std::optional<UndoLog::FileInfo> file_of(std::uint64_t sequence, bool or_later) const;
    Result<std::uint64_t> size_of(const UndoLog::FileInfo& file) const;

    Result<void> check_record(const UndoLog::FileInfo& file, const RecordHeader& header,
                              std::uint64_t offset);
    Result<void> check_extent(const UndoLog::FileInfo& file, const RecordHeader& header,
                              std::uint64_t offset, const DecodedExtentHead& head);
    Result<void> report_gaps(const UndoLog::FileInfo& file, const std::vector<Gap>& gaps);
    Result<void> check_item(const IndexedItem& item);
    Result<void> check_removed_file(const IndexedItem& item);
    void index_lacks(const UndoLog::FileInfo& file, std::uint64_t offset, const char* what,
                     ObjectId object, std::optional<std::string> path,
                     const std::vector<Snapshot>& concerned);

    // The snapshots that the record of this item serves.
    Result<std::vector<Snapshot>> concerned_by(const IndexedItem& item);
    Result<std::vector<Snapshot>> between(ObjectId object, Epoch previous, Epoch epoch);
    // The path of the item's object (of an entry: of that name) in one of these snapshots.
    std::optional<std::string> path_of(const IndexedItem& item,
                                       const std::vector<Snapshot>& concerned);
    std::optional<std::string> path_in(Epoch snapshot, const Location& place);
    // Where the object is now, if it was there at the snapshot as well: for damaged attributes,
    // which would have told.
    std::optional<Location> live_location(ObjectId object, Epoch snapshot);
    std::optional<std::string> path_by_entries(ObjectId object);
    Moment& moment(Epoch epoch);
    void add(ScrubFinding finding, const std::vector<Snapshot>& concerned);

    VolumeCore& core_;
    bool certain_;
    std::map<Epoch, Moment> moments_;
    std::map<ObjectId, std::optional<std::string>> searched_;
    std::map<std::uint64_t, std::pair<UndoLog::FileInfo, std::uint64_t>> sizes_;  // for index()
};

}  // namespace umbra
