// umbra snapshot hold: forbids deleting a snapshot.
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/ask_share.h"
#include "cli/command.h"
#include "cli/hold_expiry.h"
#include "cli/output.h"
#include "fuse/control_protocol.h"

namespace umbra {

namespace {

using nlohmann::json;

struct HoldOptions {
    std::string share;
    std::string name;
    std::string reason = "manual";
    HoldExpiry expiry;
};

Result<ExitCode> run_hold(const HoldOptions& options) {
    json parameters{{"name", options.name}, {"reason", options.reason}};
    UMBRA_ASSIGN(const auto expires, options.expiry.resolve(std::time(nullptr)));
    if (expires) parameters["expires"] = *expires;
    UMBRA_TRY(ask_share(options.share, control_method::kSnapshotHold, parameters));
    return ExitCode::kDone;
}

}  // namespace

void add_snapshot_hold_command(Command parent) {
    auto options = std::make_shared<HoldOptions>();
    Command command = parent.add_subcommand("hold", "Forbid deleting a snapshot");
    command.footer(kExitStatusHelp);
    command.add_option("SHARE", options->share, "The share, or any path in it").required();
    command.add_option("TOKEN", options->name, "Token or label").required();
    command.add_option("--reason", options->reason, "Why, and the name to release it by")
        .type_name("TEXT")
        .with_default();
    options->expiry.add_options(command);
    command.runs([options] { return run_hold(*options); });
}

}  // namespace umbra
