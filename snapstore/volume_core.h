// What the parts of an open volume share. Internal to snapstore.
//
// Lock order (docs/architecture.md, "Locks"): flush_mutex -> snapshot_mutex -> gate -> one
// ObjectState::mutex -> undo log, index, limbo, catalog, each a leaf for us.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "snapstore/area_space.h"
#include "snapstore/catalog.h"
#include "snapstore/deferred_writes.h"
#include "snapstore/directory_cache.h"
#include "snapstore/directory_versions.h"
#include "snapstore/epoch_gate.h"
#include "snapstore/event_log.h"
#include "snapstore/index.h"
#include "snapstore/inode_search.h"
#include "snapstore/job_journal.h"
#include "snapstore/limbo.h"
#include "snapstore/live_mount.h"
#include "snapstore/name_locks.h"
#include "snapstore/object_state.h"
#include "snapstore/outside_changes.h"
#include "snapstore/root_reserve.h"
#include "snapstore/space_reserve.h"
#include "snapstore/undo_log.h"
#include "snapstore/volume.h"

namespace umbra {

class VolumeCore {
   public:
    VolumeIdentity identity;
    bool read_only = false;
    bool without_diff_area = false;  // read-only view of the live tree alone
    std::function<void(const Event&)> announce;
    mutable std::mutex settings_mutex;  // a leaf; guards identity.on_event and volume.toml
    AtomicViewSettings view_settings;
    std::function<void()> view_hook;   // guarded by settings_mutex
    std::unique_ptr<EventLog> events;  // null where nothing is written

    bool rebuild_index = false;  // asked for
    Clock clock;
    // Now, for judging whether a hold has run out: a clock that is set ahead meanwhile ends none.
    std::int64_t hold_time() const {
        return std::min<std::int64_t>(clock.wall().tv_sec, trusted_start + clock.steady_seconds());
    }
    std::int64_t trusted_start = 0;  // wall clock minus steady clock, when the volume was opened

    LiveMount mount;
    mutable DirectoryCache directories;  // of it
    RootReserve root_reserve;            // of its filesystem
    UniqueFd control_directory;          // SHARE/.umbra through the live mount
    ObjectId control_id;                 // its identity: nobody may reach it
    std::unique_ptr<Ownership> ownership;
    UniqueFd diff_area;
    UniqueFd log_directory;
    UniqueFd index_directory;

    // In the diff area: what the index may have to write at once, at most (its memtable).
    SpaceReserve reserve{16ull << 20};
    SpaceReserve share_reserve{1ull << 20};  // in .umbra: for opening the volume
    std::unique_ptr<Catalog> catalog;
    std::unique_ptr<UndoLog> log;
    std::unique_ptr<Index> index;
    std::unique_ptr<Limbo> limbo;
    std::unique_ptr<ObjectStates> states;
    std::unique_ptr<WriterFiles> writers = std::make_unique<WriterFiles>(-1);
    std::unique_ptr<JobJournals> jobs = std::make_unique<JobJournals>(-1, true);
    std::unique_ptr<DeferredWrites> deferred;  // null where nothing can be changed

    EpochGate gate;
    NameLocks name_locks;
    // Written with the gate held exclusively, read with it held shared.
    std::atomic<Epoch> epoch{0};   // label of records written now
    std::atomic<Epoch> newest{0};  // newest snapshot that must be preserved for; 0: none

    // Guards flush_hook and is held while it runs: before snapshot_mutex and never under it, since
    // a change that the flush brings may have to make room, which takes that.
    std::mutex flush_mutex;
    std::function<void()> flush_hook;
    std::mutex
        snapshot_mutex;  // one creation, deletion or eviction at a time; guards snapshot_hook
    std::function<void(const Snapshot&, bool created)> snapshot_hook;
    std::mutex lost_mutex;  // a leaf; guards lost_hook
    std::function<void()> lost_hook;
    std::atomic<std::uint64_t> deletions{0};
    std::atomic<std::uint64_t> index_bytes{0};  // as last measured
    mutable std::atomic<bool> index_damage_told{false};

    // Called, on the thread that made the change and without any lock, with the time that the
    // author of a change is to wait; without a hook that thread waits itself. Set before the first
    // change.
    std::function<void(std::chrono::nanoseconds)> slow_hook;

    AreaSpace space{*this};
    std::unique_ptr<OutsideChanges> outside;  // null where no snapshot could show any
    InodeSearch inode_search;
    DirectoryVersions directory_versions{*this};
    LiveTree live{*this};

    // Puts the event into the volume's event log and announces it. May be called holding any lock.
    void tell(EventId id, std::string message) const {
        Event event{id, std::move(message)};
        // The event log is the new owner's then.
        if (events && !ownership->lost()) events->append(event);
        if (announce) announce(event);
    }

    // To be asked before anything is written: kRefused with EIO where another host has the volume.
    Result<void> check_owner() const { return ownership->check(); }

    // The index is damaged, as somebody who asked it has noticed: said once, and the next open
    // makes it anew from the log.
    void index_is_damaged(const std::string& why) const;

    // What has been written to an object (to all) is in its live file when it returns.
    void settle(ObjectId object) const {
        if (deferred) deferred->settle(object);
    }
    void settle_all() const {
        if (deferred) deferred->settle_all();
    }

    // After a change that made history take `bytes` more: slows its author where the policy says
    // so.
    void note_growth(std::uint64_t bytes);
    // Makes room by policy after a change that found none: evicts the oldest snapshot that no hold
    // keeps. Does nothing when a snapshot was deleted since the caller looked at `deletions`, or
    // when a closer look says that there is room: within the limit (`by_limit`: that was reached),
    // or on the filesystem, unless it found none `again`. ENOSPC (kDiffArea) when nothing may be
    // evicted. Takes snapshot_mutex: the caller holds no lock at all.
    Result<void> make_room(std::uint64_t deletions_seen, bool by_limit, bool again);
    // Deletes one snapshot and reclaims its space. snapshot_mutex held.
    Result<void> delete_snapshot_locked(const Snapshot& snapshot);
    // Ends a deletion that has begun: frees every record that only snapshot `epoch` needed.
    // snapshot_mutex held.
    Result<void> reclaim(Epoch epoch);

    // Raw stat of an object without Umbra's own traces (link count of the root).
    void hide_traces(ObjectId object, struct stat& status) const;
};

// "snapshot TOKEN (LABEL)"
std::string describe(const Snapshot& snapshot);

// snapstore/recovery.cpp: brings the index up to the log's end; used by Volume::open. `clean`: the
// volume was closed cleanly.
Result<void> recover_log_and_index(VolumeCore& core, const std::string& index_path,
                                   std::uint64_t memory_bytes, bool clean);

// snapstore/redo_recovery.cpp: writes to the live files what a killed daemon had answered for but
// only appended to the log. Everything in the log is durable already.
// `last_append`: what last_append_seconds said before anything was recovered.
Result<void> recover_deferred_writes(VolumeCore& core, std::int64_t last_append);
// When the log was last appended to, as its newest file's time tells; seconds since 1970.
Result<std::int64_t> last_append_seconds(const VolumeCore& core);

}  // namespace umbra
