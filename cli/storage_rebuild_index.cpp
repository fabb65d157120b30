// umbra storage rebuild-index: makes the index of a share that is not mounted anew from its log.
#include <memory>
#include <string>

#include "cli/command.h"
#include "cli/output.h"
#include "fuse/share_access.h"

namespace umbra {

namespace {

Result<ExitCode> run_rebuild_index(const std::string& path) {
    UMBRA_ASSIGN(const SharePath share, resolve_share(Registry(), path));
    UMBRA_TRY(rebuild_index(share, [](const Event& event) {
        // That is what was asked for.
        if (event.id != EventId::kIndexRebuilt) print_event(event);
    }));
    return ExitCode::kDone;
}

}  // namespace

void add_storage_rebuild_index_command(Command parent) {
    auto share = std::make_shared<std::string>();
    Command command = parent.add_subcommand(
        "rebuild-index", "Make the index anew from the undo log; the share must not be mounted");
    command.footer(kExitStatusHelp);
    command.add_option("SHARE", *share, "The share, or any path in it").required();
    command.runs([share] { return run_rebuild_index(*share); });
}

}  // namespace umbra
