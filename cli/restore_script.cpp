// umbra restore run: executes a restore script, in DiskShadow's language.
#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/patient_signals.h"
#include "cli/script_host.h"
#include "restore/script_metadata.h"
#include "restore/script_parser.h"
#include "restore/script_runner.h"

namespace umbra {

namespace {

struct RunScriptOptions {
    std::string script;
    std::vector<std::string> aliases;  // NAME=VALUE
    bool check = false;
    bool as_lines = false;
};

Result<void> set_aliases(const RunScriptOptions& options, ScriptRunner& runner) {
    for (const auto& text : options.aliases) {
        const std::size_t equals = text.find('=');
        if (equals == std::string::npos || !is_alias_name(text.substr(0, equals)))
            return error_of(ErrorKind::kUsage, EINVAL,
                            fmt::format("'{}' is not NAME=VALUE with a name of letters, digits and "
                                        "underscores",
                                        text));
        runner.set_alias(text.substr(0, equals), text.substr(equals + 1));
    }
    return {};
}

// SCRIPT:LINE: what, why, what to do.
void report(const std::string& script, const ScriptFailure& failure) {
    const std::string where =
        failure.line == 0 ? script : fmt::format("{}:{}", script, failure.line);
    print_error(fmt::format("{}: {}{}", printable(where),
                            failure.verb.empty() ? "" : failure.verb + ": ", failure.error.text()));
}

Result<ExitCode> run_script(const RunScriptOptions& options) {
    const std::string name = options.script == "-" ? "standard input" : options.script;
    UMBRA_ASSIGN(const std::string text, read_bounded_file(options.script, kMaximumScriptBytes));
    const Script script = parse_script(text);
    const PatientSignals signals;
    ShareScriptHost host(options.as_lines);
    ScriptRunner runner(host,
                        options.check ? ScriptRunner::Mode::kCheck : ScriptRunner::Mode::kRun);
    UMBRA_TRY(set_aliases(options, runner));
    std::vector<ScriptFailure> failures;
    for (const auto& problem : script.problems)
        failures.push_back({problem.line, "", problem.error, false});
    if (script.problems.empty() || options.check) {
        for (auto& failure : runner.run(script)) failures.push_back(std::move(failure));
    }
    if (options.check)
        std::stable_sort(failures.begin(), failures.end(),
                         [](const auto& a, const auto& b) { return a.line < b.line; });
    for (const auto& failure : failures) report(name, failure);
    if (failures.empty()) return ExitCode::kDone;
    return failures[0].incomplete ? ExitCode::kRestoreIncomplete : exit_code_of(failures[0].error);
}

}  // namespace

void add_restore_run_command(Command restore) {
    auto options = std::make_shared<RunScriptOptions>();
    Command command =
        restore.add_subcommand("run", "Execute a restore script, in DiskShadow's language");
    command.footer(kRestoreExitStatusHelp);
    command.add_option("SCRIPT", options->script, "A file, or - for standard input").required();
    command.add_flag("--check", options->check, "Parse and resolve it; change nothing");
    command
        .add_option("--alias", options->aliases,
                    "Text that %NAME% stands for in the script; may be repeated")
        .type_name("NAME=VALUE")
        .one_each();
    command.add_flag("--json-lines", options->as_lines,
                     "Print a JSON object a line, as things happen");
    command.runs([options] { return run_script(*options); });
}

}  // namespace umbra
