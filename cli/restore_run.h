// Plans or runs a restore whose source is open: for the command line and for scripts.
#pragma once

#include "cli/restore_report.h"
#include "cli/restore_source.h"
#include "restore/job_runner.h"

namespace umbra {

// Says what the job would do. kRestoreIncomplete where something is in the way.
Result<ExitCode> show_plan(const RestoreSource& source, const JobSpec& spec, RestoreReport& report,
                           const RunOptions& run);

// A share that is mounted read-only can be restored from, to elsewhere; nothing is recorded then.
Result<JobOutcome> run_job(const RestoreSource& source, const JobSpec& spec,
                           const RunOptions& options);

}  // namespace umbra
