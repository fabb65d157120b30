// Restores of a script: jobs, as `umbra restore` makes them.
#include <fmt/format.h>

#include "cli/daemon_job_store.h"
#include "cli/output.h"
#include "cli/restore_report.h"
#include "cli/restore_run.h"
#include "cli/restore_source.h"
#include "cli/script_host.h"
#include "fuse/registry.h"

namespace umbra {

namespace {

Result<void> check_paths(const ScriptRestore& restore) {
    const Registry registry;
    for (const auto& path : restore.paths) {
        UMBRA_ASSIGN(const SharePath found,
                     resolve_share_path(registry, path, LastComponent::kKeep));
        if (!found.mounted || found.mounted->uuid != restore.snapshot.share.uuid)
            return error_of(ErrorKind::kUsage, EXDEV,
                            fmt::format("'{}' is not in the share '{}' that {} is a snapshot of",
                                        path, restore.snapshot.share.root, restore.snapshot.token));
        if (!found.token.empty())
            return error_of(ErrorKind::kUsage, EROFS,
                            fmt::format("'{}' lies in a snapshot: name the path in the share, and "
                                        "the snapshot after 'from'",
                                        path));
    }
    return {};
}

Result<RestoreSource> open_source(const ScriptRestore& restore, bool dry_run) {
    UMBRA_TRY(check_paths(restore));
    return open_restore(restore.paths, restore.snapshot.token, restore.to, dry_run);
}

JobSpec spec_of(const ScriptRestore& restore, const RestoreSource& source) {
    JobSpec spec = source.spec;
    spec.kind = restore.kind;
    spec.components = {restore.component};
    spec.components[0].paths = source.paths;
    return spec;
}

RunOptions options_for(RestoreReport& report, const RestoreSource& source) {
    RunOptions run = report.run_options();
    run.untouched = ask_untouched(source.share);
    run.changed = ask_changed(source.share);
    return run;
}

AnnouncedRestore announced_as(const ScriptRestore& restore, const RestoreSource& source) {
    return {source.share, spec_of(restore, source), source.shown_root};
}

Result<std::vector<AnnouncedRestore>> announce(const std::vector<ScriptRestore>& restores) {
    std::vector<AnnouncedRestore> announced;
    for (const auto& restore : restores) {
        UMBRA_ASSIGN(const RestoreSource source, open_source(restore, true));
        announced.push_back(announced_as(restore, source));
    }
    return announced;
}

}  // namespace

Result<void> ShareScriptHost::check(const ScriptRestore& restore) {
    UMBRA_TRY(check_paths(restore));
    if (restore.snapshot.future) return {};
    UMBRA_TRY(open_source(restore, true));
    return {};
}

Result<ScriptRestored> ShareScriptHost::simulate(const ScriptRestore& restore) {
    UMBRA_ASSIGN(const RestoreSource source, open_source(restore, true));
    const JobSpec spec = spec_of(restore, source);
    RestoreReport report({source.shown_root, false, as_lines_, true});
    const RunOptions run = options_for(report, source);
    UMBRA_ASSIGN(const ExitCode code, show_plan(source, spec, report, run));
    ScriptRestored done;
    done.complete = code == ExitCode::kDone;
    return done;
}

Result<std::vector<std::string>> ShareScriptHost::involved(
    const std::vector<ScriptRestore>& restores, const ScriptWriters& writers) {
    UMBRA_ASSIGN(const std::vector<AnnouncedRestore> announced, announce(restores));
    return ScriptRestores::involved(announced, writers);
}

Result<void> ShareScriptHost::begin_restores(const std::vector<ScriptRestore>& restores,
                                             const ScriptWriters& writers) {
    UMBRA_ASSIGN(const std::vector<AnnouncedRestore> announced, announce(restores));
    UMBRA_ASSIGN(restores_, ScriptRestores::begin(announced, writers));
    return {};
}

Result<void> ShareScriptHost::end_restores() {
    if (!restores_) return {};
    auto ended = restores_->end();
    restores_.reset();
    return ended;
}

Result<ScriptRestored> ShareScriptHost::restore(const ScriptRestore& restore,
                                                const ScriptWriters& writers) {
    UMBRA_ASSIGN(const RestoreSource source, open_source(restore, false));
    const AnnouncedRestore announced = announced_as(restore, source);
    RestoreReport report({source.shown_root, false, as_lines_, false});
    const RunOptions run = options_for(report, source);
    // By itself, a line is asked and told about by itself.
    std::unique_ptr<ScriptRestores> own;
    if (!restores_) {
        UMBRA_ASSIGN(own, ScriptRestores::begin({announced}, writers));
    }
    auto outcome = run_job(source, announced.spec, run);
    if (outcome) (own ? *own : *restores_).report(announced, *outcome);
    const auto told = own ? own->end() : Result<void>();
    if (!outcome) return forward_error(outcome);
    ScriptRestored done;
    done.job = outcome->id;
    done.complete = report.finish(*outcome) == ExitCode::kDone;
    done.interrupted = outcome->summary.interrupted;
    if (!outcome->job.components.empty()) done.status = outcome->job.components[0].status;
    if (!told && done.complete) return tl::make_unexpected(told.error());
    if (!told) print_error(told.error().text());
    return done;
}

}  // namespace umbra
