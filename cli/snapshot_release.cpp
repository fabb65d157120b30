// umbra snapshot release: takes holds away.
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "cli/ask_share.h"
#include "cli/command.h"
#include "fuse/control_protocol.h"

namespace umbra {

namespace {

using nlohmann::json;

struct ReleaseOptions {
    std::string share;
    std::string name;
    std::optional<std::string> reason;
};

Result<ExitCode> run_release(const ReleaseOptions& options) {
    json parameters{{"name", options.name}};
    if (options.reason) parameters["reason"] = *options.reason;
    UMBRA_TRY(ask_share(options.share, control_method::kSnapshotRelease, parameters));
    return ExitCode::kDone;
}

}  // namespace

void add_snapshot_release_command(Command parent) {
    auto options = std::make_shared<ReleaseOptions>();
    Command command = parent.add_subcommand("release", "Allow deleting a snapshot again");
    command.footer(kExitStatusHelp);
    command.add_option("SHARE", options->share, "The share, or any path in it").required();
    command.add_option("TOKEN", options->name, "Token or label").required();
    command.add_option("--reason", options->reason, "Take away this hold only (default: all)")
        .type_name("TEXT");
    command.runs([options] { return run_release(*options); });
}

}  // namespace umbra
