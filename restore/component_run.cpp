#include "restore/component_run.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "restore/beneath.h"
#include "restore/path_names.h"
#include "snapstore/proc_path.h"

namespace umbra {

namespace {

// Of what is restored file by file, so much stands aside at once.
constexpr std::size_t kBatchEntries = 512;
constexpr std::uint64_t kBatchBytes = 256 << 20;

}  // namespace

PlanOptions plan_options(const JobSpec& job, const RunOptions& options) {
    PlanOptions how;
    how.scope = options.scope;
    how.token = job.token;
    // The index knows the paths of the share alone.
    if (job.in_share && job.target_root.empty()) {
        how.untouched = options.untouched;
        how.changed = options.changed;
    }
    how.interrupted = options.interrupted;
    how.on_unchanged = [&options](const JobEntry& unchanged) {
        if (options.on_object) options.on_object(unchanged, std::nullopt);
    };
    return how;
}

Result<UniqueFd> ComponentRun::open_parent(const std::string& path) const {
    auto folder = open_far_beneath(roots_.target, parent_of(path), O_PATH | O_DIRECTORY);
    if (!folder) return errno_error(folder.error().code, "cannot enter the folder that it lies in");
    return folder;
}

bool ComponentRun::interrupted() {
    if (!summary_.interrupted && options_.interrupted && options_.interrupted())
        summary_.interrupted = true;
    return summary_.interrupted;
}

void ComponentRun::progress() {
    if (options_.on_progress) options_.on_progress(progress_);
}

Result<void> ComponentRun::sync_targets() {
    if (roots_.in_share) return store_.sync_share();
    const UniqueFd root(
        ::open(ProcPath(roots_.target).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!root.valid() || ::syncfs(root.get()) != 0)
        return errno_error(errno, "cannot make what was restored durable");
    return {};
}

std::string ComponentRun::where(std::size_t i) {
    return units_[i].switched || units_[i].aside.empty() ? entry(i).path : units_[i].aside;
}

// --- the whole ----------------------------------------------------------------------------------

Result<void> ComponentRun::run() {
    PlanOptions how = plan_options(*recorder_.job().spec, options_);
    how.interrupted = [this] { return interrupted(); };
    step("plan");
    auto plan = Planner(roots_.source, roots_.target, spec_, how).plan();
    if (!plan) {
        const Error why = plan.error();
        if (why.code != EINTR) ++summary_.failed;
        UMBRA_TRY(record_untouched(recorder_, number_, why));
        if (why.kind == ErrorKind::kNotFound) return tl::make_unexpected(why);
        return {};
    }
    plan_ = std::move(*plan);
    summary_.unchanged += plan_.unchanged;
    units_.resize(plan_.entries.size());
    UMBRA_TRY(record_plan());
    if (plan_.obstacle) return refuse(*plan_.obstacle);
    progress_.total_bytes = plan_.bytes;
    progress_.total_files = plan_.entries.size();
    for (std::size_t first = 0; first < plan_.entries.size() && !failure_;) {
        if (interrupted()) break;
        const std::size_t end = batch_end(first);
        UMBRA_TRY(run_batch(first, end));
        first = end;
    }
    return report_component();
}

Result<void> ComponentRun::record_plan() {
    UMBRA_TRY(recorder_.add(job_record::component_begun(number_)));
    recorded_.assign(plan_.entries.size(), 0);
    std::uint32_t next = 0;
    for (std::size_t i = 0; i < plan_.entries.size(); ++i) {
        if (entry(i).action == RestoreAction::kUnchanged) continue;
        JobEntry written = entry(i);
        written.within = written.within == 0 ? 0 : recorded_[written.within - 1];
        UMBRA_TRY(recorder_.add(job_record::entry(number_, written)));
        recorded_[i] = ++next;
    }
    step("record the plan");
    return recorder_.flush(true);
}

Result<void> record_untouched(JobRecorder& recorder, std::uint32_t component, const Error& why) {
    UMBRA_TRY(recorder.add(job_record::component_begun(component)));
    UMBRA_TRY(recorder.add(
        job_record::component_status(component, status_with(RestoreStatus::kNone, why))));
    UMBRA_TRY(recorder.add(job_record::cleaned(component)));
    return recorder.flush(true);
}

// Nothing was touched.
Result<void> ComponentRun::refuse(const Error& why) {
    bool named = false;
    for (std::size_t i = 0; i < plan_.entries.size(); ++i) {
        if (recorded_[i] == 0) continue;
        const auto& error = plan_.entries[i].error;
        named = named || error.has_value();
        if (error) ++summary_.failed;
        UMBRA_TRY(report(i, RestoreStatus::kNone, error ? error : std::optional(why)));
        if (options_.on_object && error) options_.on_object(entry(i), error);
    }
    if (!named) {
        ++summary_.failed;
        JobEntry all;
        all.path = spec_.paths.empty() ? "" : spec_.paths.front().target;
        all.action = RestoreAction::kConflict;
        if (options_.on_object) options_.on_object(all, why);
    }
    UMBRA_TRY(recorder_.add(
        job_record::component_status(number_, status_with(RestoreStatus::kNone, why))));
    UMBRA_TRY(recorder_.add(job_record::cleaned(number_)));
    return recorder_.flush(true);
}

// What is made or removed as a whole is never parted.
std::size_t ComponentRun::batch_end(std::size_t first) const {
    if (all_or_nothing(spec_.method)) return plan_.entries.size();
    std::uint64_t bytes = 0;
    std::size_t i = first;
    for (; i < plan_.entries.size(); ++i) {
        const JobEntry& next = plan_.entries[i].entry;
        if (i > first && next.within == 0 && (i - first >= kBatchEntries || bytes >= kBatchBytes))
            break;
        bytes += next.size;
    }
    return i;
}

Result<void> ComponentRun::run_batch(std::size_t first, std::size_t end) {
    const bool atomic = all_or_nothing(spec_.method);
    const auto take_back = [&](const Error& why) {
        failure_ = failure_ ? failure_ : why;
        put_back(first, end);
        clean(first, end);
        put_back_folder_times();
    };
    stage_all(first, end);
    if (atomic && interrupted() && !failure_)
        failure_ = Error{EINTR, ErrorKind::kSystem, "stopped"};
    if (!failure_) {
        step("sync what stands aside");
        if (auto synced = sync_targets(); !synced) failure_ = synced.error();
    }
    if (!failure_) {
        if (auto recorded = record_staged(first, end); !recorded) {
            take_back(recorded.error());
            return recorded;
        }
        switch_all(first, end);
    }
    const bool last = end == plan_.entries.size();
    if (!failure_ && last) {
        step("finish the folders");
        if (auto finished = finish_folders(); !finished && atomic) failure_ = finished.error();
    }
    if (!failure_) {
        step("sync what was switched");
        if (auto synced = sync_targets(); !synced) failure_ = synced.error();
    }
    if (failure_) {
        take_back(*failure_);
        // "Nothing has changed" must hold after a power cut, too. Where that is not to be had,
        // nothing is said: whoever looks afterwards looks at the disk.
        step("sync what was taken back");
        UMBRA_TRY(sync_targets());
        step("record that it was taken back");
        return report_batch(first, end);
    }
    step("record what is restored");
    if (auto reported = report_batch(first, end); !reported) {
        // Some of it may say so already, durably: so everything stays as it is, the originals
        // aside, as after a crash at this place.
        const Error& why = reported.error();
        return error_of(why.kind, why.code,
                        fmt::format("{}; what was restored by then stays, and its originals "
                                    "stand aside until 'umbra restore resume {}' or 'undo {}'",
                                    why.text(), recorder_.id(), recorder_.id()));
    }
    clean(first, end);
    if (!last) return {};
    // Letting go of the originals has changed the times of their folders.
    static_cast<void>(finish_folders());
    return {};
}

}  // namespace umbra
