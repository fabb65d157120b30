// umbra umount: unmounts a share and waits until its volume is closed.
#include <memory>
#include <string>

#include "cli/command.h"
#include "fuse/registry.h"
#include "fuse/share_access.h"

namespace umbra {

namespace {

Result<ExitCode> run_umount(const std::string& share) {
    UMBRA_TRY(unmount_share(Registry(), share));
    return ExitCode::kDone;
}

}  // namespace

void add_umount_command(CLI::App& parent, Runner& chosen) {
    auto share = std::make_shared<std::string>();
    CLI::App* command =
        parent.add_subcommand("umount", "Unmount a share; its files stay in its folder");
    command->footer(kExitStatusHelp);
    command->add_option("SHARE", *share, "The share, or any path in it")->required();
    command->callback([share, &chosen] { chosen = [share] { return run_umount(*share); }; });
}

}  // namespace umbra
