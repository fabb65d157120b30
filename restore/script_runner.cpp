#include "restore/script_runner.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "restore/script_shown.h"

namespace umbra {

void ScriptRunner::set_alias(const std::string& name, const std::string& value) {
    given_.set({name, value, "", false, false});
    aliases_ = given_;
}

std::vector<ScriptFailure> ScriptRunner::run(const Script& script) {
    std::vector<ScriptFailure> failures;
    for (std::size_t i = 0; i < script.statements.size() && !left_; ++i) {
        const ScriptStatement& statement = script.statements[i];
        const std::string verb(statement.shape->words);
        Result<void> done;
        if (!checking_ && host_.interrupted()) {
            done = error_of(ErrorKind::kSystem, EINTR,
                            "stopped by a signal before this line: run the script again, or the "
                            "rest of it");
        } else {
            if (verbose_ && !checking_)
                host_.note(fmt::format("line {}: {}", statement.line, verb));
            done = execute(statement, script, i);
        }
        if (done) continue;
        failures.push_back({statement.line, verb, done.error(), incomplete_});
        incomplete_ = false;
        if (!checking_) break;
    }
    finish(failures);
    return failures;
}

void ScriptRunner::finish(std::vector<ScriptFailure>& failures) {
    if (checking_) return;
    if (backup_)
        host_.note(
            "the backup was begun and not ended: its metadata does not say that it is "
            "complete");
    if (restore_ == Session::kBegun && failures.empty())
        host_.note("the restore was begun and not ended: it is ended now");
    const std::size_t line = failures.empty() ? 0 : failures.back().line;
    if (auto ended = end_all(); !ended)
        failures.push_back({line, "at the end of the script", ended.error(), false});
    for (const auto& one : created_) {
        if (failures.empty()) return;
        const auto exposures = host_.exposures();
        for (std::size_t i = 0; exposures && i < exposures->size(); ++i) {
            const ScriptExposure& exposure = (*exposures)[i];
            if (same_snapshot(exposure.snapshot, one.snapshot))
                host_.note(fmt::format("{} stays exposed at '{}': unmount it, or 'unexpose' it",
                                       one.snapshot.token, exposure.mountpoint));
        }
    }
}

// Everything is tried; the first error counts.
Result<void> ScriptRunner::end_all() {
    Result<void> result;
    if (restore_ == Session::kBegun) result = host_.end_restores();
    restore_ = Session::kNone;
    backup_ = false;
    auto dropped = drop_volatile();
    return result ? dropped : result;
}

Result<void> ScriptRunner::drop_volatile() {
    Result<void> result;
    for (const auto& one : created_) {
        if (!one.goes) continue;
        auto gone = unexpose_all_of(one.snapshot);
        if (gone) gone = host_.remove(one.snapshot);
        if (!gone && gone.error().kind != ErrorKind::kNotFound && result) result = gone;
    }
    std::erase_if(created_, [](const Created& one) { return one.goes; });
    return result;
}

Result<void> ScriptRunner::unexpose_all_of(const ScriptSnapshot& snapshot) {
    UMBRA_ASSIGN(const std::vector<ScriptExposure> exposures, host_.exposures());
    for (const auto& exposure : exposures) {
        if (same_snapshot(exposure.snapshot, snapshot))
            UMBRA_TRY(host_.unexpose(exposure.mountpoint));
    }
    return {};
}

Result<void> ScriptRunner::execute(const ScriptStatement& statement, const Script& script,
                                   std::size_t i) {
    switch (statement.verb()) {
        case ScriptVerb::kSetClientAccessible:
            return set_context(statement, Context::kClientAccessible);
        case ScriptVerb::kSetPersistent:
            return set_context(statement, Context::kPersistent);
        case ScriptVerb::kSetVolatile:
            return set_context(statement, Context::kVolatile);
        case ScriptVerb::kSetMetadata:
            return set_metadata(statement);
        case ScriptVerb::kSetVerboseOn:
        case ScriptVerb::kSetVerboseOff:
            verbose_ = statement.verb() == ScriptVerb::kSetVerboseOn;
            return {};
        case ScriptVerb::kSetOption:  // what it asks for is so anyway
            return {};
        case ScriptVerb::kAddAlias:
            return add_alias(statement);
        case ScriptVerb::kExec:
            return exec(statement);
        case ScriptVerb::kExit:
            left_ = true;
            return {};
        case ScriptVerb::kReset:
            return reset();
        case ScriptVerb::kBeginRestore:
        case ScriptVerb::kSimulateRestore:
        case ScriptVerb::kEndRestore:
        case ScriptVerb::kRestore:
        case ScriptVerb::kRevert:
            return execute_restores(statement, script, i);
        default:
            return execute_snapshots(statement);
    }
}

Result<void> ScriptRunner::reset() {
    const auto ended = checking_ ? Result<void>() : end_all();
    restore_ = Session::kNone;
    backup_ = loaded_ = verbose_ = false;
    volumes_.clear();
    known_.clear();
    created_.clear();
    verify_.clear();
    writers_ = {};
    metadata_ = {};
    metadata_file_.clear();
    context_ = Context::kClientAccessible;
    aliases_ = given_;
    return ended;
}

Result<void> ScriptRunner::set_context(const ScriptStatement& statement, Context context) {
    if (backup_)
        return error_of(ErrorKind::kUsage, EINVAL,
                        "a backup has begun: set the context before 'begin backup'");
    context_ = context;
    writers_.none = statement.has("nowriters");
    return {};
}

Result<void> ScriptRunner::set_metadata(const ScriptStatement& statement) {
    UMBRA_ASSIGN(const std::string path, text_of(statement.operands[0]));
    const std::size_t slash = path.rfind('/');
    const std::string name = path.substr(slash + 1);
    const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    if (name.empty() || name == "." || name == "..")
        return error_of(ErrorKind::kUsage, EINVAL, fmt::format("'{}' names no file", path));
    if (::access(folder.c_str(), W_OK | X_OK) != 0)
        return errno_error(errno, fmt::format("no metadata can be written to '{}'", path));
    metadata_file_ = path;
    return {};
}

Result<void> ScriptRunner::add_alias(const ScriptStatement& statement) {
    UMBRA_ASSIGN(const ScriptValue value, aliases_.expand(statement.operands[1]));
    aliases_.set(
        {statement.operands[0].shown(), value.text, value.share_root, false, value.future});
    return {};
}

Result<void> ScriptRunner::exec(const ScriptStatement& statement) {
    std::vector<std::string> command;
    for (const auto& word : statement.operands) {
        UMBRA_ASSIGN(std::string text, text_of(word));
        command.push_back(std::move(text));
    }
    UMBRA_TRY(host_.check_program(command[0]));
    if (checking_) return {};
    return host_.exec(command, aliases_.environment());
}

// --- what words name ----------------------------------------------------------------------------

Result<std::string> ScriptRunner::text_of(const ScriptWord& word) const {
    UMBRA_ASSIGN(ScriptValue value, aliases_.expand(word));
    return std::move(value.text);
}

Result<std::vector<std::string>> ScriptRunner::texts_of(const ScriptStatement& statement,
                                                        std::string_view option) const {
    std::vector<std::string> texts;
    for (const auto& one : statement.options) {
        if (one.keyword != option) continue;
        UMBRA_ASSIGN(std::string text, text_of(one.value));
        texts.push_back(std::move(text));
    }
    return texts;
}

Result<ScriptShare> ScriptRunner::share_of(const ScriptWord& word) {
    UMBRA_ASSIGN(const std::string path, text_of(word));
    UMBRA_ASSIGN(ScriptShare share, host_.find_share(path));
    know(share);
    return share;
}

void ScriptRunner::know(const ScriptShare& share) {
    const bool known = std::any_of(known_.begin(), known_.end(),
                                   [&](const auto& one) { return one.uuid == share.uuid; });
    if (!known) known_.push_back(share);
}

Result<std::vector<ScriptShare>> ScriptRunner::known_or_all() {
    if (!known_.empty()) return known_;
    return host_.shares();
}

Result<ScriptSnapshot> ScriptRunner::listed(const ScriptShare& share, const std::string& name) {
    UMBRA_ASSIGN(std::vector<ScriptSnapshot> all, host_.snapshots(share));
    for (auto& one : all) {
        if (one.token == name || (!name.empty() && one.label == name)) return std::move(one);
    }
    return error_of(ErrorKind::kNotFound, ENOENT,
                    fmt::format("the share '{}' has no snapshot '{}': 'list shadows' shows those "
                                "it has",
                                share.root, name));
}

Result<ScriptSnapshot> ScriptRunner::snapshot_of(const ScriptWord& word) {
    UMBRA_ASSIGN(const ScriptValue value, aliases_.expand(word));
    if (!value.share_root.empty()) {
        UMBRA_ASSIGN(const ScriptShare share, host_.find_share(value.share_root));
        if (!value.future) return listed(share, value.text);
        ScriptSnapshot future;
        future.share = share;
        future.token = value.text;
        future.future = true;
        return future;
    }
    if (value.text.find('/') != std::string::npos) return host_.find_snapshot(value.text);
    UMBRA_ASSIGN(const std::vector<ScriptShare> shares, known_or_all());
    std::vector<ScriptSnapshot> found;
    for (const auto& share : shares) {
        auto one = listed(share, value.text);
        if (one) found.push_back(std::move(*one));
        if (!one && one.error().kind != ErrorKind::kNotFound) return forward_error(one);
    }
    if (found.size() == 1) return std::move(found.front());
    if (found.empty())
        return error_of(ErrorKind::kNotFound, ENOENT,
                        fmt::format("there is no snapshot '{}' in the shares that the script "
                                    "names, or else in those that are mounted: 'list shadows' "
                                    "shows those there are",
                                    value.text));
    return error_of(ErrorKind::kUsage, EINVAL,
                    fmt::format("'{0}' is a snapshot of '{1}' and of '{2}': say which, as "
                                "'{1}/.snapshots/{0}'",
                                value.text, found[0].share.root, found[1].share.root));
}

Result<std::vector<ScriptSnapshot>> ScriptRunner::set_of(const ScriptWord& word) {
    UMBRA_ASSIGN(const ScriptValue value, aliases_.expand(word));
    std::vector<ScriptSnapshot> set;
    for (const auto& one : created_) {
        if (one.set == value.text) set.push_back(one.snapshot);
    }
    if (!set.empty()) return set;
    return error_of(ErrorKind::kNotFound, ENOENT,
                    fmt::format("this script has neither created nor loaded a set '{}': 'load "
                                "metadata' knows the set of another script",
                                value.text));
}

}  // namespace umbra
