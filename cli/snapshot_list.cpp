// umbra snapshot list: the snapshots of a share, oldest first.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/ask_share.h"
#include "cli/command.h"
#include "cli/output.h"
#include "fuse/control_protocol.h"

namespace umbra {

namespace {

using nlohmann::json;

struct ListOptions {
    std::string share;
    bool as_json = false;
};

std::string hold_reasons(const json& snapshot) {
    std::string reasons;
    for (const auto& hold : snapshot.value("holds", json::array())) {
        reasons += (reasons.empty() ? "" : ", ") + printable(text_in(hold, "reason"));
        if (const std::string expires = text_in(hold, "expires"); !expires.empty()) {
            reasons += fmt::format(" (until {})", local_time(expires));
        }
    }
    return reasons;
}

Result<ExitCode> run_list(const ListOptions& options) {
    UMBRA_ASSIGN(const json snapshots, ask_share(options.share, control_method::kSnapshotList));
    if (options.as_json) {
        print_json(snapshots);
        return ExitCode::kDone;
    }
    std::vector<std::vector<std::string>> rows;
    for (const auto& snapshot : snapshots) {
        rows.push_back({text_in(snapshot, "token"), local_time(text_in(snapshot, "created")),
                        printable(text_in(snapshot, "label")), hold_reasons(snapshot)});
    }
    if (!rows.empty()) print_table({"TOKEN", "CREATED", "LABEL", "HOLDS"}, rows);
    return ExitCode::kDone;
}

}  // namespace

void add_snapshot_list_command(Command parent) {
    auto options = std::make_shared<ListOptions>();
    Command command = parent.add_subcommand("list", "List the snapshots of a share, oldest first");
    command.footer(kExitStatusHelp);
    command.add_option("SHARE", options->share, "The share, or any path in it").required();
    command.add_flag("--json", options->as_json, "Print JSON");
    command.runs([options] { return run_list(*options); });
}

}  // namespace umbra
