// umbra restart: makes a share's daemon go on as the program that is installed now; and the command
// that it does that by.
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/share_or_all.h"
#include "fuse/daemon.h"
#include "fuse/registry.h"
#include "fuse/share_access.h"

namespace umbra {

namespace {

struct GoOnOptions {
    int descriptor = -1;
    bool check = false;
};

Result<ExitCode> run_go_on(const GoOnOptions& options) {
    UMBRA_TRY(options.check ? check_hand_over(options.descriptor) : go_on(options.descriptor));
    return ExitCode::kDone;
}

Result<ExitCode> run_restart(const ShareOrAll& options) {
    return for_each_share(
        options, [](const std::string& share) { return restart_daemon(Registry(), share); });
}

}  // namespace

void add_restart_command(Command parent) {
    auto which = std::make_shared<ShareOrAll>();
    Command command = parent.add_subcommand(
        "restart", "Restart a share's daemon; what is open in the share stays open");
    command.footer(kExitStatusHelp);
    add_share_or_all(command, *which);
    command.runs([which] { return run_restart(*which); });

    // What a daemon starts; of no use to anybody else.
    auto options = std::make_shared<GoOnOptions>();
    Command hidden = parent.add_subcommand("go-on", "");
    hidden.hide();
    hidden.add_option("DESCRIPTOR", options->descriptor, "").required();
    hidden.add_flag("--check", options->check, "");
    hidden.runs([options] { return run_go_on(*options); });
}

}  // namespace umbra
