#include "snapstore/volume.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <mutex>
#include <shared_mutex>

#include "snapstore/bytes.h"
#include "snapstore/reclaim.h"
#include "snapstore/token.h"
#include "snapstore/volume_config.h"
#include "snapstore/volume_core.h"
#include "snapstore/volume_files.h"

namespace umbra {

namespace {

constexpr int kOpenDirectory = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;

std::int64_t now_seconds() {
    return std::chrono::duration_cast<std::chrono::seconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
}

constexpr int kLockAttempts = 250;
constexpr unsigned kLockRetryMicroseconds = 20000;

// Is the process with this number gone, or a zombie whose threads are still on their way out?
bool is_ending(const char* process) {
    UniqueFd fd(::open(("/proc/" + std::string(process) + "/stat").c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd.valid()) return true;
    char text[512] = {};
    if (::read(fd.get(), text, sizeof text - 1) <= 0) return true;
    std::string_view line(text);
    auto name_end = line.rfind(')');  // proc(5): the state follows the name
    return name_end != std::string_view::npos && name_end + 2 < line.size() &&
           (line[name_end + 2] == 'Z' || line[name_end + 2] == 'X');
}

// The volume's lock: an flock on SHARE/.umbra/lock, so that it ends with its holder. The file says
// who that is.
Result<UniqueFd> take_lock(int control_directory, const std::string& share) {
    UniqueFd fd(openat(control_directory, kVolumeLockName,
                       O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!fd.valid()) return errno_error(errno, "opening the lock of share '" + share + "'");
    for (int attempt = 0; flock(fd.get(), LOCK_EX | LOCK_NB) != 0; ++attempt) {
        if (errno != EWOULDBLOCK) return errno_error(errno, "locking share '" + share + "'");
        char holder[32] = {};
        if (pread(fd.get(), holder, sizeof holder - 1, 0) < 0) holder[0] = '\0';
        // A killed daemon holds the lock until its last thread is gone.
        if (attempt < kLockAttempts && is_ending(holder)) {
            usleep(kLockRetryMicroseconds);
            continue;
        }
        return error_of(ErrorKind::kRefused, EBUSY,
                        "share '" + share + "' is in use by process " +
                            (holder[0] ? std::string(holder) : "(unknown)") +
                            "; unmount it first ('umbra umount')");
    }
    std::string pid = std::to_string(getpid());
    if (ftruncate(fd.get(), 0) != 0 || pwrite(fd.get(), pid.data(), pid.size(), 0) < 0)
        return errno_error(errno, "writing the lock of share '" + share + "'");
    return fd;
}

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
    core.identity.on_full = area.on_full;
    core.identity.max_size = area.max_size;
    core.log_directory.reset(openat(core.diff_area.get(), kLogDirectoryName, kOpenDirectory));
    if (!core.log_directory.valid()) return missing("holds no log directory");
    struct statvfs filesystem {};
    if (fstatvfs(core.diff_area.get(), &filesystem) != 0)
        return errno_error(errno, "reading the size of the filesystem of " + path);
    core.limit_bytes =
        area.max_size.bytes(static_cast<std::uint64_t>(filesystem.f_blocks) * filesystem.f_frsize);
    return {};
}

// Was the volume closed cleanly? The mark is taken away while it is open; it holds the size of
// limbo.
std::optional<std::uint64_t> take_clean_mark(const VolumeCore& core) {
    auto text = read_small_file(core.diff_area.get(), kCleanMarkName);
    if (!text) return {};
    if (!core.read_only && (unlinkat(core.diff_area.get(), kCleanMarkName, 0) != 0 ||
                            fsync(core.diff_area.get()) != 0))
        return {};
    ByteReader reader(*text);
    auto limbo_bytes = reader.get<std::uint64_t>();
    if (!reader.ok() || !reader.at_end()) return {};
    return limbo_bytes;
}

void leave_clean_mark(const VolumeCore& core) {
    // Without it the next open only takes longer.
    static_cast<void>(write_small_file(core.diff_area.get(), kCleanMarkName,
                                       ByteWriter().put(core.limbo->bytes()).take()));
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

Result<void> open_history(VolumeCore& core, std::uint64_t memory_bytes) {
    if (!core.read_only) core.reserve.open(core.diff_area.get());
    SpaceReserve::Use reserved(core.reserve);
    UMBRA_ASSIGN(core.catalog,
                 Catalog::open(core.log_directory.get(), core.read_only, read_sequence(core)));
    core.catalog->set_change_hook(
        [&core](std::uint64_t sequence) { note_sequence(core, sequence); });
    UndoLog::Options options;
    options.directory = core.log_directory.get();
    options.volume_uuid = core.identity.uuid;
    options.read_only = core.read_only;
    UMBRA_ASSIGN(core.log, UndoLog::open(options));
    int limbo = openat(core.control_directory.get(), kLimboDirectoryName, kOpenDirectory);
    if (limbo < 0)
        return errno_error(errno, "opening limbo of share '" + core.identity.share + "'");
    core.limbo = std::make_unique<Limbo>(UniqueFd(limbo));
    core.states = std::make_unique<ObjectStates>(memory_bytes / 16 * 3 / 512);
    auto limbo_bytes = take_clean_mark(core);
    bool clean = limbo_bytes.has_value();
    UMBRA_ASSIGN(std::int64_t last_append, last_append_seconds(core));
    std::string index_path =
        "/proc/self/fd/" + std::to_string(core.diff_area.get()) + "/" + kIndexDirectoryName;
    UMBRA_TRY(recover_log_and_index(core, index_path, memory_bytes / 4 * 3, clean));
    if (clean) {
        core.limbo->set_bytes(*limbo_bytes);
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
    if (core.read_only) return {};
    core.deferred = std::make_unique<DeferredWrites>(
        *core.log, memory_bytes / 16, [&core](ObjectId object, const Error& error) {
            core.tell(Event::Severity::kError, "deferred-write-failed",
                      "writing to inode " + std::to_string(object.inode) +
                          " what had been answered for: " + error.text() +
                          "; check the share's disk and that of its diff area");
        });
    for (Epoch epoch : core.catalog->unfinished_deletions()) {
        UMBRA_TRY(core.reclaim(epoch));
        UMBRA_TRY(core.catalog->finish_delete(epoch));
    }
    return {};
}

tl::unexpected<Error> no_snapshot(const std::string& what) {
    return error_of(
        ErrorKind::kNotFound, ENOENT,
        "there is no snapshot '" + what + "'; 'umbra snapshot list' shows those there are");
}

}  // namespace

Volume::Volume(std::unique_ptr<VolumeCore> core) : core_(std::move(core)) {}

Volume::~Volume() {
    if (core_->without_diff_area || core_->read_only) return;
    core_->deferred.reset();
    // Index first, mark last: the mark says that nothing has to be replayed.
    bool flushed = !core_->log->failed() && core_->log->finish_file().has_value() &&
                   core_->index->flush().has_value();
    core_->index.reset();
    if (flushed) leave_clean_mark(*core_);
}

bool Volume::is_share(const std::string& share) {
    struct stat status {};
    return ::stat((share + "/" + kControlDirectoryName + "/" + kVolumeFileName).c_str(), &status) ==
           0;
}

Result<std::unique_ptr<Volume>> Volume::open(const OpenOptions& options,
                                             std::function<void(const Event&)> announce) {
    auto core = std::make_unique<VolumeCore>();
    core->read_only = options.read_only;
    core->announce = std::move(announce);
    core->identity.share = options.share;
    UMBRA_ASSIGN(core->mount, LiveMount::open(options.share));
    core->control_directory.reset(
        openat(core->mount.root.get(), kControlDirectoryName, kOpenDirectory));
    if (!core->control_directory.valid())
        return error_of(ErrorKind::kNotFound, ENOENT,
                        "'" + options.share + "' is no share; make it one with 'umbra init'");
    UMBRA_ASSIGN(core->control_id, core->mount.codec.identify(core->control_directory.get()));
    UMBRA_ASSIGN(auto text, read_small_file(core->control_directory.get(), kVolumeFileName));
    UMBRA_ASSIGN(auto config,
                 parse_volume_config(
                     text, options.share + "/" + kControlDirectoryName + "/" + kVolumeFileName));
    core->identity.uuid = config.uuid;
    core->identity.diff_area =
        config.diff_area.empty()
            ? options.share + "/" + kControlDirectoryName + "/" + kDefaultDiffAreaName
            : config.diff_area;
    UMBRA_ASSIGN(core->lock_file, take_lock(core->control_directory.get(), options.share));
    auto area = open_diff_area(*core, config);
    if (!area && options.read_only && area.error().code == ENOENT) {
        // The live tree alone; nothing of the history is touched.
        core->without_diff_area = true;
        UMBRA_ASSIGN(core->catalog, Catalog::open(-1, true));
        core->tell(Event::Severity::kWarning, "diff-area-missing", area.error().text());
        return std::unique_ptr<Volume>(new Volume(std::move(core)));
    }
    if (!area) return forward_error(area);
    UMBRA_TRY(open_history(*core, options.memory_bytes));
    return std::unique_ptr<Volume>(new Volume(std::move(core)));
}

const VolumeIdentity& Volume::identity() const { return core_->identity; }
bool Volume::read_only() const { return core_->read_only; }
LiveTree& Volume::live() { return core_->live; }
PastTree Volume::past(Epoch snapshot) { return PastTree(*core_, snapshot); }
History Volume::history() { return History(*core_); }
const Catalog& Volume::catalog() const { return *core_->catalog; }

void Volume::set_flush_hook(std::function<void()> hook) {
    std::lock_guard lock(core_->flush_mutex);
    core_->flush_hook = std::move(hook);
}

void Volume::set_snapshot_hook(std::function<void(const Snapshot&, bool)> hook) {
    std::lock_guard lock(core_->snapshot_mutex);
    core_->snapshot_hook = std::move(hook);
}

Result<Snapshot> Volume::create_snapshot(const SnapshotOptions& options) {
    if (core_->read_only)
        return error_of(
            ErrorKind::kRefused, EROFS,
            "share '" + core_->identity.share + "' is mounted read-only; no snapshot can be made");
    if (!options.label.empty()) UMBRA_TRY(check_label(options.label));
    {
        std::lock_guard flush(core_->flush_mutex);
        if (core_->flush_hook) core_->flush_hook();
    }
    std::lock_guard lock(core_->snapshot_mutex);
    if (!options.label.empty() && core_->catalog->find_name(options.label))
        return error_of(
            ErrorKind::kRefused, EEXIST,
            "label '" + options.label + "' is taken; choose another or delete that snapshot");

    Snapshot snapshot;
    snapshot.label = options.label;
    if (!options.hold_reason.empty())
        snapshot.holds.push_back({options.hold_reason, options.hold_expires});
    Epoch newest_before = core_->newest.load();
    core_->settle_all();  // most of it, while changes go on
    {
        // The cut: no change is in flight while the epoch is raised, and none is deferred.
        std::unique_lock cut(core_->gate);
        core_->settle_all();
        clock_gettime(CLOCK_REALTIME, &snapshot.created);
        snapshot.epoch = core_->epoch.load() + 1;
        core_->epoch = snapshot.epoch;
        core_->newest = snapshot.epoch;
    }
    // What the snapshot takes from the live tree must survive a power cut from now on. New changes
    // preserve already.
    auto durable = core_->limbo->sync();
    // The live files have what was deferred: that it is applied must be as durable as that.
    if (durable) durable = core_->log->sync_all();
    snapshot.token = core_->catalog->free_token(snapshot.created.tv_sec);
    if (durable) durable = core_->catalog->add(snapshot);
    if (!durable) {
        std::unique_lock cut(core_->gate);
        core_->newest = newest_before;
        return forward_error(durable);
    }
    if (core_->snapshot_hook) core_->snapshot_hook(snapshot, true);
    return snapshot;
}

Result<void> Volume::delete_snapshot(Epoch epoch) {
    if (core_->read_only)
        return error_of(ErrorKind::kRefused, EROFS,
                        "share '" + core_->identity.share +
                            "' is mounted read-only; no snapshot can be deleted");
    std::lock_guard lock(core_->snapshot_mutex);
    auto snapshot = core_->catalog->find(epoch);
    if (!snapshot) return no_snapshot(std::to_string(epoch));
    if (snapshot->held(now_seconds()))
        return error_of(ErrorKind::kRefused, EBUSY,
                        "snapshot " + snapshot->token + " is held (" +
                            snapshot->holds.front().reason +
                            "); release it first ('umbra snapshot release')");
    return core_->delete_snapshot_locked(*snapshot);
}

Result<Snapshot> Volume::hold(Epoch epoch, const Hold& hold) {
    std::lock_guard lock(core_->snapshot_mutex);
    auto snapshot = core_->catalog->find(epoch);
    if (!snapshot) return no_snapshot(std::to_string(epoch));
    std::erase_if(snapshot->holds, [&](const Hold& known) { return known.reason == hold.reason; });
    snapshot->holds.push_back(hold);
    UMBRA_TRY(core_->catalog->set_holds(epoch, snapshot->holds));
    return *snapshot;
}

Result<Snapshot> Volume::release(Epoch epoch, const std::string& reason) {
    std::lock_guard lock(core_->snapshot_mutex);
    auto snapshot = core_->catalog->find(epoch);
    if (!snapshot) return no_snapshot(std::to_string(epoch));
    auto released = std::erase_if(snapshot->holds, [&](const Hold& known) {
        return reason.empty() || known.reason == reason;
    });
    if (released == 0)
        return error_of(ErrorKind::kNotFound, ENOENT,
                        "snapshot " + snapshot->token + " has no hold" +
                            (reason.empty() ? "" : " '" + reason + "'"));
    UMBRA_TRY(core_->catalog->set_holds(epoch, snapshot->holds));
    return *snapshot;
}

Result<Snapshot> Volume::find_snapshot(const std::string& token_or_label) const {
    auto snapshot = core_->catalog->find_name(token_or_label);
    if (!snapshot) return no_snapshot(token_or_label);
    return *snapshot;
}

Result<SpaceUse> Volume::space_use() const {
    SpaceUse use;
    if (core_->without_diff_area) return use;
    UMBRA_ASSIGN(use.log_bytes, core_->log->measure_bytes());
    UMBRA_ASSIGN(use.index_bytes, core_->index->disk_bytes());
    core_->index_bytes = use.index_bytes;
    use.limbo_bytes = core_->limbo->bytes();
    use.limit_bytes = core_->limit_bytes;
    struct statvfs filesystem {};
    if (fstatvfs(core_->diff_area.get(), &filesystem) != 0)
        return errno_error(errno, "reading the free space of the diff area");
    use.filesystem_free_bytes =
        static_cast<std::uint64_t>(filesystem.f_bavail) * filesystem.f_frsize;
    return use;
}

Result<std::uint64_t> Volume::exclusive_bytes(Epoch snapshot) const {
    if (!core_->catalog->exists(snapshot)) return no_snapshot(std::to_string(snapshot));
    Epoch until = core_->catalog->next_of(snapshot).value_or(UINT64_MAX);
    Reclaimer reclaimer(*core_, [&](Epoch after, Epoch up_to) {
        // As the catalog would be without this snapshot.
        auto next = core_->catalog->next_of(after);
        if (next == snapshot) next = core_->catalog->next_of(snapshot);
        return next && *next <= up_to;
    });
    return reclaimer.measure(snapshot, until);
}

}  // namespace umbra
