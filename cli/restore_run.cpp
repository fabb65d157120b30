#include "cli/restore_run.h"

#include <fmt/format.h>

#include "cli/daemon_job_store.h"
#include "cli/output.h"
#include "restore/job_check.h"

namespace umbra {

Result<ExitCode> show_plan(const RestoreSource& source, const JobSpec& spec, RestoreReport& report,
                           const RunOptions& run) {
    std::uint64_t bytes = 0;
    RestoreJob job;
    job.spec = spec;
    for (const auto& component : spec.components) job.components.emplace_back().spec = component;
    const RestoreRoots roots{source.snapshot_root.get(), source.target_root.get(), -1,
                             spec.in_share};
    const auto whole = check_whole_job(job, roots, run);
    if (whole) print_error("nothing would be restored: " + whole->text());
    bool obstacle = whole.has_value();
    for (const auto& component : spec.components) {
        UMBRA_ASSIGN(const ComponentPlan plan,
                     Planner(source.snapshot_root.get(), source.target_root.get(), component,
                             plan_options(spec, run))
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
