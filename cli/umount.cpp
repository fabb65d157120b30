// umbra umount: unmounts a share and waits until its volume is closed.
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/share_or_all.h"
#include "fuse/registry.h"
#include "fuse/share_access.h"

namespace umbra {

namespace {

Result<ExitCode> run_umount(const ShareOrAll& options) {
    return for_each_share(
        options, [](const std::string& share) { return unmount_share(Registry(), share); });
}

}  // namespace

void add_umount_command(Command parent) {
    auto which = std::make_shared<ShareOrAll>();
    Command command =
        parent.add_subcommand("umount", "Unmount a share; its files stay in its folder");
    command.footer(kExitStatusHelp);
    add_share_or_all(command, *which);
    command.runs([which] { return run_umount(*which); });
}

}  // namespace umbra
