#include "cli/restore_run.h"

#include <fmt/format.h>

#include "cli/daemon_job_store.h"
#include "cli/output.h"

namespace umbra {

Result<ExitCode> show_plan(const RestoreSource& source, const JobSpec& spec, RestoreReport& report,
                           const RunOptions& run) {
    std::uint64_t bytes = 0;
    bool obstacle = false;
    for (const auto& component : spec.components) {
        PlanOptions options;
        options.scope = run.scope;
        options.untouched = run.untouched;
        options.interrupted = run.interrupted;
        options.on_unchanged = [&](const JobEntry& entry) { report.object(entry, std::nullopt); };
        UMBRA_ASSIGN(const ComponentPlan plan, Planner(source.snapshot_root.get(),
                                                       source.target_root.get(), component, options)
                                                   .plan());
        for (const auto& planned : plan.entries) {
            if (planned.entry.action != RestoreAction::kUnchanged)
                report.object(planned.entry, planned.error);
        }
        bytes += plan.bytes;
        if (plan.obstacle)
            print_error(fmt::format("nothing of component '{}' would be restored: {}",
                                    printable(component.name), plan.obstacle->text()));
        obstacle = obstacle || plan.obstacle.has_value();
    }
    report.finish_dry_run(bytes);
    return obstacle || report.anything_failed() ? ExitCode::kRestoreIncomplete : ExitCode::kDone;
}

Result<JobOutcome> run_job(const RestoreSource& source, const JobSpec& spec,
                           const RunOptions& options) {
    ShareRoots roots(source.share.root());
    if (source.read_only && !spec.in_share) {
        MemoryJobStore store;
        return JobRunner(store, roots, options).run(spec);
    }
    DaemonJobStore store(source.share);
    return JobRunner(store, roots, options).run(spec);
}

}  // namespace umbra
