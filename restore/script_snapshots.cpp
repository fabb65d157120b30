// What a script's lines do with snapshots: make, list, expose and delete them.
#include <fmt/format.h>

#include <algorithm>

#include "restore/script_runner.h"
#include "snapstore/volume_config.h"

namespace umbra {

namespace {

using nlohmann::json;

constexpr const char* kSetAlias = "VSS_SHADOW_SET";

json to_json(const ScriptSnapshot& snapshot) {
    return {{"token", snapshot.token},
            {"share", snapshot.share.root},
            {"created", snapshot.created},
            {"label", snapshot.label.empty() ? json(nullptr) : json(snapshot.label)}};
}

bool same_snapshot(const ScriptSnapshot& a, const ScriptSnapshot& b) {
    return a.token == b.token && a.share.uuid == b.share.uuid;
}

void add_line(std::string& text, const std::string& line) {
    text += (text.empty() ? "" : "\n") + line;
}

}  // namespace

Result<void> ScriptRunner::execute_snapshots(const ScriptStatement& statement) {
    const auto& operands = statement.operands;
    const auto exclude = [&](std::vector<std::string>& names) -> Result<void> {
        UMBRA_ASSIGN(std::string name, text_of(operands[0]));
        names.push_back(std::move(name));
        return {};
    };
    switch (statement.verb()) {
        case ScriptVerb::kShowAdded:
            return show_added();
        case ScriptVerb::kAddVolume:
            return add_volume(statement);
        case ScriptVerb::kCreate:
            return create();
        case ScriptVerb::kBeginBackup:
            return begin_backup();
        case ScriptVerb::kEndBackup:
            return end_backup();
        case ScriptVerb::kWriterVerify:
            return exclude(verify_);
        case ScriptVerb::kWriterExclude:
            return exclude(writers_.exclude);
        case ScriptVerb::kLoadMetadata:
            return load_metadata(statement);
        case ScriptVerb::kExpose:
            return expose(statement);
        case ScriptVerb::kUnexpose:
            return unexpose(statement);
        case ScriptVerb::kListShadows:
            return show_every_snapshot();
        case ScriptVerb::kListSet: {
            UMBRA_ASSIGN(const std::vector<ScriptSnapshot> set, set_of(operands[0]));
            return show_snapshots(set);
        }
        case ScriptVerb::kListId: {
            UMBRA_ASSIGN(ScriptSnapshot snapshot, snapshot_of(operands[0]));
            return show_snapshots({std::move(snapshot)});
        }
        case ScriptVerb::kListWriters:
            return show_writers();
        case ScriptVerb::kListProviders:
            show_providers();
            return {};
        case ScriptVerb::kDeleteAll:
            if (known_.empty())
                return error_of(ErrorKind::kUsage, EINVAL,
                                "the script names no share whose snapshots these would be: 'add "
                                "volume' first, or 'delete shadows volume SHARE'");
            return remove_every(known_);
        case ScriptVerb::kDeleteVolume: {
            UMBRA_ASSIGN(ScriptShare share, share_of(operands[0]));
            return remove_every({std::move(share)});
        }
        case ScriptVerb::kDeleteOldest:
            return remove_oldest(statement);
        case ScriptVerb::kDeleteSet: {
            UMBRA_ASSIGN(const std::vector<ScriptSnapshot> set, set_of(operands[0]));
            return remove_all(set);
        }
        case ScriptVerb::kDeleteId: {
            UMBRA_ASSIGN(ScriptSnapshot snapshot, snapshot_of(operands[0]));
            return remove_all({std::move(snapshot)});
        }
        case ScriptVerb::kDeleteExposed:
            return remove_exposed(statement);
        default:
            return error_of(ErrorKind::kSystem, ENOSYS, "the verb is not known here");
    }
}

// --- making -------------------------------------------------------------------------------------

Result<void> ScriptRunner::show_added() {
    std::string text;
    json volumes = json::array(), aliases = json::array();
    for (const auto& volume : volumes_) {
        add_line(text, fmt::format("volume {}{}", volume.share.root,
                                   volume.alias.empty() ? "" : " alias " + volume.alias));
        volumes.push_back({{"share", volume.share.root},
                           {"alias", volume.alias.empty() ? json(nullptr) : json(volume.alias)}});
    }
    for (const auto& alias : aliases_.all()) {
        add_line(text, fmt::format("alias %{}% = {}", alias.name, alias.value));
        aliases.push_back({{"alias", alias.name}, {"value", alias.value}});
    }
    if (!checking_)
        host_.say(text, {{"event", "added"}, {"volumes", volumes}, {"aliases", aliases}});
    return {};
}

Result<void> ScriptRunner::add_volume(const ScriptStatement& statement) {
    UMBRA_ASSIGN(ScriptShare share, share_of(statement.operands[0]));
    for (const auto& volume : volumes_) {
        if (volume.share.uuid == share.uuid)
            return error_of(ErrorKind::kUsage, EEXIST,
                            fmt::format("the share '{}' has been added already", share.root));
    }
    const ScriptWord* alias = statement.option("alias");
    volumes_.push_back({std::move(share), alias == nullptr ? "" : alias->shown()});
    return {};
}

Result<void> ScriptRunner::verify_writers() {
    for (const auto& name : verify_) {
        bool found = false;
        for (const auto& volume : volumes_) {
            UMBRA_ASSIGN(const std::vector<ScriptWriter> writers, host_.writers(volume.share));
            found = found || std::any_of(writers.begin(), writers.end(), [&](const auto& writer) {
                        return equal_but_case(writer.name, name);
                    });
        }
        const bool excluded =
            writers_.none ||
            std::any_of(writers_.exclude.begin(), writers_.exclude.end(),
                        [&](const auto& one) { return equal_but_case(one, name); });
        if (found && !excluded) continue;
        return error_of(ErrorKind::kRefused, found ? ECANCELED : ENOENT,
                        found ? fmt::format("the writer '{}' must take part ('writer verify'), and "
                                            "is excluded: nothing was created",
                                            name)
                              : fmt::format("the writer '{}' must take part ('writer verify'), and "
                                            "none of the shares has it: 'umbra writers add' adds "
                                            "it; nothing was created",
                                            name));
    }
    return {};
}

Result<void> ScriptRunner::create() {
    if (volumes_.empty())
        return error_of(ErrorKind::kUsage, EINVAL, "no share is added: 'add volume SHARE' first");
    if (backup_ && backup_has_set_)
        return error_of(ErrorKind::kUsage, EINVAL,
                        "this backup has its snapshots: 'end backup' before the next");
    UMBRA_TRY(verify_writers());
    std::vector<ScriptSnapshot> made;
    if (checking_) {
        for (const auto& volume : volumes_) {
            ScriptSnapshot future;
            future.share = volume.share;
            future.token = fmt::format("(snapshot of {})", volume.share.root);
            future.future = true;
            made.push_back(std::move(future));
        }
    } else {
        std::vector<ScriptShare> shares;
        for (const auto& volume : volumes_) shares.push_back(volume.share);
        UMBRA_ASSIGN(made, host_.create(shares, writers_));
    }
    return name_created(made);
}

Result<void> ScriptRunner::name_created(const std::vector<ScriptSnapshot>& made) {
    metadata_ = {};
    foreseen_[metadata_file_].clear();
    metadata_.set = new_uuid();
    metadata_.context = context_ == Context::kVolatile     ? "volatile"
                        : context_ == Context::kPersistent ? "persistent"
                                                           : "clientaccessible";
    metadata_.backup = backup_ ? "begun" : "copy";
    for (std::size_t i = 0; i < made.size() && i < volumes_.size(); ++i) {
        const ScriptSnapshot& one = made[i];
        const std::string alias =
            volumes_[i].alias.empty() ? fmt::format("VSS_SHADOW_{}", i + 1) : volumes_[i].alias;
        aliases_.set({alias, one.token, one.share.root, false, one.future});
        created_.push_back({one, alias, metadata_.set, context_ == Context::kVolatile});
        metadata_.snapshots.push_back(
            {alias, one.token, one.share.uuid, one.share.root, one.created, one.writers});
        if (checking_) {
            foreseen_[metadata_file_].push_back(created_.back());
            continue;
        }
        json event = to_json(one);
        event["event"] = "created";
        event["alias"] = alias;
        event["set"] = metadata_.set;
        host_.say(fmt::format("%{}% = {} of {}", alias, one.token, one.share.root),
                  std::move(event));
    }
    aliases_.set({kSetAlias, metadata_.set, "", false, checking_});
    volumes_.clear();
    backup_has_set_ = backup_;
    return save_metadata();
}

Result<void> ScriptRunner::save_metadata() {
    if (checking_ || metadata_file_.empty() || metadata_.set.empty()) return {};
    return write_script_metadata(metadata_file_, metadata_);
}

Result<void> ScriptRunner::begin_backup() {
    if (backup_)
        return error_of(ErrorKind::kUsage, EALREADY, "a backup has begun already: 'end backup'");
    UMBRA_TRY(verify_writers());
    backup_ = true;
    backup_has_set_ = false;
    return {};
}

Result<void> ScriptRunner::end_backup() {
    if (!backup_ || !backup_has_set_)
        return error_of(ErrorKind::kUsage, EINVAL,
                        backup_ ? "nothing was created since 'begin backup'"
                                : "no backup has begun: 'begin backup' first");
    backup_ = false;
    metadata_.backup = "complete";
    return save_metadata();
}

Result<void> ScriptRunner::load_metadata(const ScriptStatement& statement) {
    UMBRA_ASSIGN(const std::string path, text_of(statement.operands[0]));
    // A file that this script would have written by now.
    if (const auto foreseen = foreseen_.find(path); checking_ && foreseen != foreseen_.end()) {
        take_loaded(foreseen->second, foreseen->second.front().set);
        return {};
    }
    UMBRA_ASSIGN(const ScriptMetadata metadata, read_script_metadata(path));
    std::vector<Created> loaded;
    for (const auto& one : metadata.snapshots) {
        ScriptSnapshot snapshot;
        auto share = host_.find_volume(one.uuid);
        if (!share)
            return error_of(share.error().kind, share.error().code,
                            fmt::format("'{}' is of the volume {}, seen at '{}' then: {}", path,
                                        one.uuid, one.share, share.error().text()));
        snapshot.share = std::move(*share);
        snapshot.token = one.token;
        snapshot.created = one.created;
        snapshot.writers = one.writers;
        loaded.push_back({std::move(snapshot), one.alias, metadata.set, false});
    }
    take_loaded(std::move(loaded), metadata.set);
    return {};
}

void ScriptRunner::take_loaded(std::vector<Created> loaded, const std::string& set) {
    for (auto& one : loaded) {
        const ScriptSnapshot& snapshot = one.snapshot;
        know(snapshot.share);
        aliases_.set({one.alias, snapshot.token, snapshot.share.root, true, snapshot.future});
        one.goes = false;
        const bool known = std::any_of(created_.begin(), created_.end(), [&](const Created& other) {
            return same_snapshot(other.snapshot, snapshot) && other.set == one.set;
        });
        if (!known) created_.push_back(std::move(one));
    }
    aliases_.set({kSetAlias, set, "", true, checking_});
    loaded_ = true;
}

// --- exposing -----------------------------------------------------------------------------------

Result<void> ScriptRunner::expose(const ScriptStatement& statement) {
    UMBRA_ASSIGN(const ScriptSnapshot snapshot, snapshot_of(statement.operands[0]));
    UMBRA_ASSIGN(const std::string place, text_of(statement.operands[1]));
    if (checking_) return host_.check_mountpoint(place);
    UMBRA_TRY(host_.expose(snapshot, place));
    json event = to_json(snapshot);
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
        json shown = to_json(one);
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
