// What a script's lines do with snapshots that there are: expose, delete and list them.
#include <fmt/format.h>

#include <algorithm>

#include "restore/script_runner.h"
#include "restore/script_shown.h"

namespace umbra {

using nlohmann::json;

// --- exposing -----------------------------------------------------------------------------------

Result<void> ScriptRunner::expose(const ScriptStatement& statement) {
    UMBRA_ASSIGN(const ScriptSnapshot snapshot, snapshot_of(statement.operands[0]));
    UMBRA_ASSIGN(const std::string place, text_of(statement.operands[1]));
    if (checking_) return host_.check_mountpoint(place);
    UMBRA_TRY(host_.expose(snapshot, place));
    json event = shown_snapshot(snapshot);
    event["event"] = "exposed";
    event["mountpoint"] = place;
    host_.say(fmt::format("{} of {} is exposed at {}", snapshot.token, snapshot.share.root, place),
              std::move(event));
    return {};
}

Result<ScriptExposure> ScriptRunner::exposure_at(const std::string& path) {
    UMBRA_ASSIGN(std::vector<ScriptExposure> exposures, host_.exposures());
    for (auto one = exposures.rbegin(); one != exposures.rend(); ++one) {
        if (one->mountpoint == path) return std::move(*one);
    }
    return error_of(ErrorKind::kNotFound, ENOENT,
                    fmt::format("no snapshot is exposed at '{}': 'list shadows' shows where they "
                                "are",
                                path));
}

Result<void> ScriptRunner::unexpose(const ScriptStatement& statement) {
    UMBRA_ASSIGN(const ScriptValue value, aliases_.expand(statement.operands[0]));
    const bool place = value.share_root.empty() && value.text.starts_with('/');
    if (place) {
        // What the script is to expose is not there yet.
        if (checking_) return {};
        UMBRA_ASSIGN(const ScriptExposure exposure, exposure_at(value.text));
        return host_.unexpose(exposure.mountpoint);
    }
    UMBRA_ASSIGN(const ScriptSnapshot snapshot, snapshot_of(statement.operands[0]));
    if (checking_) return {};
    UMBRA_ASSIGN(const std::vector<ScriptExposure> exposures, host_.exposures());
    const bool exposed = std::any_of(exposures.begin(), exposures.end(), [&](const auto& one) {
        return same_snapshot(one.snapshot, snapshot);
    });
    if (!exposed)
        return error_of(
            ErrorKind::kNotFound, ENOENT,
            fmt::format("{} is not exposed: 'list shadows' shows those that are", snapshot.token));
    return unexpose_all_of(snapshot);
}

// --- deleting -----------------------------------------------------------------------------------

// What is exposed is in use: then none of them goes.
Result<void> ScriptRunner::remove_all(const std::vector<ScriptSnapshot>& snapshots) {
    if (checking_) return {};
    UMBRA_ASSIGN(const std::vector<ScriptExposure> exposures, host_.exposures());
    for (const auto& exposure : exposures) {
        for (const auto& one : snapshots) {
            if (same_snapshot(exposure.snapshot, one))
                return error_of(ErrorKind::kRefused, EBUSY,
                                fmt::format("{} is exposed at '{}': 'unexpose' it first; nothing "
                                            "was deleted",
                                            one.token, exposure.mountpoint));
        }
    }
    for (const auto& one : snapshots) {
        UMBRA_TRY(host_.remove(one));
        std::erase_if(created_,
                      [&](const Created& created) { return same_snapshot(created.snapshot, one); });
    }
    return {};
}

Result<void> ScriptRunner::remove_every(const std::vector<ScriptShare>& shares) {
    std::vector<ScriptSnapshot> all;
    std::size_t held = 0;
    for (const auto& share : shares) {
        UMBRA_ASSIGN(std::vector<ScriptSnapshot> some, host_.snapshots(share));
        for (auto& one : some) {
            if (one.held) ++held;
            if (!one.held) all.push_back(std::move(one));
        }
    }
    if (held > 0 && !checking_) host_.note(fmt::format("{} held snapshots stay", held));
    return remove_all(all);
}

Result<void> ScriptRunner::remove_oldest(const ScriptStatement& statement) {
    UMBRA_ASSIGN(const ScriptShare share, share_of(statement.operands[0]));
    UMBRA_ASSIGN(std::vector<ScriptSnapshot> all, host_.snapshots(share));
    if (!all.empty()) return remove_all({std::move(all.front())});
    if (checking_) return {};
    return error_of(ErrorKind::kNotFound, ENOENT,
                    fmt::format("the share '{}' has no snapshot", share.root));
}

Result<void> ScriptRunner::remove_exposed(const ScriptStatement& statement) {
    UMBRA_ASSIGN(const std::string place, text_of(statement.operands[0]));
    if (checking_) return {};
    UMBRA_ASSIGN(const ScriptExposure exposure, exposure_at(place));
    UMBRA_TRY(host_.unexpose(exposure.mountpoint));
    return remove_all({exposure.snapshot});
}

// --- listing ------------------------------------------------------------------------------------

Result<void> ScriptRunner::show_snapshots(const std::vector<ScriptSnapshot>& snapshots) {
    if (checking_) return {};
    UMBRA_ASSIGN(const std::vector<ScriptExposure> exposures, host_.exposures());
    std::string text;
    json list = json::array();
    for (const auto& one : snapshots) {
        std::string line = fmt::format("{} of {}", one.token, one.share.root);
        json shown = shown_snapshot(one);
        shown["exposed"] = json::array();
        if (!one.label.empty()) line += " label " + one.label;
        for (const auto& alias : aliases_.all()) {
            if (alias.share_root == one.share.root && alias.value == one.token)
                line += " alias %" + alias.name + "%";
        }
        for (const auto& exposure : exposures) {
            if (!same_snapshot(exposure.snapshot, one)) continue;
            line += " exposed at " + exposure.mountpoint;
            shown["exposed"].push_back(exposure.mountpoint);
        }
        if (one.held) line += " held";
        shown["held"] = one.held;
        add_line(text, line);
        list.push_back(std::move(shown));
    }
    host_.say(text, {{"event", "shadows"}, {"shadows", std::move(list)}});
    return {};
}

Result<void> ScriptRunner::show_every_snapshot() {
    UMBRA_ASSIGN(const std::vector<ScriptShare> shares, known_or_all());
    std::vector<ScriptSnapshot> all;
    for (const auto& share : shares) {
        UMBRA_ASSIGN(std::vector<ScriptSnapshot> some, host_.snapshots(share));
        for (auto& one : some) all.push_back(std::move(one));
    }
    return show_snapshots(all);
}

Result<void> ScriptRunner::show_writers() {
    UMBRA_ASSIGN(const std::vector<ScriptShare> shares, known_or_all());
    std::string text;
    json list = json::array();
    for (const auto& share : shares) {
        UMBRA_ASSIGN(const std::vector<ScriptWriter> writers, host_.writers(share));
        for (const auto& one : writers) {
            add_line(text, fmt::format("{} of {}: {}, {}", one.name, share.root, one.state,
                                       one.last_error));
            list.push_back({{"name", one.name},
                            {"share", share.root},
                            {"state", one.state},
                            {"last_error", one.last_error}});
        }
    }
    if (!checking_) host_.say(text, {{"event", "writers"}, {"writers", std::move(list)}});
    return {};
}

void ScriptRunner::show_providers() {
    if (checking_) return;
    host_.say(fmt::format("umbra {}: copy-on-write below a FUSE mount", UMBRA_VERSION),
              {{"event", "providers"},
               {"providers", json::array({{{"name", "umbra"}, {"version", UMBRA_VERSION}}})}});
}

}  // namespace umbra
