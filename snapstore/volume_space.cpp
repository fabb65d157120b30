// The space that a volume's history takes, and changing how much it may take.
#include <fcntl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>

#include "snapstore/directory_bytes.h"
#include "snapstore/reclaim.h"
#include "snapstore/volume.h"
#include "snapstore/volume_config.h"
#include "snapstore/volume_core.h"
#include "snapstore/volume_files.h"

namespace umbra {

namespace {

// Bytes on disk of the files in a directory.
Result<std::uint64_t> file_bytes(int parent, const char* name) {
    UniqueFd fd(openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd.valid()) return errno_error(errno, std::string("opening the diff area's ") + name);
    return directory_bytes(std::move(fd));
}

std::int64_t now_seconds() {
    return std::chrono::duration_cast<std::chrono::seconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
}

// What deleting all of these together would give back.
Result<std::uint64_t> bytes_of(VolumeCore& core, const std::vector<Snapshot>& gone) {
    if (gone.empty()) return std::uint64_t{0};
    std::vector<Epoch> left;
    for (const auto& snapshot : core.catalog->snapshots())
        if (std::none_of(gone.begin(), gone.end(),
                         [&](const auto& one) { return one.epoch == snapshot.epoch; }))
            left.push_back(snapshot.epoch);
    Reclaimer reclaimer(core, [&](Epoch after, Epoch up_to) {
        const auto next = std::upper_bound(left.begin(), left.end(), after);
        return next != left.end() && *next <= up_to;
    });
    const auto next = std::upper_bound(left.begin(), left.end(), gone.back().epoch);
    const Epoch oldest = core.catalog->oldest();
    return reclaimer.measure(gone.front().epoch == oldest ? 0 : gone.front().epoch,
                             next == left.end() ? UINT64_MAX : *next);
}

// Which snapshots have to go, the oldest first, so that no more than the limit is used.
Result<void> choose(VolumeCore& core, Volume::Resize& resize) {
    if (resize.missing_bytes == 0) return {};
    const std::int64_t now = now_seconds();
    std::vector<Snapshot> free;
    for (auto& snapshot : core.catalog->snapshots())
        (snapshot.held(now) ? resize.held : free).push_back(std::move(snapshot));
    UMBRA_ASSIGN(const std::uint64_t most, bytes_of(core, free));
    resize.possible = most >= resize.missing_bytes;
    if (!resize.possible) {
        resize.to_delete = std::move(free);
        return {};
    }
    resize.held.clear();
    // The fewest that suffice: what a longer prefix frees is never less.
    std::size_t enough = free.size();
    for (std::size_t low = 0; low < enough;) {
        const std::size_t middle = low + (enough - low) / 2;
        UMBRA_ASSIGN(
            const std::uint64_t bytes,
            bytes_of(core, {free.begin(), free.begin() + static_cast<std::ptrdiff_t>(middle)}));
        if (bytes >= resize.missing_bytes)
            enough = middle;
        else
            low = middle + 1;
    }
    free.resize(enough);
    resize.to_delete = std::move(free);
    return {};
}

// Deletes the oldest that nothing holds until no more than the limit is used.
Result<void> evict_down_to(VolumeCore& core, std::uint64_t limit, std::vector<Snapshot>& deleted) {
    const std::int64_t now = now_seconds();
    deleted.clear();
    for (const auto& snapshot : core.catalog->snapshots()) {
        if (core.space.used() <= limit) break;
        if (snapshot.held(now)) continue;
        core.tell(EventId::kSnapshotEvicted, "the diff area " + core.identity.diff_area +
                                                 " is made smaller: " + describe(snapshot) +
                                                 " is deleted");
        UMBRA_TRY(core.delete_snapshot_locked(snapshot));
        deleted.push_back(snapshot);
    }
    return {};
}

}  // namespace

Result<SpaceUse> Volume::space_use(bool exact) const {
    SpaceUse use;
    if (core_->without_diff_area) return use;
    if (exact) UMBRA_TRY(core_->limbo->measure_bytes());
    UMBRA_ASSIGN(use.log_bytes, core_->log->measure_bytes());
    UMBRA_ASSIGN(use.index_bytes, core_->index->disk_bytes());
    core_->index_bytes = use.index_bytes;
    use.limbo_bytes = core_->limbo->bytes();
    UMBRA_ASSIGN(use.job_bytes, core_->jobs->measure_bytes());
    UMBRA_ASSIGN(const std::uint64_t area, file_bytes(core_->diff_area.get(), "."));
    UMBRA_ASSIGN(const std::uint64_t log, file_bytes(core_->diff_area.get(), kLogDirectoryName));
    use.reserved_bytes = area + log - std::min(log, use.log_bytes);
    core_->space.describe(use);
    return use;
}

Result<Volume::Resize> Volume::resize(const ResizeOptions& options) {
    if (core_->read_only)
        return error_of(ErrorKind::kRefused, EROFS,
                        "share '" + core_->identity.share +
                            "' is mounted read-only; its diff area cannot be resized");
    const std::lock_guard lock(core_->snapshot_mutex);
    Resize resize;
    resize.max_size = options.max_size.value_or(core_->space.max_size());
    resize.on_full = options.on_full.value_or(core_->space.on_full());
    struct statvfs filesystem {};
    if (fstatvfs(core_->diff_area.get(), &filesystem) != 0)
        return errno_error(errno,
                           "reading the size of the filesystem of " + core_->identity.diff_area);
    const auto filesystem_bytes =
        static_cast<std::uint64_t>(filesystem.f_blocks) * filesystem.f_frsize;
    if (options.max_size) UMBRA_TRY(check_size_limit(*options.max_size, filesystem_bytes));
    resize.limit_bytes = resize.max_size.bytes(filesystem_bytes);

    {
        // What it holds in memory is about to take space.
        const SpaceReserve::Use reserved(core_->reserve);
        UMBRA_TRY(core_->index->flush());
    }
    UMBRA_TRY(core_->limbo->measure_bytes());
    UMBRA_TRY(core_->space.look_closely());
    resize.used_bytes = core_->space.used();
    // A policy alone makes nothing smaller.
    const bool smaller = options.max_size && resize.limit_bytes;
    if (smaller && resize.used_bytes > *resize.limit_bytes)
        resize.missing_bytes = resize.used_bytes - *resize.limit_bytes;
    UMBRA_TRY(choose(*core_, resize));
    if (options.dry_run || !resize.possible || (resize.missing_bytes > 0 && !options.evict))
        return resize;
    if (resize.missing_bytes > 0)
        UMBRA_TRY(evict_down_to(*core_, *resize.limit_bytes, resize.to_delete));
    const SpaceReserve::Use reserved(core_->reserve);
    UMBRA_TRY(write_small_file(
        core_->diff_area.get(), kAreaFileName,
        format_area_config({core_->identity.uuid, resize.max_size, resize.on_full})));
    UMBRA_TRY(core_->space.configure(resize.max_size, resize.on_full));
    core_->tell(EventId::kAreaResized,
                "the diff area " + core_->identity.diff_area + " may now take " +
                    resize.max_size.text() +
                    (resize.max_size.kind == SizeLimit::Kind::kBytes ? " bytes" : "") +
                    "; when full: " + on_full_name(resize.on_full));
    core_->space.look();
    resize.done = true;
    return resize;
}

}  // namespace umbra
