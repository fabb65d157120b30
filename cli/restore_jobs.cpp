// umbra restore list, status, resume, undo, forget: restore jobs and what became of them.
#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/ask_share.h"
#include "cli/command.h"
#include "cli/daemon_job_store.h"
#include "cli/output.h"
#include "cli/patient_signals.h"
#include "cli/restore_report.h"
#include "cli/restore_source.h"
#include "cli/share_writers.h"
#include "fuse/control_protocol.h"
#include "fuse/registry.h"
#include "fuse/result_json.h"

namespace umbra {

namespace {

using nlohmann::json;

struct JobOptions {
    std::string job;
    std::optional<std::string> share;
    WriterChoice writers;
    bool as_json = false;
    bool as_lines = false;
};

// The share that was named, or the one that this is run in, or all that are mounted.
Result<std::vector<SharePath>> shares_of(const JobOptions& options) {
    const Registry registry;
    std::vector<SharePath> shares;
    if (options.share) {
        UMBRA_ASSIGN(SharePath share, resolve_share(registry, *options.share));
        shares.push_back(std::move(share));
        return shares;
    }
    if (auto here = resolve_share(registry, "."); here && here->mounted) {
        shares.push_back(std::move(*here));
        return shares;
    }
    UMBRA_ASSIGN(const std::vector<MountedShare> mounted, registry.mounted());
    for (const auto& one : mounted) {
        SharePath share;
        share.share = one.share;
        share.mounted = one;
        shares.push_back(std::move(share));
    }
    return shares;
}

struct FoundJob {
    SharePath share;  // as it was found
    SeenShare seen;
    uid_t uid = 0;
    bool running = false;
    std::string created;
};

Result<FoundJob> find_job(const JobOptions& options) {
    UMBRA_ASSIGN(const std::vector<SharePath> shares, shares_of(options));
    std::optional<Error> why;
    for (const auto& share : shares) {
        // Mounted before anything else is asked: that forks, which only a process of one thread
        // can.
        UMBRA_ASSIGN(SeenShare seen, see_share(share));
        const auto jobs = ask_share(seen.share, control_method::kRestoreList);
        if (!jobs) why = jobs.error();
        if (!jobs || !jobs->is_array()) continue;
        for (const auto& job : *jobs) {
            if (text_in(job, "job") != options.job) continue;
            return FoundJob{share, std::move(seen), job.value("user", uid_t{0}),
                            job.value("running", false), text_in(job, "created")};
        }
    }
    if (why && shares.size() == 1) return tl::make_unexpected(*why);
    return error_of(
        ErrorKind::kNotFound, ENOENT,
        fmt::format("there is no restore job '{}'{}: 'umbra restore list' shows yours", options.job,
                    options.share ? "" : " in the shares that are mounted"));
}

// A user's job is gone on with by root with that user's rights, and no others.
Result<void> become(uid_t uid) {
    if (::geteuid() != 0 || uid == 0) return {};
    const struct passwd* user = ::getpwuid(uid);
    const gid_t group = user != nullptr ? user->pw_gid : static_cast<gid_t>(uid);
    const int groups =
        user != nullptr ? ::initgroups(user->pw_name, group) : ::setgroups(0, nullptr);
    if (groups != 0 || ::setresgid(group, group, group) != 0 || ::setresuid(uid, uid, uid) != 0)
        return errno_error(errno, fmt::format("cannot take the rights of user {}", uid));
    return {};
}

std::string shown_root_of(const SharePath& share, const std::optional<JobSpec>& spec) {
    if (!spec) return share.root();
    return spec->in_share ? shown_path(share.root(), spec->target_root) : spec->target_root;
}

Result<RestoreJob> read_whole_job(const SharePath& share, const std::string& id) {
    UMBRA_ASSIGN(const std::vector<std::string> records, read_job_records(share, id));
    return read_job(records);
}

// --- list ---------------------------------------------------------------------------------------

Result<json> listed_jobs(const SharePath& share) {
    UMBRA_ASSIGN(const json jobs, ask_share(share, control_method::kRestoreList));
    json listed = json::array();
    for (const auto& job : jobs) {
        const std::string id = text_in(job, "job");
        const auto whole = read_whole_job(share, id);
        json one{{"job", id},
                 {"user", job.value("user", json())},
                 {"created", job.value("created", json())},
                 {"state",
                  whole ? json(job_state(*whole, job.value("running", false))) : json("damaged")},
                 {"kind", nullptr},
                 {"snapshot", nullptr},
                 {"error", whole ? json(nullptr) : json(whole.error().text())}};
        set_path(one, "share", share.share);
        if (whole && whole->spec) {
            one["kind"] = job_kind_name(whole->spec->kind);
            one["snapshot"] = whole->spec->token;
            set_path(one, "target", shown_root_of(share, whole->spec));
        }
        listed.push_back(std::move(one));
    }
    return listed;
}

Result<ExitCode> run_list(const JobOptions& options) {
    UMBRA_ASSIGN(const std::vector<SharePath> shares, shares_of(options));
    json all = json::array();
    for (const auto& share : shares) {
        const auto jobs = listed_jobs(share);
        if (!jobs && shares.size() == 1) return tl::make_unexpected(jobs.error());
        if (!jobs) {
            print_note(fmt::format("the jobs of '{}' cannot be listed: {}", share.share,
                                   jobs.error().text()));
            continue;
        }
        for (const auto& job : *jobs) all.push_back(job);
    }
    if (options.as_json) {
        print_json(all);
        return ExitCode::kDone;
    }
    if (all.empty()) return ExitCode::kDone;
    std::vector<std::vector<std::string>> rows;
    for (const auto& job : all)
        rows.push_back({text_in(job, "job"), text_in(job, "kind"), text_in(job, "state"),
                        local_time(text_in(job, "created")), text_in(job, "snapshot"),
                        printable(path_in(job, "target"))});
    print_table({"JOB", "KIND", "STATE", "CREATED", "SNAPSHOT", "TARGET"}, rows);
    return ExitCode::kDone;
}

// --- status -------------------------------------------------------------------------------------

void print_job(const json& job) {
    print_line(fmt::format("{}  {}  {}  from {} to {}", text_in(job, "job"), text_in(job, "kind"),
                           text_in(job, "state"), text_in(job, "snapshot"),
                           printable(path_in(job, "target"))));
    for (const auto& component : job.at("components")) {
        const std::string reason = text_in(component, "reason");
        print_line(fmt::format("component {}: {} {}{}", printable(text_in(component, "name")),
                               text_in(component, "status"), component.value("status_number", 0),
                               reason.empty() ? "" : ": " + printable(reason)));
        for (const auto& path : component.at("paths")) {
            const std::string why = text_in(path, "reason");
            print_line(fmt::format("  {:<9} {} {:<9} {}{}", text_in(path, "status"),
                                   path.value("status_number", 0), text_in(path, "action"),
                                   printable(path_in(path, "path")),
                                   why.empty() ? "" : ": " + printable(why)));
        }
    }
}

Result<ExitCode> run_status(const JobOptions& options) {
    UMBRA_ASSIGN(const FoundJob found, find_job(options));
    const SeenShare& seen = found.seen;
    DaemonJobStore store(seen.share);
    ShareRoots roots(seen.share.root());
    RunOptions run;
    run.scope.owner = ::geteuid() == 0;
    UMBRA_ASSIGN(const RestoreJob recorded, read_whole_job(seen.share, options.job));
    // While it is run its journal says more than the disk.
    auto job = found.running ? Result<RestoreJob>(recorded)
                             : JobRunner(store, roots, run).look(options.job);
    if (!job) return forward_error(job);
    json shown = job_json(options.job, *job, shown_root_of(found.share, job->spec));
    shown["state"] = job_state(recorded, found.running);
    shown["running"] = found.running;
    shown["user"] = found.uid;
    shown["created"] = found.created;
    if (options.as_json) {
        print_json(shown);
    } else {
        print_job(shown);
    }
    return ExitCode::kDone;
}

// --- resume, undo, forget -----------------------------------------------------------------------

// What the writers of the job's files are told: going back is a restore of what was there before.
JobSpec writers_spec(const RestoreJob& job, bool undo) {
    JobSpec spec = job.spec.value_or(JobSpec());
    // Their paths are in records of their own.
    spec.components.clear();
    for (const auto& component : job.components) spec.components.push_back(component.spec);
    if (!undo) return spec;
    spec.kind = JobKind::kUndo;
    if (!job.runs.empty()) spec.token = job.runs.front().before;
    return spec;
}

Result<ExitCode> run_again(const JobOptions& options, bool undo) {
    UMBRA_ASSIGN(const FoundJob found, find_job(options));
    if (!found.share.mounted && found.uid != 0)
        return error_of(ErrorKind::kRefused, EPERM,
                        fmt::format("restore job '{}' is user {}'s: mount the share first, so that "
                                    "it goes on with that user's rights",
                                    options.job, found.uid));
    const SeenShare& seen = found.seen;
    UMBRA_TRY(become(found.uid));
    UMBRA_ASSIGN(const RestoreJob job, read_whole_job(seen.share, options.job));
    const PatientSignals signals;
    RestoreReport report(
        {shown_root_of(found.share, job.spec), options.as_json, options.as_lines, false});
    RunOptions run = report.run_options();
    run.untouched = ask_untouched(seen.share);
    run.changed = ask_changed(seen.share);
    DaemonJobStore store(seen.share);
    ShareRoots roots(seen.share.root());
    JobRunner runner(store, roots, run);
    const auto go_on = [&] { return undo ? runner.undo(options.job) : runner.resume(options.job); };
    bool failed_after = false;
    UMBRA_ASSIGN(const JobOutcome outcome,
                 restore_with_writers(seen.share, writers_spec(job, undo),
                                      shown_root_of(found.share, job.spec), options.writers, go_on,
                                      failed_after));
    const ExitCode code = report.finish(outcome);
    return code == ExitCode::kDone && failed_after ? ExitCode::kFailed : code;
}

Result<ExitCode> run_forget(const JobOptions& options) {
    UMBRA_ASSIGN(const std::vector<SharePath> shares, shares_of(options));
    std::optional<Error> why;
    for (const auto& share : shares) {
        const auto done = ask_share(share, control_method::kRestoreForget, {{"job", options.job}});
        if (done) return ExitCode::kDone;
        if (!why || done.error().kind != ErrorKind::kNotFound) why = done.error();
    }
    if (why) return tl::make_unexpected(*why);
    return error_of(
        ErrorKind::kNotFound, ENOENT,
        fmt::format("there is no restore job '{}' in the shares that are mounted", options.job));
}

Command add_job_command(Command restore, const char* name, const char* what,
                        const std::shared_ptr<JobOptions>& options) {
    Command command = restore.add_subcommand(name, what);
    command.footer(kRestoreExitStatusHelp);
    command.add_option("JOB", options->job, "As 'umbra restore list' names it").required();
    command.add_option(
        "SHARE", options->share,
        "The share, or any path in it (default: the one you are in, or all that are mounted)");
    return command;
}

}  // namespace

void add_restore_job_commands(Command restore) {
    auto options = std::make_shared<JobOptions>();
    Command list = restore.add_subcommand("list", "List restore jobs");
    list.footer(kExitStatusHelp);
    list.add_option(
        "SHARE", options->share,
        "The share, or any path in it (default: the one you are in, or all that are mounted)");
    list.add_flag("--json", options->as_json, "Print JSON");
    list.runs([options] { return run_list(*options); });

    Command status =
        add_job_command(restore, "status", "Show what a job has restored, path by path", options);
    status.add_flag("--json", options->as_json, "Print JSON");
    status.runs([options] { return run_status(*options); });

    for (const bool undo : {false, true}) {
        Command again = add_job_command(
            restore, undo ? "undo" : "resume",
            undo ? "Put back what a job has changed" : "Go on with a job that was interrupted",
            options);
        options->writers.add_restore_options(again);
        again.add_flag("--json", options->as_json, "Print JSON at the end");
        again.add_flag("--json-lines", options->as_lines,
                       "Print a JSON object a line, as things happen");
        again.runs([options, undo] { return run_again(*options, undo); });
    }

    Command forget = add_job_command(
        restore, "forget", "Remove a job, and release the snapshots of before it", options);
    forget.runs([options] { return run_forget(*options); });
}

}  // namespace umbra
