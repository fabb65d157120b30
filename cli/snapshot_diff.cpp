// umbra snapshot diff: what changed between two snapshots, or since one.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "cli/ask_share.h"
#include "cli/command.h"
#include "cli/output.h"
#include "fuse/control_protocol.h"

namespace umbra {

namespace {

using nlohmann::json;

struct DiffOptions {
    std::string share;
    std::string from;
    std::optional<std::string> to;
    bool as_json = false;
};

std::string line_of(const json& difference) {
    const std::string change = text_in(difference, "change");
    const std::string path = printable(path_in(difference, "path"));
    if (change == "added") return "+ " + path;
    if (change == "removed") return "- " + path;
    if (change == "modified") return "M " + path;
    if (change == "metadata") return "m " + path;
    if (change == "type-changed") return "T " + path;
    return fmt::format("R {} -> {}", printable(path_in(difference, "old_path")), path);
}

Result<ExitCode> run_diff(const DiffOptions& options) {
    json parameters{{"from", options.from}};
    if (options.to) parameters["to"] = *options.to;
    UMBRA_ASSIGN(const json differences,
                 ask_share(options.share, control_method::kSnapshotDiff, parameters));
    if (options.as_json) {
        print_json(differences);
    } else {
        for (const auto& difference : differences) print_line(line_of(difference));
    }
    return ExitCode::kDone;
}

}  // namespace

void add_snapshot_diff_command(Command parent) {
    auto options = std::make_shared<DiffOptions>();
    Command command =
        parent.add_subcommand("diff", "Show what changed between two snapshots, or since one");
    command.footer(
        std::string("Lines: '+' added, '-' removed, 'M' modified, 'm' only metadata, 'R' renamed, "
                    "'T' type changed\n") +
        kExitStatusHelp);
    command.add_option("SHARE", options->share, "The share, or any path in it").required();
    command.add_option("FROM", options->from, "Token or label").required();
    command.add_option("TO", options->to, "Token or label (default: now)");
    command.add_flag("--json", options->as_json, "Print JSON");
    command.runs([options] { return run_diff(*options); });
}

}  // namespace umbra
