#include "restore/job_runner.h"

#include <fcntl.h>
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "restore/beneath.h"
#include "restore/interrupted_component.h"
#include "restore/job_check.h"
#include "restore/path_names.h"

namespace umbra {

namespace {

Result<UniqueFd> open_folder(const std::string& path) {
    UniqueFd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder.valid())
        return errno_error(errno, fmt::format("cannot open the folder '{}'", path));
    return folder;
}

// Ends the run however that is left.
class RunGuard {
   public:
    RunGuard(JobStore& store, std::string id) : store_(store), id_(std::move(id)) {}
    ~RunGuard() { store_.end_run(id_, complete_); }
    RunGuard(const RunGuard&) = delete;
    RunGuard& operator=(const RunGuard&) = delete;
    void complete(bool is) { complete_ = is; }

   private:
    bool complete_ = false;
    JobStore& store_;
    std::string id_;
};

bool may_have_changed(const JobEntry& entry) {
    return entry.status.status != RestoreStatus::kNone &&
           entry.action != RestoreAction::kConflict && entry.action != RestoreAction::kUnchanged;
}

// All paths that any run of the component may have changed.
ComponentSpec undo_of(const JobComponent& component) {
    std::map<std::string, bool> paths;
    for (const auto& entry : component.earlier)
        if (may_have_changed(entry)) paths[entry.path] = true;
    for (const auto& entry : component.entries)
        if (may_have_changed(entry)) paths[entry.path] = true;
    ComponentSpec spec;
    spec.name = component.spec.name;
    spec.method = RestoreMethod::kMirror;
    spec.exact = true;
    spec.in_place = component.spec.in_place;
    for (const auto& [path, changed] : paths) spec.paths.push_back({path, path});
    return spec;
}

}  // namespace

Result<UniqueFd> ShareRoots::snapshot(const std::string& token) {
    if (token.empty() || token.front() != '@' || token.find('/') != std::string::npos)
        return error_of(ErrorKind::kNotFound, ENOENT, "the job names no snapshot");
    auto folder = open_folder(fmt::format("{}/.snapshots/{}", root_, token));
    if (!folder && folder.error().code == ENOENT)
        return error_of(ErrorKind::kNotFound, ENOENT,
                        fmt::format("the snapshot {} is not there any more", token));
    return folder;
}

Result<UniqueFd> ShareRoots::target(const JobSpec& spec) {
    if (!spec.in_share) return open_folder(spec.target_root);
    UMBRA_ASSIGN(const UniqueFd root, open_folder(root_));
    auto folder = open_far_beneath(root.get(), spec.target_root, O_RDONLY | O_DIRECTORY);
    if (!folder)
        return errno_error(folder.error().code, fmt::format("cannot open the folder '{}'",
                                                            join_path(root_, spec.target_root)));
    return folder;
}

Result<UniqueFd> ShareRoots::target_in(const JobSpec& spec, const std::string& token) {
    if (!spec.in_share || token.empty()) return UniqueFd();
    UMBRA_ASSIGN(const UniqueFd root, snapshot(token));
    auto folder = open_far_beneath(root.get(), spec.target_root, O_RDONLY | O_DIRECTORY);
    if (!folder) return UniqueFd();
    return folder;
}

bool JobOutcome::complete() const {
    for (const auto& component : job.components) {
        if (!component.finished()) return false;
    }
    return true;
}

Result<JobOutcome> JobRunner::run(const JobSpec& spec) {
    step("make the job");
    UMBRA_ASSIGN(const std::string id, store_.create());
    step("take the snapshot of before");
    UMBRA_ASSIGN(const std::string before, store_.begin_run(id, true));
    RunGuard guard(store_, id);
    JobRecorder recorder(store_, id, RestoreJob());
    UMBRA_TRY(recorder.add(job_record::job(spec)));
    for (std::uint32_t i = 0; i < spec.components.size(); ++i) {
        for (auto& record : job_record::paths(i, spec.components[i].paths))
            UMBRA_TRY(recorder.add(std::move(record)));
    }
    UMBRA_TRY(recorder.add(job_record::run_begun(before)));
    step("record the job");
    UMBRA_TRY(recorder.flush(true));
    UMBRA_ASSIGN(JobOutcome outcome, run_components(recorder));
    guard.complete(outcome.complete());
    return outcome;
}

