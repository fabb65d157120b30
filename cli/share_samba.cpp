// umbra share samba: what smb.conf needs to serve a share.
#include <fmt/format.h>

#include <filesystem>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "cli/ask_share.h"
#include "cli/command.h"
#include "cli/output.h"
#include "fuse/control_protocol.h"
#include "fuse/registry.h"
#include "fuse/samba_section.h"
#include "fuse/share_path.h"
#include "snapstore/view_settings.h"

namespace umbra {

namespace {

using nlohmann::json;

struct ShareSambaOptions {
    std::string share;
    std::optional<std::string> name;
    bool remote_snapshots = false;
};

Result<ExitCode> run_share_samba(const ShareSambaOptions& options) {
    UMBRA_ASSIGN(const SharePath share, resolve_share(Registry(), options.share));
    UMBRA_ASSIGN(const json settings, ask_share(share, control_method::kSettings));
    SambaShare samba;
    samba.mountpoint = share.root();
    samba.path = share.relative.empty() ? share.root() : share.root() + "/" + share.relative;
    samba.name = options.name.value_or(std::filesystem::path(samba.path).filename().string());
    samba.snapdir_everywhere = text_in(settings, kSnapdirSetting) == "everywhere";
    if (options.remote_snapshots) {
        std::error_code failure;
        samba.remote_snapshots_program =
            std::filesystem::read_symlink("/proc/self/exe", failure).string();
        if (failure) return errno_error(failure.value(), "finding the umbra program");
    }
    UMBRA_ASSIGN(const std::string section, samba_section(samba));
    std::cout << section;
    if (!share.mounted)
        print_note(
            fmt::format("'{}' is not mounted: mount it before Samba serves it", share.share));
    return ExitCode::kDone;
}

}  // namespace

void add_share_samba_command(Command parent) {
    auto options = std::make_shared<ShareSambaOptions>();
    Command command =
        parent.add_subcommand("samba", "Print the section of smb.conf that serves a share");
    command.footer(kExitStatusHelp);
    command.add_option("SHARE", options->share, "The share, or a folder in it, to be served")
        .required();
    command.add_option("--name", options->name,
                       "What clients see it as (default: the folder's name)");
    command.add_flag("--remote-snapshots", options->remote_snapshots,
                     "Clients may create and delete snapshots (vfs_shell_snap)");
    command.runs([options] { return run_share_samba(*options); });
}

}  // namespace umbra
