// What a script's lines do with restores: one by one, or between writers' pre- and post-restore.
#include <fmt/format.h>

#include "restore/script_runner.h"

namespace umbra {

using nlohmann::json;

Result<void> ScriptRunner::execute_restores(const ScriptStatement& statement, const Script& script,
                                            std::size_t i) {
    switch (statement.verb()) {
        case ScriptVerb::kBeginRestore:
            return begin_restore(script, i);
        case ScriptVerb::kSimulateRestore:
            return simulate_restore(script, i);
        case ScriptVerb::kEndRestore:
            return end_restore();
        case ScriptVerb::kRevert: {
            UMBRA_ASSIGN(const ScriptRestore revert, revert_of(statement));
            return run_restore(revert);
        }
        default: {
            UMBRA_ASSIGN(const ScriptRestore restore, restore_of(statement));
            return run_restore(restore);
        }
    }
}

Result<ScriptRestore> ScriptRunner::restore_of(const ScriptStatement& statement) {
    ScriptRestore restore;
    UMBRA_ASSIGN(restore.snapshot, snapshot_of(*statement.option("from")));
    for (const auto& word : statement.operands) {
        UMBRA_ASSIGN(std::string path, text_of(word));
        restore.paths.push_back(std::move(path));
    }
    restore.component.name = "restore";
    if (const ScriptWord* name = statement.option("component")) {
        UMBRA_ASSIGN(restore.component.name, text_of(*name));
    }
    if (const ScriptWord* name = statement.option("method")) {
        UMBRA_ASSIGN(const std::string text, text_of(*name));
        const auto method = restore_method_of(text);
        if (!method)
            return error_of(ErrorKind::kUsage, EINVAL,
                            fmt::format("there is no method '{}'; there are: merge, replace, "
                                        "if-missing, if-can-replace, mirror",
                                        text));
        restore.component.method = *method;
    }
    if (const ScriptWord* to = statement.option("to")) {
        UMBRA_ASSIGN(restore.to, text_of(*to));
    }
    UMBRA_ASSIGN(restore.component.include, texts_of(statement, "include"));
    UMBRA_ASSIGN(restore.component.exclude, texts_of(statement, "exclude"));
    restore.component.in_place = statement.has("in-place");
    restore.component.replace_open = statement.has("replace-open");
    return restore;
}

Result<ScriptRestore> ScriptRunner::revert_of(const ScriptStatement& statement) {
    ScriptRestore revert;
    revert.kind = JobKind::kRevert;
    UMBRA_ASSIGN(revert.snapshot, snapshot_of(statement.operands[0]));
    revert.paths = {revert.snapshot.share.root};
    revert.component.name = "share";
    revert.component.method = RestoreMethod::kMirror;
    return revert;
}

// What will be restored until the session's end, for its writers to be told beforehand: what the
// lines say; where programs do it, everything that is in the loaded metadata.
Result<std::vector<ScriptRestore>> ScriptRunner::announced(const Script& script, std::size_t i) {
    std::vector<ScriptRestore> restores;
    for (++i; i < script.statements.size(); ++i) {
        const ScriptStatement& statement = script.statements[i];
        const ScriptVerb verb = statement.verb();
        if (verb == ScriptVerb::kEndRestore || verb == ScriptVerb::kBeginRestore ||
            verb == ScriptVerb::kReset || verb == ScriptVerb::kExit)
            break;
        if (verb != ScriptVerb::kRestore && verb != ScriptVerb::kRevert) continue;
        auto one = verb == ScriptVerb::kRestore ? restore_of(statement) : revert_of(statement);
        if (one) one = host_.check(*one).map([&] { return std::move(*one); });
        if (!one)
            return error_of(one.error().kind, one.error().code,
                            fmt::format("nothing was touched, for line {} cannot be done: {}",
                                        statement.line, one.error().text()));
        restores.push_back(std::move(*one));
    }
    if (!restores.empty()) return restores;
    for (const auto& one : created_) {
        ScriptRestore whole;
        whole.snapshot = one.snapshot;
        whole.paths = {one.snapshot.share.root};
        whole.component.name = one.alias;
        if (loaded_) restores.push_back(std::move(whole));
    }
    if (!restores.empty()) return restores;
    return error_of(ErrorKind::kUsage, EINVAL,
                    "no 'restore' follows, and no metadata is loaded that says which writers are "
                    "concerned: 'load metadata FILE' first");
}

Result<void> ScriptRunner::begin_restore(const Script& script, std::size_t i) {
    if (restore_ == Session::kBegun)
        return error_of(ErrorKind::kUsage, EALREADY, "a restore has begun already: 'end restore'");
    UMBRA_ASSIGN(const std::vector<ScriptRestore> restores, announced(script, i));
    if (!checking_) UMBRA_TRY(host_.begin_restores(restores, writers_));
    restore_ = Session::kBegun;
    return {};
}

Result<void> ScriptRunner::simulate_restore(const Script& script, std::size_t i) {
    if (restore_ == Session::kBegun)
        return error_of(ErrorKind::kUsage, EALREADY, "a restore has begun already: 'end restore'");
    UMBRA_ASSIGN(const std::vector<ScriptRestore> restores, announced(script, i));
    restore_ = Session::kSimulated;
    if (checking_) return {};
    UMBRA_ASSIGN(const std::vector<std::string> names, host_.involved(restores, writers_));
    std::string text;
    for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
    host_.say("writers that would be asked: " + (text.empty() ? "none" : text),
              {{"event", "involved"}, {"writers", names}});
    return {};
}

Result<void> ScriptRunner::end_restore() {
    if (restore_ == Session::kNone)
        return error_of(ErrorKind::kUsage, EINVAL, "no restore has begun: 'begin restore' first");
    const bool begun = restore_ == Session::kBegun;
    restore_ = Session::kNone;
    if (!begun || checking_) return {};
    return host_.end_restores();
}

Result<void> ScriptRunner::run_restore(const ScriptRestore& restore) {
    if (checking_) return host_.check(restore);
    const bool simulated = restore_ == Session::kSimulated;
    UMBRA_ASSIGN(const ScriptRestored done,
                 simulated ? host_.simulate(restore) : host_.restore(restore, writers_));
    const std::string& name = restore.component.name;
    if (!simulated)
        host_.say(fmt::format("job {}: component {}: {}", done.job, name,
                              restore_status_name(done.status.status)),
                  {{"event", "restored"},
                   {"job", done.job},
                   {"component", name},
                   {"status", restore_status_name(done.status.status)},
                   {"status_number", static_cast<int>(done.status.status)},
                   {"errno", done.status.error}});
    if (done.complete) return {};
    incomplete_ = true;
    if (simulated)
        return error_of(ErrorKind::kSystem, EIO,
                        fmt::format("component '{}' would not be restored completely: {}", name,
                                    done.status.sentence.empty() ? "the paths are named above"
                                                                 : done.status.sentence));
    const std::string why = !done.status.sentence.empty() ? ": " + done.status.sentence
                            : done.interrupted            ? ": stopped by a signal"
                                                          : "";
    return error_of(
        ErrorKind::kSystem, done.status.error == 0 ? EIO : done.status.error,
        fmt::format("component '{}' is {} ({}){}; 'umbra restore resume {}' goes on, 'umbra "
                    "restore undo {}' puts back what was there",
                    name, restore_status_name(done.status.status),
                    static_cast<int>(done.status.status), why, done.job, done.job));
}

}  // namespace umbra
