// Opening a volume, and closing it.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <span>

#include "snapstore/bytes.h"
#include "snapstore/filesystem_kind.h"
#include "snapstore/reclaim.h"
#include "snapstore/reseat.h"
#include "snapstore/volume.h"
#include "snapstore/volume_config.h"
#include "snapstore/volume_core.h"
#include "snapstore/volume_files.h"

namespace umbra {

namespace {

constexpr int kOpenDirectory = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;

Result<void> open_diff_area(VolumeCore& core, const VolumeConfig& config) {
    std::string path = core.identity.diff_area;
    auto missing = [&](const std::string& why) {
        return error_of(ErrorKind::kDiffArea, ENOENT,
                        "the diff area " + path + " of share '" + core.identity.share + "' " + why +
                            "; attach it and mount again (--wait SECONDS waits for it, --read-only "
                            "does without)");
    };
    if (config.diff_area.empty())
        core.diff_area.reset(
            openat(core.control_directory.get(), kDefaultDiffAreaName, kOpenDirectory));
    else
        core.diff_area.reset(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!core.diff_area.valid()) return missing("is not there");
    auto text = read_small_file(core.diff_area.get(), kAreaFileName);
    if (!text && text.error().code == ENOENT) return missing("holds no area.toml");
    if (!text) return forward_error(text);
    UMBRA_ASSIGN(auto area, parse_area_config(*text, path + "/" + kAreaFileName));
    if (area.uuid != config.uuid)
        return error_of(ErrorKind::kDiffArea, EINVAL,
                        "the diff area " + path + " belongs to volume " + area.uuid + ", share '" +
                            core.identity.share + "' is volume " + config.uuid +
                            "; attach the right one");
    core.log_directory.reset(openat(core.diff_area.get(), kLogDirectoryName, kOpenDirectory));
    if (!core.log_directory.valid()) return missing("holds no log directory");
    return core.space.configure(area.max_size, area.on_full);
}

// What is left by a volume that was closed cleanly, and taken away while it is open.
struct CleanMark {
    std::uint64_t limbo_bytes = 0;
    struct timespec closed {};
};

std::string format_clean_mark(const CleanMark& mark) {
    std::string bytes = ByteWriter()
                            .put(mark.limbo_bytes)
                            .put(static_cast<std::int64_t>(mark.closed.tv_sec))
                            .put(static_cast<std::uint32_t>(mark.closed.tv_nsec))
                            .take();
    const std::uint64_t sum = checksum(std::as_bytes(std::span(bytes)));
    return bytes + ByteWriter().put(sum).take();
}

std::optional<CleanMark> take_clean_mark(const VolumeCore& core) {
    auto text = read_small_file(core.diff_area.get(), kCleanMarkName);
    if (!text) return {};
    if (!core.read_only && (unlinkat(core.diff_area.get(), kCleanMarkName, 0) != 0 ||
                            fsync(core.diff_area.get()) != 0))
        return {};
    ByteReader reader(*text);
    CleanMark mark;
    mark.limbo_bytes = reader.get<std::uint64_t>();
    mark.closed.tv_sec = reader.get<std::int64_t>();
    mark.closed.tv_nsec = reader.get<std::uint32_t>();
    // A damaged one is none: everything is looked at as after an unclean end.
    if (!reader.ok() || *text != format_clean_mark(mark)) return {};
    return mark;
}

void leave_clean_mark(const VolumeCore& core) {
    CleanMark mark{core.limbo->bytes(), {}};
    clock_gettime(CLOCK_REALTIME, &mark.closed);
    // Without it the next open only takes longer.
    static_cast<void>(
        write_small_file(core.diff_area.get(), kCleanMarkName, format_clean_mark(mark)));
}

// SHARE/.umbra/sequence: the catalog's sequence number in decimal, of fixed width, as last seen by
// the share. It is written after the catalog is durable and need not be durable itself: it is never
// ahead, so that only an older copy of the diff area, or one whose catalog lost its end, has a
// lower number.
constexpr int kSequenceDigits = 20;

std::uint64_t read_sequence(const VolumeCore& core) {
    auto text = read_small_file(core.control_directory.get(), kSequenceFileName);
    return text ? std::strtoull(text->c_str(), nullptr, 10) : 0;
}

void note_sequence(const VolumeCore& core, std::uint64_t sequence) {
    UniqueFd fd(openat(core.control_directory.get(), kSequenceFileName,
                       O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    std::string digits = std::to_string(sequence);
    std::string text = std::string(kSequenceDigits - digits.size(), '0') + digits + "\n";
    // Best effort: without it the next open knows less, and nothing else.
    static_cast<void>(!pwrite(fd.get(), text.data(), text.size(), 0));
}

void watch_ownership(VolumeCore& core) {
    core.ownership->set_hooks(
        [&core](const OwnerRecord& by) {
            core.tell(EventId::kOwnershipLost, "share '" + core.identity.share +
                                                   "' was taken over by host '" + by.host +
                                                   "' (process " + std::to_string(by.process) +
                                                   "): nothing is written here any more");
            std::function<void()> hook;
            {
                std::lock_guard lock(core.lost_mutex);
                hook = core.lost_hook;
            }
            if (hook) hook();
        },
        [&core](const Error& error) {
            core.tell(EventId::kLeaseNotRenewed,
                      "the lease of share '" + core.identity.share + "' cannot be renewed: " +
                          error.text() + "; when it runs out, changes are refused until it can");
        });
}

// A former owner may not be as dead as it was taken for. What it still has open is made to be
// nothing of the volume's: it cannot write into the log, the catalog and the index.
void detach_former_owner(VolumeCore& core) {
    const OwnerRecord& former = *core.ownership->taken_from();
    const auto appended_to = [](const std::vector<std::string>& files) {
        std::vector<std::string> picked{kCatalogFileName};
        std::optional<LogFileName> newest;
        for (const auto& file : files) {
            const auto name = parse_log_file_name(file);
            if (name && (!newest || name->sequence > newest->sequence)) newest = name;
        }
        if (newest) picked.push_back(format_log_file_name(*newest));
        return picked;
    };
    const auto rewritten = [](std::vector<std::string> files) {
        std::erase_if(files, [](const std::string& name) { return name.ends_with(".sst"); });
        return files;
    };
    const auto all = [](std::vector<std::string> files) { return files; };
    const int area = core.diff_area.get();
    auto detached = reseat_directory(area, kLogDirectoryName, appended_to);
    if (detached && faccessat(area, kIndexDirectoryName, F_OK, 0) == 0)
        detached = reseat_directory(area, kIndexDirectoryName, rewritten);
    if (detached && faccessat(area, kJobsDirectoryName, F_OK, 0) == 0)
        detached = reseat_directory(area, kJobsDirectoryName, all);
    core.tell(EventId::kOwnershipTakenOver,
              "share '" + core.identity.share + "' is taken over from host '" + former.host +
                  "' (process " + std::to_string(former.process) + ")" +
                  (detached ? ""
                            : "; it could not be cut off from the diff area: " +
                                  detached.error().text()));
}

// Gives the volume back when nothing was done about a former owner that had not: whoever opens it
// next must find that one's record.
void give_back_untouched(VolumeCore& core) {
    if (!core.ownership || core.ownership->lost()) return;
    const std::optional<OwnerRecord> former = core.ownership->former();
    core.ownership.reset();
    if (former)
        static_cast<void>(write_small_file(core.control_directory.get(), kOwnerFileName,
                                           format_owner_record(*former)));
}

Result<void> open_directories(VolumeCore& core) {
    const int area = core.diff_area.get();
    core.log_directory.reset(openat(area, kLogDirectoryName, kOpenDirectory));
    if (!core.log_directory.valid())
        return errno_error(errno, "opening the log of " + core.identity.diff_area);
    if (!core.read_only && core.ownership->taken_from()) {
        detach_former_owner(core);
        core.log_directory.reset(openat(area, kLogDirectoryName, kOpenDirectory));
    } else if (!core.read_only) {
        remove_unseated(area, kLogDirectoryName);
        remove_unseated(area, kIndexDirectoryName);
        remove_unseated(area, kJobsDirectoryName);
    }
    // By descriptor: RocksDB walks to it by path, and must never come to another one.
    if (!core.read_only) static_cast<void>(mkdirat(area, kIndexDirectoryName, 0700));
    core.index_directory.reset(openat(area, kIndexDirectoryName, kOpenDirectory));
    if (!core.log_directory.valid() || !core.index_directory.valid())
        return errno_error(errno, "opening log and index of " + core.identity.diff_area);
    return {};
}

// No later than this the volume was written to by an owner that did not close it.
struct timespec unclean_end(const VolumeCore& core, std::int64_t last_append) {
    constexpr std::int64_t kSoonSeconds = 30;
    struct timespec end {};
    end.tv_sec = last_append + kSoonSeconds;
    if (const auto& former = core.ownership->former())
        end.tv_sec = std::max<std::int64_t>(end.tv_sec, former->renewed + former->lease_seconds);
    return end;
}

void look_for_outside_changes(VolumeCore& core, const struct timespec& from,
                              const struct timespec& until) {
    core.outside = std::make_unique<OutsideChanges>(from, until);
    // Replaying its log, btrfs gives files whose names it takes away the time of now.
    const char* doubt = on_btrfs(core.mount.root.get())
                            ? " (or were dated anew by btrfs, which does so after a power cut)"
                            : "";
    core.outside->search(core.mount, [&core, doubt](const OutsideChanges::Found& found) {
        if (found.count == 0) return;
        std::string examples;
        for (const auto& path : found.examples) examples += (examples.empty() ? "" : ", ") + path;
        core.tell(EventId::kChangedOutside,
                  std::to_string(found.count) + " files and folders of share '" +
                      core.identity.share + "' were changed while it was not mounted" + doubt +
                      "; snapshots show them as they are now: " + examples +
                      (found.count > found.examples.size() ? ", ..." : ""));
    });
}

Result<void> open_history(VolumeCore& core, std::uint64_t memory_bytes) {
    if (!core.read_only) core.reserve.open(core.diff_area.get());
    SpaceReserve::Use reserved(core.reserve);
    UMBRA_TRY(open_directories(core));
    UMBRA_ASSIGN(core.catalog,
                 Catalog::open(core.log_directory.get(), core.read_only, read_sequence(core)));
    core.catalog->set_change_hook(
        [&core](std::uint64_t sequence) { note_sequence(core, sequence); });
    core.jobs = std::make_unique<JobJournals>(core.diff_area.get(), core.read_only);
    UMBRA_TRY(core.jobs->measure_bytes());
    UndoLog::Options options;
    options.directory = core.log_directory.get();
    options.volume_uuid = core.identity.uuid;
    options.read_only = core.read_only;
    options.failing = [&core](const Error& error) {
        core.tell(EventId::kAreaFailed,
                  "the diff area " + core.identity.diff_area + " fails (" + error.text() +
                      "): changes that must preserve something get an error, reading goes on; "
                      "repair it and mount again");
    };
    UMBRA_ASSIGN(core.log, UndoLog::open(options));
    int limbo = openat(core.control_directory.get(), kLimboDirectoryName, kOpenDirectory);
    if (limbo < 0)
        return errno_error(errno, "opening limbo of share '" + core.identity.share + "'");
    core.limbo = std::make_unique<Limbo>(UniqueFd(limbo));
    core.states = std::make_unique<ObjectStates>(memory_bytes / 16 * 3 / 512);
    struct timespec opened {};
    clock_gettime(CLOCK_REALTIME_COARSE, &opened);  // as change times are taken
    auto mark = take_clean_mark(core);
    bool clean = mark.has_value();
    if (!clean && !core.log->files().empty())
        core.tell(EventId::kUncleanEnd, "share '" + core.identity.share +
                                            "' was not closed cleanly; its history is checked");
    UMBRA_ASSIGN(std::int64_t last_append, last_append_seconds(core));
    const struct timespec ended = mark ? mark->closed : unclean_end(core, last_append);
    std::string index_path = "/proc/self/fd/" + std::to_string(core.index_directory.get());
    UMBRA_TRY(recover_log_and_index(core, index_path, memory_bytes / 4 * 3, clean));
    if (clean) {
        core.limbo->set_bytes(mark->limbo_bytes);
    } else {
        // What a killed daemon left in the kernel's caches counts as durable from here on.
        UMBRA_TRY(core.limbo->sync());
        if (syncfs(core.log_directory.get()) != 0)
            return errno_error(errno, "syncing the diff area");
        UMBRA_TRY(recover_deferred_writes(core, last_append));
        // Afterwards, since a name taken away dates its file as if somebody had changed it.
        UMBRA_TRY(core.limbo->recover());
    }
    // Epochs of records without a catalog entry (a cut that a crash interrupted) are not given out
    // again.
    for (const auto& file : core.log->files()) core.catalog->raise_last_epoch(file.epoch);
    core.epoch = core.catalog->last_epoch();
    core.newest = core.catalog->newest();
    UMBRA_ASSIGN(std::uint64_t index_bytes, core.index->disk_bytes());
    core.index_bytes = index_bytes;
    if (core.newest.load() != 0) look_for_outside_changes(core, ended, opened);
    if (core.read_only) return {};
    core.deferred = std::make_unique<DeferredWrites>(
        *core.log, memory_bytes / 16, [&core] { return core.check_owner(); },
        [&core](ObjectId object, const Error& error) {
            core.tell(EventId::kDeferredWriteFailed,
                      "writing to inode " + std::to_string(object.inode) +
                          " what had been answered for: " + error.text() +
                          "; check the share's disk and that of its diff area");
        });
    for (Epoch epoch : core.catalog->unfinished_deletions()) {
        core.tell(EventId::kDeletionResumed, "the deletion of snapshot number " +
                                                 std::to_string(epoch) +
                                                 " had been interrupted; it is finished now");
        UMBRA_TRY(core.reclaim(epoch));
        UMBRA_TRY(core.catalog->finish_delete(epoch));
    }
    return {};
}

}  // namespace

Volume::Volume(std::unique_ptr<VolumeCore> core) : core_(std::move(core)) {}

Volume::~Volume() {
    core_->outside.reset();
    if (core_->without_diff_area || core_->read_only) {
        give_back_untouched(*core_);
        return;
    }
    core_->deferred.reset();
    if (core_->ownership->lost()) return;  // nothing here is ours any more
    // Index first, mark last: the mark says that nothing has to be replayed.
    bool flushed = !core_->log->failed() && core_->log->finish_file().has_value() &&
                   core_->index->flush().has_value();
    core_->index.reset();
    if (flushed) {
        // Not before: RocksDB does not stand it when a file that it could not write can be written.
        const SpaceReserve::Use reserved(core_->reserve);
        leave_clean_mark(*core_);
    }
    core_->share_reserve.set_aside();
}

bool Volume::is_share(const std::string& share) {
    struct stat status {};
    return ::stat((share + "/" + kControlDirectoryName + "/" + kVolumeFileName).c_str(), &status) ==
           0;
}

namespace {

bool has_no_room(const Error& error) { return error.code == ENOSPC || error.code == EDQUOT; }

// A share must come up however full its filesystem is: what is set aside for that is given back
// then, into `room`. Only once nobody else has the volume: until then nothing is written.
Result<void> take_ownership(VolumeCore& core, const OpenOptions& options,
                            std::optional<SpaceReserve::Use>& room) {
    const auto take = [&] {
        return Ownership::take(core.control_directory.get(), options.share, options.ownership);
    };
    auto taken = take();
    if (!taken && has_no_room(taken.error())) {
        core.share_reserve.open(core.control_directory.get());
        room.emplace(core.share_reserve);
        taken = take();
    }
    if (!taken) return forward_error(taken);
    core.ownership = std::move(*taken);
    if (!core.read_only) core.share_reserve.open(core.control_directory.get());
    watch_ownership(core);
    return {};
}

}  // namespace

Result<std::unique_ptr<Volume>> Volume::open(const OpenOptions& options,
                                             std::function<void(const Event&)> announce) {
    auto core = std::make_unique<VolumeCore>();
    core->read_only = options.read_only;
    core->rebuild_index = options.rebuild_index;
    core->clock = options.clock;
    core->trusted_start = core->clock.wall().tv_sec - core->clock.steady_seconds();
    core->announce = std::move(announce);
    core->identity.share = options.share;
    UMBRA_ASSIGN(core->mount, LiveMount::open(options.share));
    core->control_directory.reset(
        openat(core->mount.root.get(), kControlDirectoryName, kOpenDirectory));
    if (!core->control_directory.valid())
        return error_of(ErrorKind::kNotFound, ENOENT,
                        "'" + options.share + "' is no share; make it one with 'umbra init'");
    UMBRA_ASSIGN(core->control_id, core->mount.codec.identify(core->control_directory.get()));
    core->writers = std::make_unique<WriterFiles>(core->control_directory.get());
    UMBRA_ASSIGN(auto text, read_small_file(core->control_directory.get(), kVolumeFileName));
    UMBRA_ASSIGN(auto config,
                 parse_volume_config(
                     text, options.share + "/" + kControlDirectoryName + "/" + kVolumeFileName));
    core->identity.uuid = config.uuid;
    core->identity.on_event = config.on_event;
    core->view_settings.store(config.view);
    core->identity.diff_area =
        config.diff_area.empty()
            ? options.share + "/" + kControlDirectoryName + "/" + kDefaultDiffAreaName
            : config.diff_area;
    std::optional<SpaceReserve::Use> room;
    UMBRA_TRY(take_ownership(*core, options, room));
    if (!core->read_only) {
        UMBRA_ASSIGN(core->events, EventLog::open(core->control_directory.get()));
    }
    auto area = open_diff_area(*core, config);
    if (!area && options.read_only && area.error().code == ENOENT) {
        // The live tree alone; nothing of the history is touched.
        core->without_diff_area = true;
        UMBRA_ASSIGN(core->catalog, Catalog::open(-1, true));
        core->tell(EventId::kAreaMissing, area.error().text());
        return std::unique_ptr<Volume>(new Volume(std::move(core)));
    }
    auto opened = area ? open_history(*core, options.memory_bytes) : area;
    if (!opened) {
        core->outside.reset();
        core->deferred.reset();
        core->events.reset();
        give_back_untouched(*core);
        return forward_error(opened);
    }
    room.reset();
    if (!core->read_only) core->share_reserve.set_aside();
    return std::unique_ptr<Volume>(new Volume(std::move(core)));
}

}  // namespace umbra
