// umbra snapshot create: keeps the moment.
#include <ctime>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "cli/command.h"
#include "cli/hold_expiry.h"
#include "cli/output.h"
#include "cli/share_writers.h"
#include "fuse/control_protocol.h"
#include "fuse/registry.h"

namespace umbra {

namespace {

using nlohmann::json;

struct CreateCommandOptions {
    std::string share;
    std::optional<std::string> label;
    std::optional<std::string> hold;
    HoldExpiry expiry;
    WriterChoice writers;
    bool as_json = false;
};

Result<ExitCode> run_create(const CreateCommandOptions& options) {
    json parameters = json::object();
    if (options.label) parameters["label"] = *options.label;
    if (options.hold) parameters["hold"] = *options.hold;
    UMBRA_ASSIGN(const auto expires, options.expiry.resolve(std::time(nullptr)));
    if (expires) parameters["expires"] = *expires;
    UMBRA_ASSIGN(SharePath found, resolve_share(Registry(), options.share));
    ShareCaller share(std::move(found));
    UMBRA_ASSIGN(std::vector<WriterDefinition> writers, chosen_writers(share, options.writers));
    UMBRA_ASSIGN(const json snapshot,
                 writers.empty() ? share.call(control_method::kSnapshotCreate, parameters)
                                 : create_with_writers(share, std::move(writers),
                                                       options.writers.allow_failed, parameters));
    if (options.as_json) {
        print_json(snapshot);
    } else {
        print_line(text_in(snapshot, "token"));
    }
    return ExitCode::kDone;
}

}  // namespace

void add_snapshot_create_command(Command parent) {
    auto options = std::make_shared<CreateCommandOptions>();
    Command command = parent.add_subcommand("create", "Take a snapshot and print its token");
    command.footer(kExitStatusHelp);
    command.add_option("SHARE", options->share, "The share, or any path in it").required();
    command.add_option("--label", options->label, "A name for it, usable instead of the token")
        .type_name("TEXT");
    command.add_option("--hold", options->hold, "Forbid deleting it, for this reason")
        .type_name("REASON");
    options->expiry.add_options(command);
    options->writers.add_snapshot_options(command);
    command.add_flag("--json", options->as_json, "Print JSON");
    command.runs([options] { return run_create(*options); });
}

}  // namespace umbra
