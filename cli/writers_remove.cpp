// umbra writers remove: a writer is asked no more.
#include <memory>
#include <string>

#include "cli/ask_share.h"
#include "cli/command.h"
#include "fuse/control_protocol.h"

namespace umbra {

namespace {

struct WritersRemoveOptions {
    std::string share;
    std::string name;
};

Result<ExitCode> run_writers_remove(const WritersRemoveOptions& options) {
    UMBRA_TRY(ask_share(options.share, control_method::kWriterRemove, {{"name", options.name}}));
    return ExitCode::kDone;
}

}  // namespace

void add_writers_remove_command(Command parent) {
    auto options = std::make_shared<WritersRemoveOptions>();
    Command command = parent.add_subcommand("remove", "Remove a writer from a share");
    command.footer(kExitStatusHelp);
    command.add_option("SHARE", options->share, "The share, or any path in it").required();
    command.add_option("NAME", options->name, "As 'umbra writers list' names it").required();
    command.runs([options] { return run_writers_remove(*options); });
}

}  // namespace umbra
