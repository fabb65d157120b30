// The undo log: append-only files of undo records, the truth about the past. Appending makes a
// record safe against a killed daemon; wait_durable makes it safe against power loss, one fdatasync
// for all who wait (group commit).
//
// Locks (leaves of the lock order, docs/architecture.md): append_mutex_ serialises appends and
// keeps the index in log order; sync_mutex_ guards the state of the group commit; files_mutex_
// guards the list of files.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "snapstore/log_format.h"
#include "snapstore/result.h"
#include "snapstore/unique_fd.h"
#include "snapstore/zero_ahead.h"

namespace umbra {

// Position in the stream of all appended bytes since the log was opened.
using LogPosition = std::uint64_t;

struct LogPlace {
    std::uint64_t file = 0;    // sequence of the log file
    std::uint64_t offset = 0;  // of the record's header
    std::uint32_t length = 0;  // of the whole record
};

// One log file. Its descriptor is opened at first use.
class LogFile {
   public:
    LogFile(int directory, Epoch epoch, std::uint64_t sequence)
        : directory_(directory), epoch_(epoch), sequence_(sequence) {}
    Epoch epoch() const { return epoch_; }
    std::uint64_t sequence() const { return sequence_; }
    std::string name() const;
    // A descriptor for reading and writing. It stays open while somebody holds it, and until
    // close_idle.
    Result<std::shared_ptr<UniqueFd>> descriptor();
    // Closes the descriptor once nobody holds it.
    void close_idle();

   private:
    int directory_;
    Epoch epoch_;
    std::uint64_t sequence_;
    std::mutex mutex_;  // guards fd_; leaf
    std::shared_ptr<UniqueFd> fd_;
};

class UndoLog {
   public:
    struct Options {
        int directory = -1;  // DIFF_AREA/log, borrowed
        std::string volume_uuid;
        std::uint64_t max_file_bytes = 256ull << 20;
        bool read_only = false;
        // Called once, from any thread and perhaps holding locks, when writing or syncing fails for
        // another reason than space.
        std::function<void(const Error&)> failing{};
    };
    static Result<std::unique_ptr<UndoLog>> open(const Options& options);
    ~UndoLog();

    // Appends one record whose payload is the concatenation of `payload`; `checked_length` of its
    // bytes are covered by `payload_checksum`. Calls `applied` with its place before any later
    // record is appended. Not durable yet. Errors: ENOSPC and EDQUOT as kNeedsSpace; EIO once a
    // sync has failed.
    Result<LogPosition> append(RecordType type, Epoch epoch, ObjectId object,
                               std::span<const struct iovec> payload, std::uint32_t checked_length,
                               const std::function<Result<void>(LogPlace)>& applied);

    // Returns when everything up to `position` is durable.
    Result<void> wait_durable(LogPosition position);
    Result<void> sync_all();
    // Behind everything appended so far.
    LogPosition position();
    bool durable(LogPosition position) const { return durable_.load() >= position; }

    // Reads `buffer.size()` bytes of a file at an offset. EIO (kDiffArea) when they are not all
    // there.
    Result<void> read(std::uint64_t file, std::uint64_t offset, std::span<std::byte> buffer);

    struct FileInfo {
        std::uint64_t sequence = 0;
        Epoch epoch = 0;
    };
    // Ascending by sequence.
    std::vector<FileInfo> files() const;

    enum class Visit { kContinue, kStop };
    struct ScanOutcome {
        std::uint64_t end = 0;               // offset behind the last whole record
        bool torn = false;                   // something unreadable follows that was never durable
        std::vector<std::uint64_t> damaged;  // offsets of unreadable places that had been durable
    };
    // How much of each record a scan reads and checks.
    enum class Check {
        kHeader,
        kPayload,
        kData
    };  // kPayload: without the data of extents; kData: everything
    // Walks the records of a file from an offset (0: after the file header).
    Result<ScanOutcome> scan(
        std::uint64_t file, std::uint64_t from, Check check,
        const std::function<Visit(const RecordHeader&, std::uint64_t offset)>& visit);

    // Recovery only, before the first append: continues the newest file at `end`, cutting what
    // follows.
    Result<void> truncate_tail(std::uint64_t file, std::uint64_t end);

    // Declares ranges of whole records of a file dead and gives their space back (punched holes).
    struct Range {
        std::uint64_t offset = 0;
        std::uint64_t length = 0;
    };
    Result<void> free_ranges(std::uint64_t file, std::span<const Range> whole_records);
    // Before parts of a finished file's records are given back: lets its reader know that
    // everything in it had been durable, so that records with holes are not taken for a torn tail.
    // Only the newest file needs that. kRefused where the file's end is not known: it is active or
    // damaged.
    Result<void> seal(std::uint64_t file);
    // Gives the space of a part of a record's data back; the record itself stays.
    Result<void> punch(std::uint64_t file, Range data);
    // Removes a file that holds nothing needed. The active file is finished first.
    Result<void> remove_file(std::uint64_t file);

    // Bytes on disk of one file (st_blocks), without what is reserved ahead; 0 when it is gone.
    Result<std::uint64_t> bytes_of(const FileInfo& file);
    // Bytes on disk of all log files (st_blocks), and an estimate that includes appends since.
    Result<std::uint64_t> measure_bytes();
    std::uint64_t estimated_bytes() const {
        return estimated_bytes_.load(std::memory_order_relaxed);
    }

    // Ends the active file, so that nothing more is appended to any file there is now.
    Result<void> finish_file();
    // Makes sure that no new file gets a sequence at or below this one.
    void raise_sequence(std::uint64_t sequence);
    bool failed() const { return failed_.load(); }

   private:
    UndoLog() = default;
    Result<void> load_files();
    Result<std::shared_ptr<LogFile>> find(std::uint64_t file);
    Result<void> start_file(Epoch epoch);  // append_mutex_ held
    Result<void> finish_active();          // append_mutex_ held
    Result<void> write_all(int fd, std::vector<struct iovec> parts, std::uint64_t offset);
    Result<void> sync_file(LogFile& file);
    tl::unexpected<Error> failure(tl::unexpected<Error> error);
    void extend_ahead(int fd);  // append_mutex_ held

    Options options_;
    std::atomic<bool> failed_{false};
    std::atomic<bool> failure_told_{false};
    std::atomic<std::uint64_t> estimated_bytes_{0};

    std::mutex append_mutex_;
    std::shared_ptr<LogFile> active_;
    std::uint64_t active_end_ = 0;        // where the next record goes
    std::uint64_t active_allocated_ = 0;  // preallocated up to here
    std::atomic<std::uint64_t> active_synced_{0};
    std::uint64_t next_sequence_ = 1;
    LogPosition appended_ = 0;
    ZeroAhead zero_ahead_;

    mutable std::mutex files_mutex_;
    std::map<std::uint64_t, std::shared_ptr<LogFile>> files_;
    std::deque<std::shared_ptr<LogFile>>
        recent_;  // used last; files that drop out of it are closed

    std::mutex sync_mutex_;
    std::condition_variable sync_done_;
    bool syncing_ = false;
    std::atomic<LogPosition> durable_{0};
};

}  // namespace umbra
