// umbra restore: brings files and folders back as a snapshot has them; umbra revert: a whole share.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/daemon_job_store.h"
#include "cli/output.h"
#include "cli/patient_signals.h"
#include "cli/restore_report.h"
#include "cli/restore_run.h"
#include "cli/restore_source.h"
#include "cli/share_writers.h"

namespace umbra {

namespace {

struct RestoreCommandOptions {
    std::vector<std::string> paths;
    std::vector<std::string> components;  // NAME=PATH
    std::string from;
    std::optional<std::string> to;
    std::string method = "merge";
    std::vector<std::string> include;
    std::vector<std::string> exclude;
    bool in_place = false;
    bool replace_open = false;
    bool dry_run = false;
    WriterChoice writers;
    bool as_json = false;
    bool as_lines = false;
};

struct NamedPath {
    std::string component;
    std::string path;
};

// The paths without a component of their own are one.
Result<std::vector<NamedPath>> named_paths(const RestoreCommandOptions& options) {
    std::vector<NamedPath> named;
    for (const auto& path : options.paths) named.push_back({"restore", path});
    for (const auto& text : options.components) {
        const std::size_t equals = text.find('=');
        if (equals == 0 || equals == std::string::npos || equals + 1 == text.size())
            return error_of(ErrorKind::kUsage, EINVAL,
                            fmt::format("'{}' is not NAME=PATH: --component names a component and "
                                        "one of its paths",
                                        text));
        named.push_back({text.substr(0, equals), text.substr(equals + 1)});
    }
    if (named.empty())
        return error_of(ErrorKind::kUsage, EINVAL,
                        "PATH is required: name what to restore; see 'umbra restore --help'");
    if (options.from.empty())
        return error_of(ErrorKind::kUsage, EINVAL,
                        "--from is required: name the snapshot; see 'umbra restore --help'");
    return named;
}

ComponentSpec& component_named(JobSpec& spec, const std::string& name,
                               const RestoreCommandOptions& options, RestoreMethod method) {
    const auto found = std::find_if(spec.components.begin(), spec.components.end(),
                                    [&](const auto& one) { return one.name == name; });
    if (found != spec.components.end()) return *found;
    ComponentSpec made;
    made.name = name;
    made.method = method;
    made.include = options.include;
    made.exclude = options.exclude;
    made.in_place = options.in_place;
    made.replace_open = options.replace_open;
    spec.components.push_back(std::move(made));
    return spec.components.back();
}

Result<ExitCode> run_and_report(const RestoreSource& source, const JobSpec& spec,
                                const RestoreCommandOptions& options, const RunOptions& run,
                                RestoreReport& report) {
    bool failed_after = false;
    UMBRA_ASSIGN(const JobOutcome outcome,
                 restore_with_writers(
                     source.share, spec, source.shown_root, options.writers,
                     [&] { return run_job(source, spec, run); }, failed_after));
    const ExitCode code = report.finish(outcome);
    return code == ExitCode::kDone && failed_after ? ExitCode::kFailed : code;
}

Result<ExitCode> run_restore(const RestoreCommandOptions& options) {
    UMBRA_ASSIGN(const std::vector<NamedPath> named, named_paths(options));
    const auto method = restore_method_of(options.method);
    if (!method)
        return error_of(ErrorKind::kUsage, EINVAL,
                        fmt::format("there is no method '{}'; there are: merge, replace, "
                                    "if-missing, if-can-replace, mirror",
                                    options.method));
    std::vector<std::string> paths;
    for (const auto& one : named) paths.push_back(one.path);
    UMBRA_ASSIGN(const RestoreSource source,
                 open_restore(paths, options.from, options.to, options.dry_run));
    JobSpec spec = source.spec;
    for (std::size_t i = 0; i < named.size(); ++i)
        component_named(spec, named[i].component, options, *method)
            .paths.push_back(source.paths[i]);
    const PatientSignals signals;
    RestoreReport report({source.shown_root, options.as_json, options.as_lines, options.dry_run});
    RunOptions run = report.run_options();
    run.untouched = ask_untouched(source.share);
    run.changed = ask_changed(source.share);
    if (options.dry_run) return show_plan(source, spec, report, run);
    return run_and_report(source, spec, options, run, report);
}

Result<ExitCode> run_revert(const std::string& share, const std::string& token,
                            const RestoreCommandOptions& options) {
    UMBRA_ASSIGN(const SharePath found, resolve_share(Registry(), share));
    UMBRA_ASSIGN(const RestoreSource source,
                 open_restore({found.root()}, token, std::nullopt, options.dry_run));
    JobSpec spec = source.spec;
    spec.kind = JobKind::kRevert;
    component_named(spec, "share", options, RestoreMethod::kMirror).paths = {{"", ""}};
    const PatientSignals signals;
    RestoreReport report({source.shown_root, options.as_json, options.as_lines, options.dry_run});
    RunOptions run = report.run_options();
    run.untouched = ask_untouched(source.share);
    run.changed = ask_changed(source.share);
    if (options.dry_run) return show_plan(source, spec, report, run);
    return run_and_report(source, spec, options, run, report);
}

void add_common_options(Command command, RestoreCommandOptions& options) {
    command.add_flag("--in-place", options.in_place,
                     "Write only the blocks that differ, into the files as they are");
    command.add_flag("--replace-open", options.replace_open,
                     "Also replace files that programs have open for writing");
    command.add_flag("--dry-run", options.dry_run, "Only show what would be done");
    options.writers.add_restore_options(command);
    command.add_flag("--json", options.as_json, "Print JSON at the end");
    command.add_flag("--json-lines", options.as_lines,
                     "Print a JSON object a line, as things happen");
}

}  // namespace

Command add_restore_command(Command parent) {
    auto options = std::make_shared<RestoreCommandOptions>();
    Command command =
        parent.add_subcommand("restore", "Bring files and folders back as a snapshot has them");
    command.footer(kRestoreExitStatusHelp);
    command.add_option("PATH", options->paths, "Paths in a share; they may have been deleted");
    command.add_option("--from", options->from, "The snapshot: token or label").type_name("TOKEN");
    command
        .add_option("--component", options->components,
                    "A path of a named component, restored as a unit; may be repeated")
        .type_name("NAME=PATH")
        .one_each();
    command.add_option("--to", options->to, "Put them into this folder instead of where they were")
        .type_name("DIR");
    command
        .add_option("--method", options->method,
                    "merge (default), replace, if-missing, if-can-replace or mirror")
        .type_name("METHOD");
    command.add_option("--include", options->include, "Only files that match; may be repeated")
        .type_name("PATTERN")
        .one_each();
    command.add_option("--exclude", options->exclude, "Not what matches; may be repeated")
        .type_name("PATTERN")
        .one_each();
    add_common_options(command, *options);
    command.runs([options] { return run_restore(*options); });
    return command;
}

void add_revert_command(Command parent) {
    auto options = std::make_shared<RestoreCommandOptions>();
    auto share = std::make_shared<std::string>();
    Command command = parent.add_subcommand(
        "revert", "Bring a whole share back as a snapshot has it; later snapshots stay");
    command.footer(kRestoreExitStatusHelp);
    command.add_option("SHARE", *share, "The share, or any path in it").required();
    command.add_option("TOKEN", options->from, "The snapshot: token or label").required();
    add_common_options(command, *options);
    command.runs([options, share] { return run_revert(*share, options->from, *options); });
}

}  // namespace umbra
