// A volume: a share with its identity and diff area. The one entrance to snapstore.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "snapstore/catalog.h"
#include "snapstore/clock.h"
#include "snapstore/event.h"
#include "snapstore/history.h"
#include "snapstore/live_tree.h"
#include "snapstore/outside_changes.h"
#include "snapstore/ownership.h"
#include "snapstore/past_tree.h"
#include "snapstore/result.h"
#include "snapstore/scrub.h"
#include "snapstore/size_limit.h"
#include "snapstore/view_settings.h"
#include "snapstore/writer_files.h"

namespace umbra {

class DirectoryVersions;

// What happens when the diff area is full: the oldest snapshots that nothing holds go; the same,
// and writers are slowed before; changes are refused.
enum class OnFull { kEvict, kThrottle, kRefuse };

struct CreateOptions {
    std::string share;                     // path of the folder
    std::optional<std::string> diff_area;  // default SHARE/.umbra/diff
    SizeLimit max_size;                    // default 10 % of the diff area's filesystem
    OnFull on_full = OnFull::kEvict;
    std::string on_event;  // shell command that is run for every event; empty: none
};

struct OpenOptions {
    std::string share;  // path of the folder
    bool read_only = false;
    std::uint64_t memory_bytes = 128ull << 20;
    Ownership::Options ownership{};
    bool rebuild_index = false;  // forget the index and make it anew from the log
    Clock clock{};
};

struct SpaceUse {
    std::uint64_t log_bytes = 0;    // undo log, on disk
    std::uint64_t index_bytes = 0;  // RocksDB files
    std::uint64_t limbo_bytes = 0;  // removed files that snapshots still need
    std::uint64_t job_bytes = 0;    // journals of restore jobs
    // On disk, and not counted as used: what is reserved for appending and for deleting when the
    // filesystem is full, and the list of snapshots.
    std::uint64_t reserved_bytes = 0;
    std::optional<std::uint64_t> limit_bytes;  // no value: unbounded
    std::uint64_t filesystem_free_bytes = 0;   // of the diff area's filesystem
    // The limit, or what is used and free together where that is less.
    std::uint64_t effective_limit_bytes = 0;
    unsigned used_percent = 0;                    // of that
    std::int64_t growth_bytes_per_second = 0;     // as observed lately
    std::optional<std::int64_t> full_in_seconds;  // if it grows on like that
    std::uint64_t used_bytes() const { return log_bytes + index_bytes + limbo_bytes + job_bytes; }
};

struct VolumeIdentity {
    std::string uuid;
    std::string share;      // absolute path as opened
    std::string diff_area;  // absolute path
    OnFull on_full = OnFull::kEvict;
    SizeLimit max_size;
    std::string on_event;  // as opened; Volume::event_command() has what holds now
};

class JobJournals;

class Volume {
   public:
    // Makes a folder a share: writes SHARE/.umbra and the diff area. Fails without any change when:
    // SHARE is missing (kNotFound), not a directory, has .umbra or .snapshots already, is on a
    // filesystem without usable file handles; the diff area is not empty, inside the share
    // (elsewhere than the default place), read-only or full.
    static Result<VolumeIdentity> create(const CreateOptions& options);

    // True where SHARE/.umbra/volume.toml exists.
    static bool is_share(const std::string& share);

    // Opens for use: takes the volume (Ownership::take; kRefused, naming the holder, when a process
    // or another host has it),
    // checks identities and versions, recovers the log's tail, rebuilds the index where it is lost
    // or damaged, finishes interrupted deletions. `announce` is called for every event, from any
    // thread.
    static Result<std::unique_ptr<Volume>> open(const OpenOptions& options,
                                                std::function<void(const Event&)> announce);
    ~Volume();  // closes cleanly: index flushed, lock released

    // on_full and max_size as they are at this moment.
    VolumeIdentity identity() const;
    // May it still be used? kRefused with EIO once another host has taken it over; nothing read
    // through it can be trusted then, and nothing is written any more.
    Result<void> check_owner() const;
    OwnerRecord owner() const;
    // Called once, from any thread, when that is found.
    void set_lost_hook(std::function<void()> hook);
    bool read_only() const;

    LiveTree& live();
    PastTree past(Epoch snapshot);
    History history();
    // What .snapshots shows of one folder.
    DirectoryVersions& directory_versions();
    const Catalog& catalog() const;

