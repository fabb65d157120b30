// umbra writers check: reads the definitions and runs what identifies each writer; nothing is
// frozen.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/patient_signals.h"
#include "cli/share_writers.h"
#include "fuse/registry.h"
#include "restore/writer_command.h"

namespace umbra {

namespace {

using nlohmann::json;

struct WritersCheckOptions {
    std::string share;
    std::vector<std::string> names;
    bool as_json = false;
};

WriterReport identify(const WriterDefinition& writer, const std::string& share) {
    const WriterOutcome outcome = run_writer_command(
        writer, WriterStep::kIdentify, {{"UMBRA_SHARE", share}}, "", PatientSignals::asked_to_stop);
    WriterReport report;
    report.name = writer.name;
    report.state = outcome.ok() ? WriterState::kStable : WriterState::kFailedAtIdentify;
    report.error = outcome.error;
    report.sentence = outcome.sentence;
    return report;
}

Result<ExitCode> run_writers_check(const WritersCheckOptions& options) {
    UMBRA_ASSIGN(SharePath found, resolve_share(Registry(), options.share));
    ShareCaller share(std::move(found));
    WriterChoice choice;
    choice.only = options.names;
    UMBRA_ASSIGN(std::vector<WriterDefinition> writers, chosen_writers(share, choice));
    sort_writers(writers);
    const PatientSignals signals;
    std::vector<WriterReport> reports;
    for (const auto& writer : writers) reports.push_back(identify(writer, share.share().root()));
    keep_reports(share, reports, "");
    if (options.as_json) {
        json shown = json::parse(encode_writer_reports(reports), nullptr, false);
        for (auto& one : shown) one.erase("document");
        print_json(shown);
    } else {
        for (const auto& report : reports)
            print_line(fmt::format("{}: {}{}", report.name, writer_state_name(report.state),
                                   report.sentence.empty() ? "" : ": " + report.sentence));
    }
    return any_writer_failed(reports) ? ExitCode::kFailed : ExitCode::kDone;
}

}  // namespace

void add_writers_check_command(Command parent) {
    auto options = std::make_shared<WritersCheckOptions>();
    Command command = parent.add_subcommand(
        "check", "Read the definitions of writers and run their 'identify'; nothing is frozen");
    command.footer(kExitStatusHelp);
    command.add_option("SHARE", options->share, "The share, or any path in it").required();
    command.add_option("NAME", options->names, "These writers only");
    command.add_flag("--json", options->as_json, "Print JSON");
    command.runs([options] { return run_writers_check(*options); });
}

}  // namespace umbra
