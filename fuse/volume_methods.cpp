#include "fuse/volume_methods.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <vector>

#include "fuse/control_protocol.h"
#include "fuse/job_methods.h"
#include "fuse/result_json.h"
#include "fuse/writer_methods.h"
#include "snapstore/volume_config.h"

namespace umbra {

namespace {

using nlohmann::json;

struct Method {
    const char* name;
    MethodAccess access;
    bool changes;
    // Null: needs more than the volume, answered by the daemon.
    Result<json> (*call)(Volume&, const json&, const MethodCaller&);
};

Result<json> status(Volume& volume, const json&, const MethodCaller&) {
    return volume_status_json(volume);
}

Result<json> create(Volume& volume, const json& parameters, const MethodCaller& caller) {
    UMBRA_ASSIGN(const std::optional<std::string> label, optional_text(parameters, "label"));
    UMBRA_ASSIGN(const std::optional<std::string> hold, optional_text(parameters, "hold"));
    if (label) UMBRA_TRY(check_label(*label));
    if (hold && hold->empty()) {
        return error_of(ErrorKind::kUsage, EINVAL, "the reason of a hold must not be empty");
    }
    UMBRA_ASSIGN(const std::optional<std::int64_t> expires,
                 optional_integer(parameters, "expires"));
    if (expires && !hold) {
        return error_of(ErrorKind::kUsage, EINVAL,
                        "only a hold has an end: give its reason with --hold");
    }
    Volume::SnapshotOptions options;
    options.hold_expires = expires;
    options.label = label.value_or("");
    options.hold_reason = hold.value_or("");
    UMBRA_ASSIGN(options.writers, writer_methods::reports_in(parameters));
    // Whoever runs them is root; nobody else is believed.
    if (!options.writers.empty() && caller.uid != 0)
        return error_of(ErrorKind::kRefused, EPERM, "only root can say how writers stand");
    UMBRA_ASSIGN(const Snapshot snapshot, volume.create_snapshot(options));
    return to_json(snapshot);
}

Result<json> list(Volume& volume, const json&, const MethodCaller& caller) {
    json snapshots = json::array();
    for (const auto& snapshot : volume.catalog().snapshots()) {
        snapshots.push_back(to_json(snapshot));
        // What a writer's command said may name anything.
        if (caller.owner) continue;
        for (auto& writer : snapshots.back()["writers"]) writer["reason"] = nullptr;
    }
    return snapshots;
}

// Which snapshots a delete request means, oldest first. All named ones must exist before any goes.
Result<std::vector<Snapshot>> chosen_for_delete(Volume& volume, const json& parameters) {
    UMBRA_ASSIGN(const bool oldest, optional_flag(parameters, "oldest"));
    UMBRA_ASSIGN(const bool all, optional_flag(parameters, "all"));
    UMBRA_ASSIGN(const std::vector<std::string> names, optional_texts(parameters, "names"));
    if (int{oldest} + int{all} + int{!names.empty()} != 1) {
        return error_of(ErrorKind::kUsage, EINVAL,
                        "name snapshots to delete, or ask for the oldest, or for all");
    }
    std::vector<Snapshot> chosen;
    if (names.empty()) {
        chosen = volume.catalog().snapshots();
        if (oldest && chosen.empty()) {
            return error_of(ErrorKind::kNotFound, ENOENT, "there is no snapshot to delete");
        }
        if (oldest) chosen.resize(1);
        return chosen;
    }
    for (const auto& name : names) {
        UMBRA_ASSIGN(Snapshot snapshot, volume.find_snapshot(name));
        chosen.push_back(std::move(snapshot));
    }
    // The same one may be named twice, by token and by label.
    std::sort(chosen.begin(), chosen.end(),
              [](const auto& a, const auto& b) { return a.epoch < b.epoch; });
    const auto same = [](const auto& a, const auto& b) { return a.epoch == b.epoch; };
    chosen.erase(std::unique(chosen.begin(), chosen.end(), same), chosen.end());
    return chosen;
}

Result<json> remove(Volume& volume, const json& parameters, const MethodCaller&) {
    UMBRA_ASSIGN(const std::vector<Snapshot> chosen, chosen_for_delete(volume, parameters));
    json deleted = json::array(), failed = json::array();
    for (const auto& snapshot : chosen) {
        if (auto done = volume.delete_snapshot(snapshot.epoch); done) {
            deleted.push_back(snapshot.token);
        } else {
            failed.push_back({{"token", snapshot.token},
                              {"kind", error_kind_name(done.error().kind)},
                              {"errno", done.error().code},
                              {"message", done.error().text()}});
        }
    }
    return json{{"deleted", std::move(deleted)}, {"failed", std::move(failed)}};
}

Result<json> hold(Volume& volume, const json& parameters, const MethodCaller&) {
    UMBRA_ASSIGN(const std::string name, required_text(parameters, "name"));
    Hold hold;
    UMBRA_ASSIGN(hold.reason, required_text(parameters, "reason"));
    UMBRA_ASSIGN(hold.expires, optional_integer(parameters, "expires"));
    if (hold.reason.empty()) {
        return error_of(ErrorKind::kUsage, EINVAL, "the reason of a hold must not be empty");
    }
    UMBRA_ASSIGN(const Snapshot snapshot, volume.find_snapshot(name));
    UMBRA_ASSIGN(const Snapshot held, volume.hold(snapshot.epoch, hold));
    return to_json(held);
}

Result<json> release(Volume& volume, const json& parameters, const MethodCaller&) {
    UMBRA_ASSIGN(const std::string name, required_text(parameters, "name"));
    UMBRA_ASSIGN(const std::optional<std::string> reason, optional_text(parameters, "reason"));
    UMBRA_ASSIGN(const Snapshot snapshot, volume.find_snapshot(name));
    UMBRA_ASSIGN(const Snapshot released, volume.release(snapshot.epoch, reason.value_or("")));
    return to_json(released);
}

Result<json> diff(Volume& volume, const json& parameters, const MethodCaller&) {
    UMBRA_ASSIGN(const std::string from_name, required_text(parameters, "from"));
    UMBRA_ASSIGN(const std::optional<std::string> to_name, optional_text(parameters, "to"));
    UMBRA_ASSIGN(const Snapshot from, volume.find_snapshot(from_name));
    std::optional<Epoch> to;
    if (to_name) {
        UMBRA_ASSIGN(const Snapshot snapshot, volume.find_snapshot(*to_name));
        to = snapshot.epoch;
    }
    UMBRA_ASSIGN(const std::vector<Difference> differences,
                 volume.history().difference(from.epoch, to));
    json changes = json::array();
    for (const auto& difference : differences) changes.push_back(to_json(difference));
    return changes;
}

Result<json> versions(Volume& volume, const json& parameters, const MethodCaller& caller) {
    UMBRA_ASSIGN(const std::string path, required_path(parameters, "path"));
    UMBRA_ASSIGN(const std::vector<Version> found, volume.history().versions(path));
    const std::vector<Snapshot> existing = volume.catalog().snapshots();
    json visible = json::array();
    for (const auto& version : found) {
        if (caller.may_see && !caller.may_see(version.last.token, path)) continue;
        visible.push_back(to_json(version, existing));
    }
    return visible;
}

Result<json> storage(Volume& volume, const json&, const MethodCaller&) {
    UMBRA_ASSIGN(const SpaceUse space, volume.space_use());
    const VolumeIdentity identity = volume.identity();
    json snapshots = json::array();
    for (const auto& snapshot : volume.catalog().snapshots()) {
        auto exclusive = volume.exclusive_bytes(snapshot.epoch);
        // Gone since the list was made.
        if (!exclusive && !volume.catalog().exists(snapshot.epoch)) continue;
        if (!exclusive) return forward_error(exclusive);
        json object = to_json(snapshot);
        object["exclusive_bytes"] = *exclusive;
        snapshots.push_back(std::move(object));
    }
    json shown = to_json(space);
    shown["uuid"] = identity.uuid;
    shown["max_size"] = identity.max_size.text();
    shown["on_full"] = on_full_name(identity.on_full);
    set_path(shown, "share", identity.share);
    set_path(shown, "diff_area", identity.diff_area);
    shown["snapshots"] = std::move(snapshots);
    return shown;
}

Result<json> events(Volume& volume, const json& parameters, const MethodCaller&) {
    UMBRA_ASSIGN(const std::optional<std::int64_t> after, optional_integer(parameters, "after"));
    UMBRA_ASSIGN(
        const std::vector<Event> found,
        volume.events(static_cast<std::uint64_t>(std::max<std::int64_t>(after.value_or(0), 0))));
    json listed = json::array();
    for (const auto& event : found) listed.push_back(to_json(event));
    return listed;
}

Result<json> settings(Volume& volume, const json&, const MethodCaller&) {
    const ViewSettings view = volume.view_settings();
    return json{{"on-event", volume.event_command()},
                {kSnapdirSetting, snapdir_text(view)},
                {kSnapshotAccessSetting, snapshot_access_text(view)},
                {kShareViewMaxSetting, share_view_max_text(view)}};
}

Result<void> take_setting(const json& parameters, const char* name, ViewSettings& view,
                          Result<void> (*set)(ViewSettings&, std::string_view)) {
    UMBRA_ASSIGN(const std::optional<std::string> text, optional_text(parameters, name));
    if (!text) return {};
    return set(view, *text);
}

Result<json> change_settings(Volume& volume, const json& parameters, const MethodCaller&) {
    UMBRA_ASSIGN(const json known, settings(volume, {}, {}));
    for (const auto& member : parameters.items()) {
        if (known.contains(member.key())) continue;
        std::string names;
        for (const auto& setting : known.items())
            names += (names.empty() ? "" : ", ") + setting.key();
        return error_of(
            ErrorKind::kUsage, EINVAL,
            fmt::format("there is no setting '{}'; there are: {}", member.key(), names));
    }
    ViewSettings view = volume.view_settings();
    UMBRA_TRY(take_setting(parameters, kSnapdirSetting, view, set_snapdir));
    UMBRA_TRY(take_setting(parameters, kSnapshotAccessSetting, view, set_snapshot_access));
    UMBRA_TRY(take_setting(parameters, kShareViewMaxSetting, view, set_share_view_max));
    UMBRA_ASSIGN(const std::optional<std::string> command, optional_text(parameters, "on-event"));
    if (command) UMBRA_TRY(volume.set_event_command(*command));
    if (view != volume.view_settings()) UMBRA_TRY(volume.set_view_settings(view));
    return settings(volume, {}, {});
}

Result<json> resize(Volume& volume, const json& parameters, const MethodCaller&) {
    Volume::ResizeOptions options;
    UMBRA_ASSIGN(const std::optional<std::string> size, optional_text(parameters, "max_size"));
    UMBRA_ASSIGN(const std::optional<std::string> policy, optional_text(parameters, "on_full"));
    UMBRA_ASSIGN(options.evict, optional_flag(parameters, "evict"));
    UMBRA_ASSIGN(options.dry_run, optional_flag(parameters, "dry_run"));
    if (!size && !policy)
        return error_of(ErrorKind::kUsage, EINVAL, "give a size, a policy, or both");
    if (size) {
        UMBRA_ASSIGN(options.max_size, parse_size_limit(*size));
    }
    if (policy) {
        UMBRA_ASSIGN(options.on_full, parse_on_full(*policy));
    }
    UMBRA_ASSIGN(const Volume::Resize resized, volume.resize(options));
    return to_json(resized);
}

Result<json> scrub(Volume& volume, const json& parameters, const MethodCaller&) {
    UMBRA_ASSIGN(const std::optional<std::string> cursor, optional_text(parameters, "cursor"));
    UMBRA_ASSIGN(const ScrubSlice slice, volume.scrub(cursor.value_or("")));
    return to_json(slice);
}

constexpr std::array<Method, 34> kMethods{{
    {control_method::kStatus, MethodAccess::kAnyone, false, status},
    {control_method::kSnapshotCreate, MethodAccess::kOwner, true, create},
    {control_method::kSnapshotList, MethodAccess::kAnyone, false, list},
    {control_method::kSnapshotDelete, MethodAccess::kOwner, true, remove},
    {control_method::kSnapshotHold, MethodAccess::kOwner, true, hold},
    {control_method::kSnapshotRelease, MethodAccess::kOwner, true, release},
    // It names every changed path of the share.
    {control_method::kSnapshotDiff, MethodAccess::kOwner, false, diff},
    {control_method::kVersions, MethodAccess::kReader, false, versions},
    {control_method::kStorageShow, MethodAccess::kAnyone, false, storage},
    // They name paths of the share.
    {control_method::kEvents, MethodAccess::kOwner, false, events},
    {control_method::kSettings, MethodAccess::kOwner, false, settings},
    // on-event is run as root.
    {control_method::kSettingsChange, MethodAccess::kRoot, true, change_settings},
    {control_method::kStorageResize, MethodAccess::kOwner, true, resize},
    {control_method::kStorageScrub, MethodAccess::kOwner, false, scrub},
    // Writers' commands are run as root.
    {control_method::kSnapshotWriters, MethodAccess::kRoot, true, writer_methods::of_snapshot},
    {control_method::kWriters, MethodAccess::kAnyone, false, writer_methods::list},
    {control_method::kWriterRead, MethodAccess::kRoot, false, writer_methods::read},
    {control_method::kWriterAdd, MethodAccess::kRoot, true, writer_methods::add},
    {control_method::kWriterRemove, MethodAccess::kRoot, true, writer_methods::remove},
    {control_method::kWriterReport, MethodAccess::kRoot, true, writer_methods::report},
    {control_method::kWriterDocuments, MethodAccess::kRoot, false, writer_methods::documents},
    // Jobs belong to who made them: each looks who asks.
    {control_method::kRestoreCreate, MethodAccess::kAnyone, true, job_methods::create},
    {control_method::kRestoreBegin, MethodAccess::kAnyone, true, job_methods::begin},
    {control_method::kRestoreEnd, MethodAccess::kAnyone, true, job_methods::end},
    {control_method::kRestoreAppend, MethodAccess::kAnyone, true, job_methods::append},
    {control_method::kRestoreRead, MethodAccess::kAnyone, false, job_methods::read},
    {control_method::kRestoreList, MethodAccess::kAnyone, false, job_methods::list},
    {control_method::kRestoreForget, MethodAccess::kAnyone, true, job_methods::forget},
    {control_method::kRestoreSync, MethodAccess::kAnyone, true, job_methods::sync},
    {control_method::kRestoreUntouched, MethodAccess::kReader, false, job_methods::untouched},
    {control_method::kRestoreChanged, MethodAccess::kReader, false, job_methods::changed},
    {control_method::kRestart, MethodAccess::kRoot, false, nullptr},
    {control_method::kRemount, MethodAccess::kRoot, false, nullptr},
    {control_method::kShutdown, MethodAccess::kRoot, true, nullptr},
}};

const Method* find_method(const std::string& name) {
    for (const auto& method : kMethods) {
        if (name == method.name) return &method;
    }
    return nullptr;
}

}  // namespace

std::optional<MethodAccess> method_access(const std::string& name) {
    const Method* method = find_method(name);
    if (method == nullptr) return std::nullopt;
    return method->access;
}

bool method_changes(const std::string& name) {
    const Method* method = find_method(name);
    return method != nullptr && method->changes;
}

Result<json> call_volume_method(Volume& volume, const std::string& name, const json& parameters,
                                const MethodCaller& caller) {
    const Method* method = find_method(name);
    if (method == nullptr || method->call == nullptr) {
        return error_of(ErrorKind::kUsage, ENOSYS, fmt::format("there is no method '{}'", name));
    }
    if (method->changes && volume.read_only()) {
        return error_of(ErrorKind::kRefused, EROFS,
                        fmt::format("'{}' changes the share '{}', which is mounted read-only", name,
                                    volume.identity().share));
    }
    return method->call(volume, parameters, caller);
}

}  // namespace umbra