    struct SnapshotOptions {
        std::string label;        // empty: none; must be unique among existing snapshots
        std::string hold_reason;  // empty: none
        std::optional<std::int64_t> hold_expires;
        std::string writers;  // how they stand (Snapshot::writers)
    };
    // Cuts a snapshot: calls the flush hook, raises the epoch while no change is in flight, makes
    // the live filesystem durable, then records the snapshot. Must not be called from a thread that
    // the flush hook needs (a FUSE worker thread). One at a time; further callers queue.
    Result<Snapshot> create_snapshot(const SnapshotOptions& options);
    // Deletes and gives the space back. kRefused when held. kNotFound when it does not exist.
    Result<void> delete_snapshot(Epoch snapshot);
    // A hold with a reason that there is already may last longer than that, but no shorter:
    // kRefused.
    Result<Snapshot> hold(Epoch snapshot, const Hold& hold);
    // Removes the holds with this reason, or all when it is empty.
    Result<Snapshot> release(Epoch snapshot, const std::string& reason);
    // By token or label; kNotFound names what was asked for.
    Result<Snapshot> find_snapshot(const std::string& token_or_label) const;

    // Replaces what a snapshot says of the writers; durable on return.
    Result<Snapshot> set_writers(Epoch snapshot, const std::string& writers);
    // Definitions of writers. check_owner() before anything is changed in them.
    WriterFiles& writers();

    // Restore jobs. check_owner() before anything is changed in them.
    JobJournals& jobs();
    // What has been changed in the live tree until now survives a power cut when it returns.
    Result<void> sync_live();

    // What was changed in the live tree while the share was not mounted, as far as it has been
    // found.
    OutsideChanges::Found changed_outside() const;

    // Puts an event into the volume's event log and announces it. May be called holding any lock.
    void tell(EventId id, std::string message) const;
    // The volume's events with a sequence above `after`, oldest first.
    Result<std::vector<Event>> events(std::uint64_t after) const;
    // Puts an event into the volume's event log without announcing it.
    void record(Event& event) const;
    // The shell command for events ("": none), and its change, which is durable on return.
    std::string event_command() const;
    Result<void> set_event_command(const std::string& command);
    // How snapshots are shown to those who browse them, and its change: durable on return, and then
    // the view hook has been called.
    ViewSettings view_settings() const;
    Result<void> set_view_settings(const ViewSettings& settings);

    // `exact`: also counts what waits in limbo anew, which takes a look at each file there.
    Result<SpaceUse> space_use(bool exact = true) const;

    struct ResizeOptions {
        std::optional<SizeLimit> max_size;  // no value: stays
        std::optional<OnFull> on_full;      // no value: stays
        bool evict = false;    // deletes what has to go, the oldest first and no more than needed
        bool dry_run = false;  // changes nothing
    };
    struct Resize {
        SizeLimit max_size;  // as asked for
        OnFull on_full{};
        std::optional<std::uint64_t> limit_bytes;
        std::uint64_t used_bytes = 0;     // before
        std::uint64_t missing_bytes = 0;  // by so much more than the limit is used
        // Those that have to go, or that went. Where `possible` is false all that may go are not
        // enough, and `held` are in the way.
        std::vector<Snapshot> to_delete;
        std::vector<Snapshot> held;
        bool possible = true;
        bool done = false;
    };
    // Changes limit and policy, at once and durably. Not done, and nothing changed: when more is
    // used than the new limit and `evict` is not asked for, or not enough may be deleted. kUsage: a
    // limit that the filesystem cannot have.
    Result<Resize> resize(const ResizeOptions& options);

    // Bytes that deleting this snapshot alone would give back.
    Result<std::uint64_t> exclusive_bytes(Epoch snapshot) const;

    // Looks for damage in the diff area, one slice after the other (snapstore/scrub.h). Everything
    // goes on meanwhile.
    Result<ScrubSlice> scrub(const std::string& cursor);

    // Called before every cut, outside all locks that a change takes: hands over what the kernel
    // still holds dirty.
    void set_flush_hook(std::function<void()> hook);
    // Called for a change whose author is to wait (policy `throttle`), on the thread that made it;
    // without a hook that thread waits. Set it while nobody changes anything.
    void set_slow_hook(std::function<void(std::chrono::nanoseconds)> hook);
    // Called after a snapshot was created / deleted (also by eviction), before the next one can be:
    // returns at once, takes and deletes no snapshots.
    void set_snapshot_hook(std::function<void(const Snapshot&, bool created)> hook);
    // Called after the view settings were changed; returns at once.
    void set_view_hook(std::function<void()> hook);

   private:
    explicit Volume(std::unique_ptr<VolumeCore> core);
    std::unique_ptr<VolumeCore> core_;
};

}  // namespace umbra