void JobRunner::tell_obstacle(const ComponentSpec& component, const Error& why) const {
    if (!options_.on_object) return;
    JobEntry all;
    all.path = component.paths.empty() ? "" : component.paths.front().target;
    all.action = RestoreAction::kConflict;
    options_.on_object(all, why);
}

Result<JobOutcome> JobRunner::run_components(JobRecorder& recorder) {
    const JobSpec spec = *recorder.job().spec;
    UMBRA_ASSIGN(const UniqueFd source, roots_.snapshot(spec.token));
    UMBRA_ASSIGN(const UniqueFd target, roots_.target(spec));
    UMBRA_ASSIGN(const UniqueFd before, roots_.target_in(spec, recorder.job().runs.back().before));
    const RestoreRoots roots{source.get(), target.get(), before.get(), spec.in_share};
    JobOutcome outcome;
    outcome.id = recorder.id();
    Result<void> result;
    const std::optional<Error> obstacle = check_whole_job(recorder.job(), roots, options_);
    for (std::uint32_t i = 0; i < recorder.job().components.size(); ++i) {
        if (recorder.job().components[i].status.status == RestoreStatus::kAll) continue;
        if (obstacle) {
            ++outcome.summary.failed;
            UMBRA_TRY(record_untouched(recorder, i, *obstacle));
            tell_obstacle(recorder.job().components[i].spec, *obstacle);
            continue;
        }
        if (options_.interrupted && options_.interrupted()) outcome.summary.interrupted = true;
        if (outcome.summary.interrupted) break;
        result = ComponentRun(recorder, store_, roots, options_, i, outcome.summary).run();
        if (!result) break;
    }
    if (!result && result.error().kind != ErrorKind::kNotFound) return forward_error(result);
    UMBRA_TRY(recorder.add(job_record::run_ended()));
    step("record the end");
    UMBRA_TRY(recorder.flush(true));
    if (!result) return forward_error(result);
    outcome.job = recorder.job();
    return outcome;
}

Result<void> JobRunner::settle(const std::string& id, const RestoreJob& job) {
    UMBRA_ASSIGN(const UniqueFd target, roots_.target(*job.spec));
    UniqueFd before;
    if (!job.runs.empty()) {
        UMBRA_ASSIGN(before, roots_.target_in(*job.spec, job.runs.back().before));
    }
    const RestoreRoots roots{-1, target.get(), before.get(), job.spec->in_share};
    Result<void> result;
    for (const auto& component : job.components) {
        step("settle what was interrupted");
        if (auto settled = settle_component(id, component, roots); !settled) result = settled;
    }
    return result;
}

Result<void> JobRunner::settle_earlier_undo(const std::string& id) {
    UMBRA_ASSIGN(const std::vector<std::string> jobs, store_.jobs());
    for (const auto& other : jobs) {
        if (other <= id) continue;  // older, by its id
        UMBRA_ASSIGN(const std::vector<std::string> records, store_.read(other));
        const auto job = read_job(records);
        if (!job || !job->spec || job->spec->undo_of != id) continue;
        const bool clean =
            std::all_of(job->components.begin(), job->components.end(),
                        [](const JobComponent& component) { return component.cleaned; });
        if (clean) continue;
        UMBRA_TRY(store_.begin_run(other, false));
        const RunGuard guard(store_, other);
        UMBRA_TRY(settle(other, *job));
    }
    return {};
}

