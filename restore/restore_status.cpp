#include "restore/restore_status.h"

#include <fmt/format.h>

namespace umbra {

const char* restore_status_name(RestoreStatus status) {
    switch (status) {
        case RestoreStatus::kUndefined:
            return "undefined";
        case RestoreStatus::kNone:
            return "none";
        case RestoreStatus::kAll:
            return "all";
        case RestoreStatus::kFailed:
            return "failed";
    }
    return "unknown";
}

ReportedStatus status_with(RestoreStatus status, const std::optional<Error>& error) {
    ReportedStatus reported;
    reported.status = status;
    if (error) {
        reported.error = error->code;
        reported.sentence = error->text();
    }
    return reported;
}

Result<void> report_status(ReportedStatus& of, const ReportedStatus& reported, std::uint32_t run) {
    if (run == 0)
        return error_of(ErrorKind::kRefused, EPERM,
                        "a restore status is set inside a running restore only");
    if (reported.status == RestoreStatus::kUndefined || reported.status > RestoreStatus::kFailed)
        return error_of(ErrorKind::kRefused, EINVAL,
                        "a restore reports none, all or failed, and nothing else");
    if (of.status != RestoreStatus::kUndefined && of.run >= run)
        return error_of(
            ErrorKind::kRefused, EEXIST,
            fmt::format("this run has reported '{}' already: only a new restore of the "
                        "component changes that to '{}'",
                        restore_status_name(of.status), restore_status_name(reported.status)));
    of = reported;
    of.run = run;
    return {};
}

Result<void> report_component_status(ReportedStatus& of, const ReportedStatus& reported,
                                     std::uint32_t run, bool all_files_all) {
    if (reported.status == RestoreStatus::kAll && !all_files_all)
        return error_of(ErrorKind::kRefused, EPERM,
                        "a component is completely restored only when every file of it is");
    return report_status(of, reported, run);
}

}  // namespace umbra
