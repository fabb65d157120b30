#include "restore/writer_restore.h"

#include <fmt/format.h>

#include <algorithm>

#include "restore/path_names.h"
#include "restore/writer_command.h"

namespace umbra {

namespace {

// By where the files are in the share; what is restored from there belongs to the writer, wherever
// it is put.
bool overlaps(const WriterDefinition& writer, const ComponentSpec& restored) {
    for (const auto& component : writer.components)
        for (const auto& path : component.paths)
            for (const auto& one : restored.paths)
                if (paths_overlap(path, one.source)) return true;
    return false;
}

bool is_of(const WriterDefinition& writer, const JobComponent& component) {
    return overlaps(writer, component.spec);
}

// A line for each: in the snapshot (relative), a tab, and where it goes to (absolute). Those with
// tabs or newlines are left out, and of many the rest.
std::string paths_of(const WriterDefinition& writer, const JobSpec& spec,
                     const std::string& target) {
    constexpr std::size_t kMost = 32 << 10;
    std::string lines;
    for (const auto& component : spec.components) {
        if (!overlaps(writer, component)) continue;
        for (const auto& path : component.paths) {
            if ((path.source + path.target).find_first_of("\t\n") != std::string::npos) continue;
            if (lines.size() > kMost) return lines;
            lines += path.source + "\t" + join_path(target, path.target) + "\n";
        }
    }
    return lines;
}

}  // namespace

std::vector<WriterDefinition> writers_of_job(const std::vector<WriterDefinition>& definitions,
                                             const JobSpec& spec) {
    std::vector<WriterDefinition> involved;
    for (const auto& writer : definitions) {
        const bool any =
            std::any_of(spec.components.begin(), spec.components.end(),
                        [&](const auto& component) { return overlaps(writer, component); });
        if (any) involved.push_back(writer);
    }
    sort_writers(involved);
    return involved;
}

RestoreStatus status_of_writer(const WriterDefinition& writer, const RestoreJob* job) {
    if (job == nullptr) return RestoreStatus::kNone;
    std::size_t count = 0, all = 0, none = 0, undefined = 0;
    for (const auto& component : job->components) {
        if (!is_of(writer, component)) continue;
        ++count;
        // What an earlier run reported says nothing once a later one has begun with it.
        const RestoreStatus status = component.status.run == component.run ? component.status.status
                                                                           : RestoreStatus::kFailed;
        all += status == RestoreStatus::kAll ? 1 : 0;
        none += status == RestoreStatus::kNone ? 1 : 0;
        undefined += status == RestoreStatus::kUndefined ? 1 : 0;
    }
    if (count == 0) return RestoreStatus::kNone;
    if (all == count) return RestoreStatus::kAll;
    if (none == count) return RestoreStatus::kNone;
    if (undefined == count) return RestoreStatus::kUndefined;
    return RestoreStatus::kFailed;
}

WriterReport WriterRestore::ask(const WriterDefinition& writer, WriterStep step,
                                std::vector<std::pair<std::string, std::string>> variables) {
    if (options_.on_step) options_.on_step(writer_step_name(step));
    variables.emplace_back("UMBRA_SHARE", options_.share);
    variables.emplace_back("UMBRA_SNAPSHOT", spec_.token);
    variables.emplace_back("UMBRA_RESTORE_TARGET", options_.target);
    variables.emplace_back("UMBRA_RESTORE_KIND", job_kind_name(spec_.kind));
    // The folder of the share itself, or another one.
    variables.emplace_back("UMBRA_RESTORE_IN_PLACE",
                           spec_.in_share && spec_.target_root.empty() ? "1" : "0");
    variables.emplace_back("UMBRA_RESTORE_PATHS", paths_of(writer, spec_, options_.target));
    std::string document, state = "unknown";
    for (const auto& recorded : options_.recorded) {
        if (recorded.name != writer.name) continue;
        document = recorded.document;
        state = writer_state_name(recorded.state);
    }
    variables.emplace_back("UMBRA_SNAPSHOT_STATE", state);
    // Post-restore goes on whoever loses patience: it may be what starts the application again.
    const WriterOutcome outcome =
        run_writer_command(writer, step, variables, document,
                           step == WriterStep::kPreRestore ? options_.interrupted : nullptr);
    WriterReport report;
    report.name = writer.name;
    report.state = outcome.ok() ? WriterState::kStable : failed_at(step);
    report.error = outcome.error;
    report.sentence = outcome.sentence;
    return report;
}

Result<void> WriterRestore::pre_restore() {
    for (const auto& writer : involved_) {
        ++asked_;
        reports_.push_back(ask(writer, WriterStep::kPreRestore, {}));
        if (!reports_.back().failed()) continue;
        const std::string why = failed_writers_text({reports_.back()});
        // It may have stopped half of its application.
        static_cast<void>(post_restore("", nullptr));
        return error_of(ErrorKind::kSystem, ECANCELED,
                        "nothing was restored: " + why + " (--no-writers restores without asking)");
    }
    return {};
}

void WriterRestore::tell(const WriterDefinition& writer, const std::string& id,
                         const RestoreJob* job) {
    const RestoreStatus status = status_of_writer(writer, job);
    std::string components;
    if (job != nullptr) {
        for (const auto& component : job->components)
            if (is_of(writer, component))
                components += fmt::format("{}={}\n", component.spec.name,
                                          restore_status_name(component.status.status));
    }
    WriterReport report =
        ask(writer, WriterStep::kPostRestore,
            {{"UMBRA_RESTORE_STATUS", restore_status_name(status)},
             {"UMBRA_RESTORE_STATUS_NUMBER", std::to_string(static_cast<int>(status))},
             {"UMBRA_RESTORE_COMPONENTS", components},
             {"UMBRA_RESTORE_JOB", id}});
    for (auto& known : reports_) {
        if (known.name == writer.name && !known.failed()) known = report;
    }
}

Result<void> WriterRestore::post_restore(const std::string& id, const RestoreJob* job) {
    for (std::size_t i = asked_; i-- > 0;) tell(involved_[i], id, job);
    asked_ = 0;
    if (!any_writer_failed(reports_)) return {};
    return error_of(ErrorKind::kSystem, ECANCELED,
                    "after the restore: " + failed_writers_text(reports_));
}

}  // namespace umbra
