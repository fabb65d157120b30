#include "snapstore/volume.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <mutex>
#include <shared_mutex>

#include "snapstore/reclaim.h"
#include "snapstore/token.h"
#include "snapstore/volume_config.h"
#include "snapstore/volume_core.h"
#include "snapstore/volume_files.h"

namespace umbra {

namespace {

// A clock that was set back must not make a snapshot look older than the one before it: then it was
// created when its token says, which is later than every other.
void keep_order(const Catalog& catalog, Snapshot& snapshot) {
    auto before = catalog.find(catalog.newest());
    auto token_time = parse_token(snapshot.token);
    if (!before || !token_time) return;
    auto moment = [](const struct timespec& time) { return std::pair(time.tv_sec, time.tv_nsec); };
    if (moment(before->created) < moment(snapshot.created)) return;
    snapshot.created = {};
    snapshot.created.tv_sec = *token_time;
}

std::string until_text(const Hold& hold) {
    if (!hold.expires) return "until it is released";
    std::string text = format_token(*hold.expires);  // @GMT-2027.01.31-00.00.00
    return "until " + text.substr(5, 4) + "-" + text.substr(10, 2) + "-" + text.substr(13, 2) +
           " " + text.substr(16, 2) + ":" + text.substr(19, 2) + ":" + text.substr(22, 2) + " UTC";
}

// The holds that count now, for a message.
std::string reasons_of(const Snapshot& snapshot, std::int64_t now) {
    std::string text;
    for (const auto& hold : snapshot.holds)
        if (hold.in_force(now))
            text += (text.empty() ? "'" : ", '") + hold.reason + "' " + until_text(hold);
    return text;
}

tl::unexpected<Error> no_snapshot(const std::string& what) {
    return error_of(
        ErrorKind::kNotFound, ENOENT,
        "there is no snapshot '" + what + "'; 'umbra snapshot list' shows those there are");
}

}  // namespace

VolumeIdentity Volume::identity() const {
    VolumeIdentity identity = core_->identity;
    identity.on_full = core_->space.on_full();
    identity.max_size = core_->space.max_size();
    return identity;
}

Result<void> Volume::check_owner() const { return core_->check_owner(); }
OwnerRecord Volume::owner() const { return core_->ownership->record(); }

void Volume::set_lost_hook(std::function<void()> hook) {
    std::lock_guard lock(core_->lost_mutex);
    core_->lost_hook = std::move(hook);
}

bool Volume::read_only() const { return core_->read_only; }
LiveTree& Volume::live() { return core_->live; }
PastTree Volume::past(Epoch snapshot) { return PastTree(*core_, snapshot); }
History Volume::history() { return History(*core_); }
DirectoryVersions& Volume::directory_versions() { return core_->directory_versions; }
const Catalog& Volume::catalog() const { return *core_->catalog; }

void Volume::set_flush_hook(std::function<void()> hook) {
    std::lock_guard lock(core_->flush_mutex);
    core_->flush_hook = std::move(hook);
}

void Volume::set_slow_hook(std::function<void(std::chrono::nanoseconds)> hook) {
    core_->slow_hook = std::move(hook);
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
    UMBRA_TRY(core_->check_owner());
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
    snapshot.writers = options.writers;
    if (!options.hold_reason.empty())
        snapshot.holds.push_back({options.hold_reason, options.hold_expires});
    Epoch newest_before = core_->newest.load();
    core_->settle_all();  // most of it, while changes go on
    {
        // The cut: no change is in flight while the epoch is raised, and none is deferred.
        std::unique_lock cut(core_->gate);
        core_->settle_all();
        snapshot.created = core_->clock.wall();
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
    keep_order(*core_->catalog, snapshot);
    if (durable) durable = core_->catalog->add(snapshot);
    if (!durable) {
        std::unique_lock cut(core_->gate);
        core_->newest = newest_before;
        core_->tell(EventId::kSnapshotFailed,
                    "no snapshot could be taken: " + durable.error().text());
        return forward_error(durable);
    }
    core_->tell(EventId::kSnapshotCreated, describe(snapshot) + " is taken");
    if (core_->snapshot_hook) core_->snapshot_hook(snapshot, true);
    return snapshot;
}

Result<Snapshot> Volume::set_writers(Epoch epoch, const std::string& writers) {
    UMBRA_TRY(core_->check_owner());
    std::lock_guard lock(core_->snapshot_mutex);
    UMBRA_TRY(core_->catalog->set_writers(epoch, writers));
    return *core_->catalog->find(epoch);
}

WriterFiles& Volume::writers() { return *core_->writers; }

JobJournals& Volume::jobs() { return *core_->jobs; }

Result<void> Volume::sync_live() {
    if (core_->read_only) return {};
    UMBRA_TRY(core_->check_owner());
    core_->settle_all();
    UMBRA_TRY(core_->limbo->sync());
    // That what was deferred is applied must be as durable as that.
    return core_->log->sync_all();
}

Result<void> Volume::delete_snapshot(Epoch epoch) {
    if (core_->read_only)
        return error_of(ErrorKind::kRefused, EROFS,
                        "share '" + core_->identity.share +
                            "' is mounted read-only; no snapshot can be deleted");
    UMBRA_TRY(core_->check_owner());
    std::lock_guard lock(core_->snapshot_mutex);
    auto snapshot = core_->catalog->find(epoch);
    if (!snapshot) return no_snapshot(std::to_string(epoch));
    if (std::int64_t now = core_->hold_time(); snapshot->held(now))
        return error_of(ErrorKind::kRefused, EBUSY,
                        "snapshot " + snapshot->token + " is held: " + reasons_of(*snapshot, now) +
                            "; release it first ('umbra snapshot release')");
    UMBRA_TRY(core_->delete_snapshot_locked(*snapshot));
    core_->tell(EventId::kSnapshotDeleted, describe(*snapshot) + " is deleted");
    return {};
}

Result<Snapshot> Volume::hold(Epoch epoch, const Hold& hold) {
    UMBRA_TRY(core_->check_owner());
    std::lock_guard lock(core_->snapshot_mutex);
    auto snapshot = core_->catalog->find(epoch);
    if (!snapshot) return no_snapshot(std::to_string(epoch));
    std::int64_t now = core_->hold_time();
    for (const auto& known : snapshot->holds)
        if (known.reason == hold.reason && known.in_force(now) && hold.ends_before(known))
            return error_of(ErrorKind::kRefused, EBUSY,
                            "snapshot " + snapshot->token + " is held ('" + known.reason + "') " +
                                until_text(known) +
                                ", and a hold is never made shorter; release it "
                                "('umbra snapshot release'), or give another reason");
    std::erase_if(snapshot->holds, [&](const Hold& known) { return known.reason == hold.reason; });
    snapshot->holds.push_back(hold);
    UMBRA_TRY(core_->catalog->set_holds(epoch, snapshot->holds));
    core_->tell(EventId::kSnapshotHeld,
                describe(*snapshot) + " is held ('" + hold.reason + "') " + until_text(hold));
    return *snapshot;
}

Result<Snapshot> Volume::release(Epoch epoch, const std::string& reason) {
    UMBRA_TRY(core_->check_owner());
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
    core_->tell(EventId::kSnapshotReleased,
                describe(*snapshot) + " is released" + (reason.empty() ? "" : " (" + reason + ")"));
    return *snapshot;
}

Result<ScrubSlice> Volume::scrub(const std::string& cursor) {
    if (core_->without_diff_area)
        return error_of(ErrorKind::kDiffArea, ENOENT,
                        "share '" + core_->identity.share +
                            "' is open without its diff area; attach it and mount again");
    return scrub_slice(*core_, cursor);
}

Result<Snapshot> Volume::find_snapshot(const std::string& token_or_label) const {
    auto snapshot = core_->catalog->find_name(token_or_label);
    if (!snapshot) return no_snapshot(token_or_label);
    return *snapshot;
}

OutsideChanges::Found Volume::changed_outside() const {
    return core_->outside ? core_->outside->found() : OutsideChanges::Found{0, {}, true};
}

Result<std::vector<Event>> Volume::events(std::uint64_t after) const {
    return EventLog::read(core_->control_directory.get(), after);
}

void Volume::tell(EventId id, std::string message) const { core_->tell(id, std::move(message)); }

void Volume::record(Event& event) const {
    if (core_->events) core_->events->append(event);
}

std::string Volume::event_command() const {
    std::lock_guard lock(core_->settings_mutex);
    return core_->identity.on_event;
}

namespace {

// Changes what volume.toml says; settings_mutex held.
Result<void> change_config(VolumeCore& core, const std::function<void(VolumeConfig&)>& change) {
    UMBRA_TRY(core.check_owner());
    const int directory = core.control_directory.get();
    UMBRA_ASSIGN(auto text, read_small_file(directory, kVolumeFileName));
    UMBRA_ASSIGN(auto config, parse_volume_config(text, kVolumeFileName));
    change(config);
    return write_small_file(directory, kVolumeFileName, format_volume_config(config));
}

}  // namespace

Result<void> Volume::set_event_command(const std::string& command) {
    UMBRA_TRY(check_event_command(command));
    std::lock_guard lock(core_->settings_mutex);
    UMBRA_TRY(change_config(*core_, [&](VolumeConfig& config) { config.on_event = command; }));
    core_->identity.on_event = command;
    return {};
}

ViewSettings Volume::view_settings() const { return core_->view_settings.load(); }

Result<void> Volume::set_view_settings(const ViewSettings& settings) {
    std::lock_guard lock(core_->settings_mutex);
    UMBRA_TRY(change_config(*core_, [&](VolumeConfig& config) { config.view = settings; }));
    core_->view_settings.store(settings);
    if (core_->view_hook) core_->view_hook();
    return {};
}

void Volume::set_view_hook(std::function<void()> hook) {
    std::lock_guard lock(core_->settings_mutex);
    core_->view_hook = std::move(hook);
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
