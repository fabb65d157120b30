// umbra share nfs: prints how a share is made known to an NFS server.
#include <memory>
#include <string>
#include <vector>

#include "cli/ask_share.h"
#include "cli/command.h"
#include "cli/output.h"
#include "fuse/control_protocol.h"
#include "fuse/nfs_export.h"

namespace umbra {

namespace {

struct ShareNfsOptions {
    std::string share;
    std::vector<std::string> clients;
    bool read_only = false;
    bool kernel = false;
};

Result<ExitCode> run_share_nfs(const ShareNfsOptions& options) {
    UMBRA_ASSIGN(const nlohmann::json status, ask_share(options.share, control_method::kStatus));
    const bool mounted = status.value("mounted", false);
    NfsExport exported{path_in(status, mounted ? "mountpoint" : "share"), text_in(status, "uuid"),
                       options.clients, options.read_only || status.value("read_only", false)};
    UMBRA_ASSIGN(const std::string text,
                 options.kernel ? kernel_export(exported) : ganesha_export(exported));
    if (!mounted) {
        print_note("the share is not mounted: mount it before the NFS server starts, at this path");
    }
    print_line(text.substr(0, text.size() - 1));
    return ExitCode::kDone;
}

}  // namespace

void add_share_nfs_command(Command parent) {
    auto options = std::make_shared<ShareNfsOptions>();
    Command command = parent.add_subcommand("nfs", "Print the export of a share for an NFS server");
    command.footer(kExitStatusHelp);
    command.add_option("SHARE", options->share, "The share, or any path in it").required();
    command
        .add_option("--clients", options->clients,
                    "Who may mount it: addresses, networks or names, comma separated (default: "
                    "everybody who reaches the server)")
        .comma_separated();
    command.add_flag("--read-only", options->read_only, "Let nobody change anything");
    command.add_flag("--kernel", options->kernel,
                     "For the kernel's server (/etc/exports) instead of nfs-ganesha");
    command.runs([options] { return run_share_nfs(*options); });
}

}  // namespace umbra
