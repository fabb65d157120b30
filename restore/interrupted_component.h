// A component whose run a crash interrupted: what stands where, and how it is settled. The journal
// says who was to stand at each name; who does stand there says what happened.
#pragma once

#include <string>
#include <vector>

#include "restore/component_run.h"
#include "restore/restore_job.h"
#include "snapstore/result.h"

namespace umbra {

// The status of each of its paths, found by who has its name. `source_root` -1: what was changed
// in place cannot be told.
std::vector<ReportedStatus> look_at_component(const JobComponent& component, int source_root,
                                              int target_root, const MetadataScope& scope);

// Before a job goes on or is undone: what an interrupted run left standing aside goes. Where the
// component is all or nothing and not all of it had been switched, the originals come back first.
Result<void> settle_component(const std::string& job, const JobComponent& component,
                              const RestoreRoots& roots);

}  // namespace umbra