Result<JobOutcome> JobRunner::resume(const std::string& id) {
    UMBRA_ASSIGN(const std::vector<std::string> records, store_.read(id));
    UMBRA_ASSIGN(RestoreJob job, read_job(records));
    if (!job.spec)
        return error_of(ErrorKind::kRefused, ENODATA,
                        fmt::format("restore job '{}' ended before it began: nothing was changed; "
                                    "'umbra restore forget' removes it",
                                    id));
    if (job.undone)
        return error_of(ErrorKind::kRefused, EALREADY,
                        fmt::format("restore job '{}' has been undone: restore anew", id));
    step("take the snapshot of before");
    UMBRA_ASSIGN(const std::string before, store_.begin_run(id, true));
    RunGuard guard(store_, id);
    // What cannot be put back is looked at again by the plan.
    static_cast<void>(settle(id, job));
    JobRecorder recorder(store_, id, std::move(job));
    UMBRA_TRY(recorder.add(job_record::run_begun(before)));
    step("record the job");
    UMBRA_TRY(recorder.flush(true));
    UMBRA_ASSIGN(JobOutcome outcome, run_components(recorder));
    guard.complete(outcome.complete());
    return outcome;
}

Result<JobOutcome> JobRunner::undo(const std::string& id) {
    UMBRA_ASSIGN(const std::vector<std::string> records, store_.read(id));
    UMBRA_ASSIGN(RestoreJob job, read_job(records));
    if (!job.spec || job.runs.empty())
        return error_of(ErrorKind::kRefused, ENODATA,
                        fmt::format("restore job '{}' has changed nothing", id));
    if (job.undone)
        return error_of(ErrorKind::kRefused, EALREADY,
                        fmt::format("restore job '{}' has been undone already", id));
    if (!job.spec->in_share || job.runs.front().before.empty())
        return error_of(ErrorKind::kRefused, ENOTSUP,
                        fmt::format("restore job '{}' restored to '{}', of which there are no "
                                    "snapshots: what was there before is not known",
                                    id, job.spec->target_root));
    UMBRA_TRY(store_.begin_run(id, false));
    RunGuard guard(store_, id);
    UMBRA_TRY(settle_earlier_undo(id));
    UMBRA_TRY(settle(id, job));
    JobSpec spec;
    spec.kind = JobKind::kUndo;
    spec.token = job.runs.front().before;
    spec.target_root = job.spec->target_root;
    spec.undo_of = id;
    for (const auto& component : job.components) {
        ComponentSpec undo = undo_of(component);
        for (auto& path : undo.paths) path.source = join_path(spec.target_root, path.target);
        if (!undo.paths.empty()) spec.components.push_back(std::move(undo));
    }
    UMBRA_ASSIGN(JobOutcome outcome, run(spec));
    if (!outcome.complete()) return outcome;
    JobRecorder recorder(store_, id, std::move(job));
    UMBRA_TRY(recorder.add(job_record::undone()));
    UMBRA_TRY(recorder.flush(true));
    guard.complete(true);
    return outcome;
}

Result<RestoreJob> JobRunner::look(const std::string& id) {
    UMBRA_ASSIGN(const std::vector<std::string> records, store_.read(id));
    UMBRA_ASSIGN(RestoreJob job, read_job(records));
    if (!job.spec) return job;
    auto target = roots_.target(*job.spec);
    if (!target) return job;
    auto source = roots_.snapshot(job.spec->token);
    for (auto& component : job.components) {
        if (component.run == 0 || (component.status.run == component.run &&
                                   component.status.status != RestoreStatus::kUndefined))
            continue;
        const auto seen = look_at_component(component, source ? source->get() : -1, target->get(),
                                            options_.scope);
        std::size_t all = 0, none = 0;
        for (std::size_t i = 0; i < seen.size(); ++i) {
            component.entries[i].status = seen[i];
            all += seen[i].status == RestoreStatus::kAll ? 1 : 0;
            none += seen[i].status == RestoreStatus::kNone ? 1 : 0;
        }
        ReportedStatus& status = component.status;
        status = {};
        status.status = all == seen.size() && !seen.empty() ? RestoreStatus::kAll
                        : none == seen.size()               ? RestoreStatus::kNone
                                                            : RestoreStatus::kFailed;
        if (status.status == RestoreStatus::kAll) continue;
        status.error = EINTR;
        status.sentence = fmt::format(
            "the restore was interrupted: {} of {} paths are restored; resume or undo it", all,
            seen.size());
    }
    return job;
}

}  // namespace umbra
