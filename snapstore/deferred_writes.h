// Small writes that are answered before they reach their file. A write whose original blocks have
// just been preserved would have to wait until the undo log is durable. Instead its new bytes are
// appended to the log beside the old ones (a redo record) and the caller goes on; a thread of ours
// waits for the log, once for all that has come together, and writes the bytes to their files.
//
// A killed daemon loses nothing: recovery finds the redo records (redo_recovery.cpp). A power cut
// loses the write together with the change it guards, as it may lose any write that was not synced.
//
// Whoever looks at a file through Umbra, or changes it otherwise, settles it first: `settle` for a
// look, `before_change` for a change, `before_sync` for fsync(2).
//
// Lock: mutex_, a leaf; it is taken under UndoLog::append_mutex_, so that the queue is in the order
// of the log.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <unordered_map>

#include "snapstore/object_id.h"
#include "snapstore/undo_log.h"
#include "snapstore/unique_fd.h"

namespace umbra {

// Appends that every redo record before `end` has reached its file: in the files' caches, for a
// kill; who wants it to hold after a power cut syncs the files before this record. Not durable yet.
Result<LogPosition> mark_applied(UndoLog& log, Epoch epoch, const LogEnd& end);

class DeferredWrites {
   public:
    // A write of more bytes is worth the wait.
    static constexpr std::size_t kMostBytesOfOne = 32 << 10;
    static constexpr std::size_t kMostObjects = 512;

    // `most_bytes`: what waits at most, of no more than kMostObjects; from there on writers wait
    // for the log themselves. `failed`: called from our thread when bytes that were answered for
    // could not be written.
    // `may_write` is asked before anything is written to a file: what it refuses is given up.
    DeferredWrites(UndoLog& log, std::size_t most_bytes, std::function<Result<void>()> may_write,
                   std::function<void(ObjectId, const Error&)> failed);
    // Settles everything.
    ~DeferredWrites();
    DeferredWrites(const DeferredWrites&) = delete;
    DeferredWrites& operator=(const DeferredWrites&) = delete;

    std::size_t most_bytes() const { return most_bytes_; }
    bool pending(ObjectId object) const;
    // Can so many bytes wait, too?
    bool has_room(std::size_t bytes) const;
    // Takes over a write to `fd`, which is duplicated. Its blocks are preserved, it lies within the
    // file's size, and the space is allocated: nothing but a failing disk can make it fail later.
    // `epoch`: of the change. Errors: those of UndoLog::append.
    Result<void> add(Epoch epoch, ObjectId object, int fd, std::uint64_t offset, std::string data);

    // When it returns, what had been added for the object (for all) is in its file.
    void settle(ObjectId object);
    void settle_all();
    // Settles, before the object's contents are changed directly. `durable`: the change will be
    // durable at once (O_SYNC).
    Result<void> before_change(ObjectId object, bool durable);
    // Settles, and makes sure that no redo record of the past is applied again over what is synced
    // now. Fails with EIO, once, when a deferred write to it has failed.
    Result<void> before_sync(ObjectId object);

    // Redo records before this place are needed no more.
    LogEnd needless_before() const;

   private:
    struct Write {
        ObjectId object;
        std::shared_ptr<UniqueFd> fd;
        std::uint64_t offset = 0;
        std::string data;
        Epoch epoch = 0;
        LogEnd start, end;  // of its record
    };
    struct Waiting {
        std::shared_ptr<UniqueFd> fd;
        std::uint64_t last = 0;  // number of its newest write
    };
    // The record that says that an object's writes are applied, while it may not be durable.
    struct Marker {
        LogPosition position = 0;
        bool changed_since = false;  // directly: a second application would do harm
    };

    void work();
    void wait_for_work(std::unique_lock<std::mutex>& lock);
    bool apply(const std::deque<Write>& batch);
    void finish(const std::deque<Write>& batch, std::uint64_t last, bool applied);
    void settle_up_to(std::unique_lock<std::mutex>& lock, std::uint64_t number);

    UndoLog& log_;
    const std::size_t most_bytes_;
    std::function<Result<void>()> may_write_;
    std::function<void(ObjectId, const Error&)> failed_;

    mutable std::mutex mutex_;  // guards all below
    std::condition_variable work_to_do_;
    std::condition_variable settled_;
    std::deque<Write> queue_;  // in the order of the log
    std::unordered_map<ObjectId, Waiting, ObjectIdHash> objects_;
    std::unordered_map<ObjectId, Marker, ObjectIdHash> markers_;
    std::unordered_map<ObjectId, int, ObjectIdHash> failures_;
    LogEnd applied_end_;         // of the last applied record
    std::uint64_t added_ = 0;    // numbers of writes: the last one added,
    std::uint64_t applied_ = 0;  // ... applied,
    std::uint64_t wanted_ = 0;   // ... somebody waits for
    std::size_t bytes_ = 0;      // of those not applied
    bool stopping_ = false;
    std::atomic<bool> any_{false};         // any write not applied
    std::atomic<bool> any_marker_{false};  // markers_ or failures_ not empty
    std::thread thread_;                   // started at first use
};

}  // namespace umbra
