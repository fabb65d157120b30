#include "cli/script_host.h"

#include <fmt/format.h>

#include <sstream>

#include "cli/ask_share.h"
#include "cli/output.h"
#include "cli/patient_signals.h"
#include "cli/script_program.h"
#include "fuse/control_protocol.h"
#include "fuse/exposure.h"
#include "fuse/registry.h"

namespace umbra {

using nlohmann::json;

namespace {

ScriptShare share_of(const MountedShare& mounted) { return {mounted.mountpoint, mounted.uuid}; }

Result<SharePath> find_mounted(const std::string& path, LastComponent last) {
    UMBRA_ASSIGN(SharePath found, resolve_share_path(Registry(), path, last));
    if (found.mounted) return found;
    return error_of(ErrorKind::kRefused, ENODEV,
                    fmt::format("the share '{0}' is not mounted, and scripts need it to be: "
                                "'umbra mount {0}' first",
                                found.share));
}

Result<json> ask(const ScriptShare& share, const char* method, const json& parameters = {}) {
    return ask_share(share.root, method, parameters.is_null() ? json::object() : parameters);
}

ScriptSnapshot snapshot_of(const ScriptShare& share, const json& object) {
    ScriptSnapshot snapshot;
    snapshot.share = share;
    snapshot.token = text_in(object, "token");
    snapshot.label = text_in(object, "label");
    snapshot.created = text_in(object, "created");
    snapshot.held = !object.value("holds", json::array()).empty();
    return snapshot;
}

}  // namespace

// --- shares and snapshots -----------------------------------------------------------------------

Result<ScriptShare> ShareScriptHost::find_share(const std::string& path) {
    UMBRA_ASSIGN(const SharePath found, find_mounted(path, LastComponent::kFollow));
    return share_of(*found.mounted);
}

Result<ScriptShare> ShareScriptHost::find_volume(const std::string& uuid) {
    UMBRA_ASSIGN(const std::vector<MountedShare> mounted, Registry().mounted());
    for (const auto& one : mounted) {
        if (one.uuid == uuid) return find_share(one.mountpoint);
    }
    return error_of(ErrorKind::kNotFound, ENODEV,
                    "no share that is mounted is this volume: 'umbra mount' it first");
}

Result<std::vector<ScriptShare>> ShareScriptHost::shares() {
    UMBRA_ASSIGN(const std::vector<MountedShare> mounted, Registry().mounted());
    std::vector<ScriptShare> shares;
    for (const auto& one : mounted) shares.push_back(share_of(one));
    return shares;
}

Result<ScriptSnapshot> ShareScriptHost::find_snapshot(const std::string& path) {
    UMBRA_ASSIGN(const SharePath found, find_mounted(path, LastComponent::kKeep));
    const ScriptShare share = share_of(*found.mounted);
    if (found.token.empty() || !found.relative.empty())
        return error_of(ErrorKind::kNotFound, ENOENT,
                        fmt::format("'{}' is no snapshot: name it as TOKEN, as %ALIAS%, or as "
                                    "'{}/.snapshots/TOKEN'",
                                    path, share.root));
    UMBRA_ASSIGN(std::vector<ScriptSnapshot> all, snapshots(share));
    for (auto& one : all) {
        if (one.token == found.token) return std::move(one);
    }
    return error_of(ErrorKind::kNotFound, ENOENT,
                    fmt::format("the share '{}' has no snapshot '{}'", share.root, found.token));
}

Result<std::vector<ScriptSnapshot>> ShareScriptHost::snapshots(const ScriptShare& share) {
    UMBRA_ASSIGN(const json list, ask(share, control_method::kSnapshotList));
    std::vector<ScriptSnapshot> all;
    for (const auto& one : list) all.push_back(snapshot_of(share, one));
    return all;
}

Result<std::vector<ScriptSnapshot>> ShareScriptHost::create(const std::vector<ScriptShare>& shares,
                                                            const ScriptWriters& writers) {
    UMBRA_ASSIGN(const std::vector<json> set, create_set(shares, writers));
    std::vector<ScriptSnapshot> made;
    for (std::size_t i = 0; i < set.size(); ++i) {
        made.push_back(snapshot_of(shares[i], set[i]));
        for (const auto& writer : set[i].value("writers", json::array()))
            made.back().writers.push_back(text_in(writer, "name"));
    }
    return made;
}

Result<void> ShareScriptHost::remove(const ScriptSnapshot& snapshot) {
    UMBRA_ASSIGN(const json done, ask(snapshot.share, control_method::kSnapshotDelete,
                                      {{"names", json::array({snapshot.token})}}));
    for (const auto& failure : done.value("failed", json::array()))
        return error_of(error_kind_of(text_in(failure, "kind")), failure.value("errno", EIO),
                        fmt::format("{} of '{}' was not deleted: {}", snapshot.token,
                                    snapshot.share.root, text_in(failure, "message")));
    return {};
}

Result<std::vector<ScriptWriter>> ShareScriptHost::writers(const ScriptShare& share) {
    UMBRA_ASSIGN(const json list, ask(share, control_method::kWriters));
    std::vector<ScriptWriter> writers;
    for (const auto& one : list)
        writers.push_back(
            {share, text_in(one, "name"), text_in(one, "state"), text_in(one, "last_error")});
    return writers;
}

// --- exposing -----------------------------------------------------------------------------------

Result<std::vector<ScriptExposure>> ShareScriptHost::exposures() {
    UMBRA_ASSIGN(const std::vector<ScriptShare> all, shares());
    std::vector<ScriptExposure> exposures;
    for (const auto& share : all) {
        UMBRA_ASSIGN(const std::vector<Exposure> found, find_exposures(share.root));
        for (const auto& one : found) {
            ScriptExposure exposure;
            exposure.snapshot.share = share;
            exposure.snapshot.token = one.token;
            exposure.mountpoint = one.mountpoint;
            exposures.push_back(std::move(exposure));
        }
    }
    return exposures;
}

Result<void> ShareScriptHost::check_mountpoint(const std::string& path) {
    return check_exposure_place(path);
}

Result<void> ShareScriptHost::expose(const ScriptSnapshot& snapshot, const std::string& path) {
    return expose_snapshot(snapshot.share.root, snapshot.token, path);
}

Result<void> ShareScriptHost::unexpose(const std::string& mountpoint) {
    return unexpose_snapshot(mountpoint);
}

// --- the rest -----------------------------------------------------------------------------------

Result<void> ShareScriptHost::check_program(const std::string& file) {
    return umbra::check_program(file);
}

Result<void> ShareScriptHost::exec(const std::vector<std::string>& command,
                                   const std::vector<std::string>& environment) {
    return run_program(command, environment);
}

bool ShareScriptHost::interrupted() { return PatientSignals::asked_to_stop(); }

void ShareScriptHost::say(const std::string& text, json event) {
    if (as_lines_) {
        print_line(event.dump(-1, ' ', false, json::error_handler_t::replace));
        return;
    }
    // A line each; what they name may hold anything.
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) print_line(printable(line));
}

void ShareScriptHost::note(const std::string& text) { print_note(text); }

}  // namespace umbra
