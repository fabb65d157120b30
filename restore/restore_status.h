// How far the restore of a file or of a component is, in the terms and numbers of Windows
// (VSS_FILE_RESTORE_STATUS), and the only rules by which that changes:
//
//  * it is set inside a running restore, and nowhere else;
//  * once in a run: what was reported stays, a failure above all (KB 952826). Only a new run of
//    that component may report anew;
//  * a component is ALL only when every file of it is.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "snapstore/result.h"

namespace umbra {

enum class RestoreStatus : std::uint8_t {
    kUndefined = 0,  // not started
    kNone = 1,       // nothing changed on disk
    kAll = 2,        // completely restored
    kFailed = 3,     // partly restored: cannot be trusted
};

// "undefined", "none", "all", "failed".
const char* restore_status_name(RestoreStatus status);

struct ReportedStatus {
    RestoreStatus status = RestoreStatus::kUndefined;
    int error = 0;          // errno, 0: none
    std::string sentence;   // why, "" where all went well
    std::uint32_t run = 0;  // that reported it; runs count from 1
};

// The status with the reason for it, where there is one.
ReportedStatus status_with(RestoreStatus status, const std::optional<Error>& error);

// `run`: the one that is running, 0 where none is. kRefused where the rules forbid it, and then
// nothing has changed.
Result<void> report_status(ReportedStatus& of, const ReportedStatus& reported, std::uint32_t run);

// The same for a component, whose files are so far `all_files_all`.
Result<void> report_component_status(ReportedStatus& of, const ReportedStatus& reported,
                                     std::uint32_t run, bool all_files_all);

}  // namespace umbra
