// umbra restore: brings files and folders back as a snapshot has them.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/restore_source.h"
#include "fuse/control_protocol.h"
#include "fuse/result_json.h"
#include "restore/restore_files.h"

namespace umbra {

namespace {

using nlohmann::json;

struct RestoreCommandOptions {
    std::vector<std::string> paths;
    std::string from;
    std::optional<std::string> to;
    bool dry_run = false;
    bool as_json = false;
};

// While it lives, signals that ask to stop wait to be asked for, so that no object is left half
// done.
class PatientSignals {
   public:
    PatientSignals() {
        ::sigemptyset(&watched_);
        for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&watched_, number);
        ::pthread_sigmask(SIG_BLOCK, &watched_, &before_);
    }
    ~PatientSignals() {
        // Those that came have had their effect.
        const struct timespec now {};
        while (::sigtimedwait(&watched_, nullptr, &now) > 0) {
        }
        ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
    }
    PatientSignals(const PatientSignals&) = delete;
    PatientSignals& operator=(const PatientSignals&) = delete;

    static bool asked_to_stop() {
        sigset_t pending;
        ::sigpending(&pending);
        return ::sigismember(&pending, SIGINT) == 1 || ::sigismember(&pending, SIGTERM) == 1 ||
               ::sigismember(&pending, SIGHUP) == 1;
    }

   private:
    sigset_t watched_;
    sigset_t before_;
};

std::string shown_path(const std::string& root, const std::string& path) {
    if (path.empty()) return root;
    return root == "/" ? root + path : root + "/" + path;
}

json to_json(const RestoredObject& object, const std::string& root) {
    json shown{{"action", restore_action_name(object.action)},
               {"type", file_type_name(object.type)},
               {"size", object.size},
               {"error", object.error ? json(object.error->text()) : json(nullptr)}};
    set_path(shown, "path", shown_path(root, object.path));
    return shown;
}

void print_summary_notes(const RestoreSummary& summary) {
    if (summary.owners_left > 0) {
        print_note(
            fmt::format("the owner of {} restored files could not be set: only root can do that",
                        summary.owners_left));
    }
    if (summary.extended_left > 0) {
        print_note(
            fmt::format("of {} restored files not all extended attributes could be set: "
                        "the user may not, or the filesystem cannot",
                        summary.extended_left));
    }
    if (summary.interrupted) {
        print_error(
            fmt::format("stopped by a signal: {} restored, {} failed, the rest as it was; "
                        "the same command goes on",
                        summary.changed, summary.failed));
    }
}

Result<ExitCode> run_restore(const RestoreCommandOptions& options) {
    UMBRA_ASSIGN(const RestoreSource source,
                 open_restore(options.paths, options.from, options.to, options.dry_run));
    const PatientSignals signals;
    json objects = json::array();
    RestoreOptions restore;
    restore.dry_run = options.dry_run;
    restore.scope.owner = ::geteuid() == 0;
    restore.interrupted = PatientSignals::asked_to_stop;
    restore.on_object = [&](const RestoredObject& object) {
        const std::string path = shown_path(source.shown_root, object.path);
        if (object.error)
            print_error(
                fmt::format("cannot restore '{}': {}", printable(path), object.error->text()));
        if (options.as_json) {
            objects.push_back(to_json(object, source.shown_root));
        } else if (options.dry_run && !object.error) {
            print_line(
                fmt::format("{:<9} {}", restore_action_name(object.action), printable(path)));
        } else if (options.dry_run && object.action == RestoreAction::kConflict) {
            print_line(fmt::format("{:<9} {}", "conflict", printable(path)));
        }
    };
    Restorer restorer(source.snapshot_root.get(), source.target_root.get(), restore);
    for (const auto& job : source.jobs) UMBRA_TRY(restorer.restore(job.source, job.target));
    if (options.as_json) print_json(objects);
    const RestoreSummary& summary = restorer.summary();
    print_summary_notes(summary);
    return summary.failed > 0 || summary.interrupted ? ExitCode::kRestoreIncomplete
                                                     : ExitCode::kDone;
}

}  // namespace

void add_restore_command(CLI::App& parent, Runner& chosen) {
    auto options = std::make_shared<RestoreCommandOptions>();
    CLI::App* command =
        parent.add_subcommand("restore", "Bring files and folders back as a snapshot has them");
    command->footer(kRestoreExitStatusHelp);
    command->add_option("PATH", options->paths, "Paths in a share; they may have been deleted")
        ->required();
    command->add_option("--from", options->from, "The snapshot: token or label")
        ->required()
        ->type_name("TOKEN");
    command->add_option("--to", options->to, "Put them into this folder instead of where they were")
        ->type_name("DIR");
    command->add_flag("--dry-run", options->dry_run, "Only show what would be done");
    command->add_flag("--json", options->as_json, "Print JSON");
    command->callback([options, &chosen] { chosen = [options] { return run_restore(*options); }; });
}

}  // namespace umbra
