// The rule of preserving: before the first change of a thing since the newest snapshot, its undo
// record is written. One Preserver serves one change; the gate is held shared for all its life.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "snapstore/attributes.h"
#include "snapstore/object_id.h"
#include "snapstore/object_state.h"
#include "snapstore/preserve_ahead.h"
#include "snapstore/result.h"
#include "snapstore/volume_core.h"

namespace umbra {

class Preserver {
   public:
    explicit Preserver(VolumeCore& core)
        : core_(core), newest_(core.newest.load()), epoch_(core.epoch.load()) {}

    // False where no snapshot exists: every other call is then free.
    bool needed() const { return newest_ != 0; }

    // What (directory, name) is now: read through `directory_fd`. Nothing for a directory born
    // since the snapshot.
    Result<void> entry(ObjectId directory, int directory_fd, const std::string& name);
    // Attributes with xattrs; `fd` may be O_PATH. `location`: a name of the object, where the
    // caller knows one.
    Result<void> attributes(ObjectId object, int fd, const Location& location);
    // Original blocks of a regular file under [offset, offset+length), and its attributes.
    // `open_fd`: a descriptor of it that can be read, where the caller has one.
    Result<void> content(ObjectId object, std::uint64_t offset, std::uint64_t length,
                         int open_fd = -1);
    // Everything from `offset` to the end of a regular file, and its attributes: before it is cut
    // or shifted there.
    Result<void> content_from(ObjectId object, std::uint64_t offset);

    // Like content, but passes over holes: for changes that leave holes as they are (punching,
    // zeroing).
    Result<void> content_data(ObjectId object, std::uint64_t offset, std::uint64_t length);

    // Born since the newest snapshot (known for sure)?
    Result<bool> born_after(ObjectId object);
    // Notes that an object was just created.
    Result<void> note_birth(ObjectId object);

    // Would wait() have to wait?
    bool must_wait() const { return position_ != 0 && !core_.log->durable(position_); }
    Epoch epoch() const { return epoch_; }
    // Bytes by which this change has made history grow; what others than this one added is noted.
    std::uint64_t grown() const { return grown_; }
    void note_growth(std::uint64_t bytes) { grown_ += bytes; }
    // Waits until everything recorded for the things named above is durable, and preserves their
    // neighbours in the same wait. Before the change itself.
    Result<void> wait();

   private:
    // Locks a state and makes its members valid for newest_. The lock is returned with it.
    struct Locked {
        std::shared_ptr<ObjectState> state;
        std::unique_lock<std::mutex> lock;
    };
    Result<Locked> lock(ObjectId object);
    Result<LogPosition> append(RecordType type, ObjectId object,
                               std::span<const struct iovec> payload, std::uint32_t checked_length,
                               const std::function<void(IndexBatch&, LogPlace)>& put);
    Result<void> append_entry(ObjectState& state, ObjectId directory, int directory_fd,
                              const std::string& name);
    Result<void> append_entry_record(ObjectState& state, ObjectId directory,
                                     const EntryRecord& record);
    // preserve_ahead.cpp
    void note_neighbourhood(Neighbours kind, ObjectId directory);
    void preserve_ahead();
    enum class Reach : std::uint8_t { kDirectory, kBelow };
    Result<void> ahead_beside(Neighbourhood where);
    Result<bool> advance(const Neighbourhood& where, Reach reach,
                         const std::function<Result<bool>(AheadProgress&)>& run);
    Result<bool> names_ahead(const Neighbourhood& where, AheadProgress& progress);
    Result<bool> directories_ahead(const Neighbourhood& where, AheadProgress& progress, int depth);
    Result<void> directory_ahead(const Neighbourhood& where, int parent_fd, const char* name,
                                 int depth);
    Result<void> neighbour(const Neighbourhood& where, int directory_fd, const std::string& name);
    Result<void> every_name_recorded(ObjectId directory);
    Result<void> begin_content(ObjectState& state, ObjectId object, int fd);
    Result<bool> block_preserved(ObjectState& state, ObjectId object, std::uint64_t block);
    Result<void> data_blocks(ObjectState& state, ObjectId object, int fd, std::uint64_t offset,
                             std::uint64_t end);
    Result<void> blocks(ObjectState& state, ObjectId object, int fd, std::uint64_t first,
                        std::uint64_t end);
    Result<void> run_of_blocks(ObjectState& state, ObjectId object, int fd, std::uint64_t first,
                               std::uint64_t end);
    Result<void> hole_run(ObjectState& state, ObjectId object, std::uint64_t first,
                          std::uint64_t end);
    Result<void> data_run(ObjectState& state, ObjectId object, std::uint64_t first,
                          std::span<const std::byte> data);
    void noted(ObjectState& state, LogPosition position) {
        state.last_position = position;
        position_ = std::max(position_, position);
    }

    VolumeCore& core_;
    Epoch newest_;
    Epoch epoch_;
    std::uint64_t grown_ = 0;
    std::vector<Neighbourhood> neighbourhoods_;  // where something was preserved by itself
    bool ahead_ = false;                         // what is preserved now is so ahead:
    std::uint64_t ahead_budget_ = 0;             // ... so many neighbours more
    LogPosition position_ = 0;  // everything up to here must be durable before the change
};

}  // namespace umbra
