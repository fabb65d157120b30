// What has come of a component, told to the job.
#include <errno.h>
#include <fmt/format.h>

#include <algorithm>

#include "restore/component_run.h"

namespace umbra {

Result<void> ComponentRun::report(std::size_t i, RestoreStatus status,
                                  const std::optional<Error>& error) {
    if (recorded_[i] == 0) return {};
    return recorder_.add(
        job_record::entry_status(number_, recorded_[i] - 1, status_with(status, error)));
}

std::size_t ComponentRun::top_of(std::size_t i) {
    while (entry(i).within != 0) i = entry(i).within - 1;
    return i;
}

// One path of what is reported; false: there is a status of its own in the journal.
Result<bool> ComponentRun::report_path(std::size_t i) {
    const Unit& unit = units_[i];
    const auto& stuck = units_[top_of(i)].not_put_back;
    std::optional<Error> error = stuck ? stuck : unit.error;
    if (stuck) {
        UMBRA_TRY(report(i, RestoreStatus::kFailed, stuck));
    } else if (failure_) {
        UMBRA_TRY(report(i, RestoreStatus::kNone, unit.error ? unit.error : failure_));
    } else if (unit.error) {
        // Changed in place and not put back, or switched and not switched back: mixed.
        UMBRA_TRY(
            report(i, unit.switched ? RestoreStatus::kFailed : RestoreStatus::kNone, unit.error));
    }
    const bool stopped = unit.error && unit.error->code == EINTR;
    if (error && !stopped) ++summary_.failed;
    if (!error && !failure_) ++summary_.changed;
    if (options_.on_object && !stopped && (error || !failure_)) options_.on_object(entry(i), error);
    return !error && !failure_;
}

Result<void> ComponentRun::report_batch(std::size_t first, std::size_t end) {
    const bool last = end == plan_.entries.size() || failure_;
    std::uint32_t begun = 0, done = 0;
    const auto flush_range = [&]() -> Result<void> {
        if (begun != 0)
            UMBRA_TRY(recorder_.add(job_record::entries_done(number_, begun - 1, done - 1)));
        begun = 0;
        return {};
    };
    for (std::size_t i = last ? 0 : first; i < end; ++i) {
        if (recorded_[i] == 0) continue;
        // Folders get their times when all in them is done; the rest of earlier batches is told.
        const bool waits = is_existing_folder(i) && !failure_;
        const bool told = i < first ? !waits : waits && !last;
        bool all = false;
        if (!told) {
            UMBRA_ASSIGN(all, report_path(i));
        }
        if (!all) {
            UMBRA_TRY(flush_range());
            continue;
        }
        begun = begun == 0 ? recorded_[i] : begun;
        done = recorded_[i];
    }
    UMBRA_TRY(flush_range());
    return recorder_.flush(true);
}

Result<void> ComponentRun::report_component() {
    const auto& entries = recorder_.job().components[number_].entries;
    bool all = !summary_.interrupted, none = true;
    std::optional<Error> why = failure_;
    std::size_t mixed = 0;
    std::string mixed_example;
    for (const auto& one : entries) {
        all = all && one.status.status == RestoreStatus::kAll;
        none = none && (one.status.status == RestoreStatus::kNone ||
                        one.status.status == RestoreStatus::kUndefined);
        if (one.status.status == RestoreStatus::kFailed && mixed++ == 0) mixed_example = one.path;
        if (!why && one.status.status != RestoreStatus::kAll && !one.status.sentence.empty())
            why = Error{one.status.error, ErrorKind::kSystem,
                        fmt::format("'{}': {}", one.path, one.status.sentence)};
    }
    if (summary_.interrupted && !why) why = Error{EINTR, ErrorKind::kSystem, "stopped"};
    if (mixed > 0 && why)
        why->message = fmt::format("{}; mixed on disk: {} files, '{}' among them", why->text(),
                                   mixed, mixed_example);
    const RestoreStatus status = all    ? RestoreStatus::kAll
                                 : none ? RestoreStatus::kNone
                                        : RestoreStatus::kFailed;
    UMBRA_TRY(recorder_.add(
        job_record::component_status(number_, status_with(status, all ? std::nullopt : why))));
    step("record the component");
    UMBRA_TRY(recorder_.flush(true));
    if (mixed > 0) return {};
    const auto stood_aside = [](const Unit& unit) { return !unit.aside.empty(); };
    if (std::any_of(units_.begin(), units_.end(), stood_aside)) {
        step("sync that nothing stands aside");
        UMBRA_TRY(sync_targets());
    }
    UMBRA_TRY(recorder_.add(job_record::cleaned(number_)));
    return recorder_.flush(false);
}

}  // namespace umbra
