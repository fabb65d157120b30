// What a script's lines do with snapshots: make them, and know them again.
#include <fmt/format.h>

#include <algorithm>

#include "restore/script_runner.h"
#include "restore/script_shown.h"
#include "snapstore/volume_config.h"

namespace umbra {

namespace {

using nlohmann::json;

constexpr const char* kSetAlias = "VSS_SHADOW_SET";

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
        json event = shown_snapshot(one);
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

}  // namespace umbra
