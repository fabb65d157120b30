#include "snapstore/volume_core.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <shared_mutex>
#include <thread>

#include "snapstore/reclaim.h"
#include "snapstore/volume_config.h"
#include "snapstore/volume_files.h"

namespace umbra {

std::string describe(const Snapshot& snapshot) {
    return "snapshot " + snapshot.token +
           (snapshot.label.empty() ? "" : " (" + snapshot.label + ")");
}

void VolumeCore::hide_traces(ObjectId object, struct stat& status) const {
    // Directories count their subdirectories on ext4 and XFS (btrfs always says 1): .umbra is one
    // in the root.
    if (object == mount.root_id && status.st_nlink > 2) --status.st_nlink;
}

void VolumeCore::index_is_damaged(const std::string& why) const {
    if (index_damage_told.exchange(true)) return;
    // Where even that cannot be written the next open finds the damage by itself.
    if (!read_only)
        static_cast<void>(write_small_file(diff_area.get(), kRebuildMarkName, why + "\n"));
    tell(EventId::kRecordDamaged,
         "the index of the diff area " + identity.diff_area + " is damaged (" + why +
             "); what it cannot tell answers EIO until it is made anew from the undo log: unmount "
             "and mount again");
}

void VolumeCore::note_growth(std::uint64_t bytes) {
    const auto wait = space.after_change(bytes);
    if (wait.count() == 0) return;
    if (slow_hook)
        slow_hook(wait);
    else
        std::this_thread::sleep_for(wait);
}

Result<void> VolumeCore::make_room(std::uint64_t deletions_seen, bool by_limit, bool again) {
    UMBRA_TRY(check_owner());
    std::lock_guard lock(snapshot_mutex);
    if (deletions.load() != deletions_seen) return {};  // somebody else has made room meanwhile
    // What is counted is an estimate. That a filesystem is full shows in no number, but in the
    // second failure.
    UMBRA_TRY(space.look_closely());
    const bool limited = space.limit_bytes().has_value();
    if (limited && (by_limit || !again) && space.check(kMaxExtentBlocks * kBlockSize * 2))
        return {};
    auto full = [&](const std::string& why) {
        space.note_full(why);
        return error_of(ErrorKind::kDiffArea, ENOSPC,
                        "the diff area " + identity.diff_area + " is full and " + why +
                            "; delete snapshots or give it more space ('umbra storage resize')");
    };
    if (space.on_full() == OnFull::kRefuse) return full("its policy is to refuse");
    std::int64_t now = hold_time();
    for (const auto& snapshot : catalog->snapshots()) {
        if (snapshot.held(now)) continue;
        tell(EventId::kSnapshotEvicted, "the diff area " + identity.diff_area + " is full: " +
                                            describe(snapshot) + " is deleted to make room");
        UMBRA_TRY(delete_snapshot_locked(snapshot));
        // Filesystems give out again what was freed once that is committed.
        if (!by_limit) static_cast<void>(syncfs(diff_area.get()));
        return {};
    }
    return full("every snapshot is held or none is left");
}

Result<void> VolumeCore::delete_snapshot_locked(const Snapshot& snapshot) {
    SpaceReserve::Use reserved(reserve);
    UMBRA_TRY(catalog->begin_delete(snapshot.epoch));
    {
        std::unique_lock cut(gate);
        newest = catalog->newest();
    }
    UMBRA_TRY(reclaim(snapshot.epoch));
    UMBRA_TRY(catalog->finish_delete(snapshot.epoch));
    ++deletions;
    space.look();
    if (snapshot_hook) snapshot_hook(snapshot, false);
    return {};
}

Result<void> VolumeCore::reclaim(Epoch epoch_gone) {
    Epoch until = catalog->next_of(epoch_gone).value_or(UINT64_MAX);
    Reclaimer reclaimer(*this,
                        [this](Epoch after, Epoch up_to) { return catalog->any_in(after, up_to); });
    // What an interrupted cut or an earlier deletion had to leave goes with the oldest snapshot.
    Epoch from = catalog->previous_of(epoch_gone) == 0 ? 0 : epoch_gone;
    UMBRA_TRY(reclaimer.reclaim(from, until));
    if (catalog->newest() == 0) UMBRA_TRY(index->clear());
    UMBRA_TRY(limbo->measure_bytes(from, until));
    UMBRA_TRY(log->measure_bytes());
    UMBRA_ASSIGN(std::uint64_t bytes, index->disk_bytes());
    index_bytes = bytes;
    return {};
}

}  // namespace umbra
