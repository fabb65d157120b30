// umbra snapshot delete: deletes snapshots and gives their space back.
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

struct DeleteOptions {
    std::string share;
    std::vector<std::string> names;
    bool oldest = false;
    bool all = false;
};

// Says which ones stayed and why; the first decides the exit code.
ExitCode report_failures(const json& failed) {
    ExitCode code = ExitCode::kDone;
    for (const auto& failure : failed) {
        print_error(fmt::format("snapshot {} was not deleted: {}", text_in(failure, "token"),
                                text_in(failure, "message")));
        const Error error{failure.value("errno", EIO), error_kind_of(text_in(failure, "kind")), ""};
        if (code == ExitCode::kDone) code = exit_code_of(error);
    }
    return code;
}

Result<ExitCode> run_delete(const DeleteOptions& options) {
    UMBRA_ASSIGN(
        const json done,
        ask_share(options.share, control_method::kSnapshotDelete,
                  {{"names", options.names}, {"oldest", options.oldest}, {"all", options.all}}));
    return report_failures(done.value("failed", json::array()));
}

}  // namespace

void add_snapshot_delete_command(Command parent) {
    auto options = std::make_shared<DeleteOptions>();
    Command command = parent.add_subcommand("delete", "Delete snapshots and give their space back");
    command.footer(kExitStatusHelp);
    command.add_option("SHARE", options->share, "The share, or any path in it").required();
    Argument names = command.add_option("TOKEN", options->names, "Tokens or labels");
    Argument oldest = command.add_flag("--oldest", options->oldest, "Delete the oldest one");
    Argument all = command.add_flag("--all", options->all, "Delete all that nothing holds");
    oldest.excludes(names).excludes(all);
    all.excludes(names);
    command.runs([options] { return run_delete(*options); });
}

}  // namespace umbra
