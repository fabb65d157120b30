#include "cli/restore_report.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "cli/output.h"
#include "cli/patient_signals.h"
#include "cli/test_steps.h"
#include "fuse/control_protocol.h"
#include "fuse/result_json.h"

namespace umbra {

namespace {

using nlohmann::json;

constexpr std::chrono::seconds kLineEvery{10};  // where there is no terminal

json status_json(const ReportedStatus& status) {
    return {{"status", restore_status_name(status.status)},
            {"status_number", static_cast<int>(status.status)},
            {"errno", status.error},
            {"reason", status.sentence.empty() ? json(nullptr) : json(status.sentence)}};
}

void print_json_line(const json& value) {
    print_line(value.dump(-1, ' ', false, json::error_handler_t::replace));
}

}  // namespace

std::string shown_path(const std::string& root, const std::string& path) {
    if (path.empty()) return root;
    return root == "/" ? root + path : root + "/" + path;
}

RunOptions RestoreReport::run_options() {
    RunOptions run;
    run.scope.owner = ::geteuid() == 0;
    run.interrupted = PatientSignals::asked_to_stop;
    run.on_object = [this](const JobEntry& entry, const std::optional<Error>& error) {
        object(entry, error);
    };
    run.on_progress = [this](const RestoreProgress& now) { progress(now); };
    run.on_step = test_steps();
    return run;
}

json RestoreReport::to_json(const JobEntry& entry, const std::optional<Error>& error) const {
    json shown{{"action", restore_action_name(entry.action)},
               {"type", file_type_name(entry.type)},
               {"size", entry.size},
               {"error", error ? json(error->text()) : json(nullptr)}};
    set_path(shown, "path", shown_path(options_.shown_root, entry.path));
    return shown;
}

void RestoreReport::object(const JobEntry& entry, const std::optional<Error>& error) {
    const std::string path = shown_path(options_.shown_root, entry.path);
    if (error) {
        ++failed_;
        bar_.clear();
        print_error(fmt::format("cannot restore '{}': {}", printable(path), error->text()));
    }
    if (entry.on_the_way && !error) return;
    if (options_.as_lines) {
        json line = to_json(entry, error);
        line["event"] = "path";
        print_json_line(line);
    } else if (options_.as_json) {
        objects_.emplace_back(entry.path, to_json(entry, error));
    } else if (options_.dry_run) {
        const char* action = restore_action_name(error ? RestoreAction::kConflict : entry.action);
        lines_.emplace_back(entry.path, fmt::format("{:<9} {}", action, printable(path)));
    }
}

void RestoreReport::progress(const RestoreProgress& now) {
    const bool by_bytes = now.total_bytes > 0;
    const auto passed = std::chrono::steady_clock::now() - told_;
    if (options_.as_lines && passed >= std::chrono::seconds(1)) {
        print_json_line({{"event", "progress"},
                         {"done_bytes", now.done_bytes},
                         {"total_bytes", now.total_bytes},
                         {"done_files", now.done_files},
                         {"total_files", now.total_files}});
        told_ = std::chrono::steady_clock::now();
    } else if (::isatty(STDERR_FILENO) == 1) {
        if (by_bytes) bar_.show(now.done_bytes, now.total_bytes);
    } else if (passed >= kLineEvery) {
        print_note(fmt::format("{} of {}, {} of {} files", human_size(now.done_bytes),
                               human_size(now.total_bytes), now.done_files, now.total_files));
        told_ = std::chrono::steady_clock::now();
    }
}

void RestoreReport::finish_dry_run(std::uint64_t bytes) {
    std::sort(lines_.begin(), lines_.end());
    for (const auto& [path, line] : lines_) print_line(line);
    std::sort(objects_.begin(), objects_.end(),
              [](const auto& a, const auto& b) { return a.first < b.first; });
    if (options_.as_json) {
        json all = json::array();
        for (auto& [path, object] : objects_) all.push_back(std::move(object));
        print_json(all);
    } else if (options_.as_lines) {
        print_json_line({{"event", "end"}, {"bytes", bytes}});
    } else {
        print_line(fmt::format("{} would be written", human_size(bytes)));
    }
}

ExitCode RestoreReport::finish(const JobOutcome& outcome) {
    bar_.clear();
    const RestoreSummary& summary = outcome.summary;
    if (options_.as_json) {
        std::sort(objects_.begin(), objects_.end(),
                  [](const auto& a, const auto& b) { return a.first < b.first; });
        json all = json::array();
        for (auto& [path, object] : objects_) all.push_back(std::move(object));
        print_json(all);
    }
    if (options_.as_lines)
        print_json_line({{"event", "end"},
                         {"job", outcome.id},
                         {"status", job_state(outcome.job, false)},
                         {"changed", summary.changed},
                         {"unchanged", summary.unchanged},
                         {"failed", summary.failed},
                         {"bytes_written", summary.bytes_written}});
    if (summary.owners_left > 0)
        print_note(
            fmt::format("the owner of {} restored files could not be set: only root can do that",
                        summary.owners_left));
    if (summary.extended_left > 0)
        print_note(
            fmt::format("of {} restored files not all extended attributes could be set: "
                        "the user may not, or the filesystem cannot",
                        summary.extended_left));
    if (summary.interrupted)
        print_error(
            fmt::format("stopped by a signal: {} restored, {} failed, the rest as it was; "
                        "'umbra restore resume {}' goes on",
                        summary.changed, summary.failed, outcome.id));
    return outcome.complete() ? ExitCode::kDone : ExitCode::kRestoreIncomplete;
}

std::string job_state(const RestoreJob& job, bool running) {
    if (running) return "running";
    if (!job.spec || job.runs.empty()) return "empty";
    if (job.undone) return "undone";
    if (!job.runs.back().ended) return "interrupted";
    bool failed = false, none = false, all = false;
    for (const auto& component : job.components) {
        failed = failed || component.status.status == RestoreStatus::kFailed;
        none = none || component.status.status < RestoreStatus::kAll;
        all = all || component.status.status == RestoreStatus::kAll;
    }
    if (failed || (none && all)) return "failed";
    return none ? "none" : "all";
}

json job_json(const std::string& id, const RestoreJob& job, const std::string& shown_root) {
    json shown{{"job", id}, {"undone", job.undone}};
    json components = json::array(), runs = json::array();
    for (const auto& run : job.runs)
        runs.push_back({{"before", run.before.empty() ? json(nullptr) : json(run.before)},
                        {"ended", run.ended}});
    for (const auto& component : job.components) {
        json one = status_json(component.status);
        one["name"] = component.spec.name;
        one["method"] = restore_method_name(component.spec.method);
        json paths = json::array();
        for (const auto& entry : component.entries) {
            json path = status_json(entry.status);
            path["action"] = restore_action_name(entry.action);
            path["type"] = file_type_name(entry.type);
            path["size"] = entry.size;
            set_path(path, "path", shown_path(shown_root, entry.path));
            paths.push_back(std::move(path));
        }
        one["paths"] = std::move(paths);
        components.push_back(std::move(one));
    }
    if (job.spec) {
        shown["kind"] = job_kind_name(job.spec->kind);
        shown["snapshot"] = job.spec->token;
        shown["undo_of"] = job.spec->undo_of.empty() ? json(nullptr) : json(job.spec->undo_of);
        set_path(shown, "target", shown_root);
    }
    shown["runs"] = std::move(runs);
    shown["components"] = std::move(components);
    return shown;
}

}  // namespace umbra
