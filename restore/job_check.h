// What only the whole of a job shows: whether there is room for all of its components together,
// and whether two of them would restore the same path.
#pragma once

#include <optional>

#include "restore/component_run.h"
#include "restore/restore_job.h"
#include "snapstore/result.h"

namespace umbra {

// Why nothing of the job may be touched; no value: it may, as far as this can tell. Plans every
// component that is not completely restored yet, and changes nothing. A job of one component is
// checked by its own plan.
std::optional<Error> check_whole_job(const RestoreJob& job, const RestoreRoots& roots,
                                     const RunOptions& options);

}  // namespace umbra
