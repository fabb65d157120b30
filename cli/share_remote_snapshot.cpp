// umbra share remote-snapshot: what Samba runs when a client asks for a snapshot (vfs_shell_snap).
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/ask_share.h"
#include "cli/command.h"
#include "cli/output.h"
#include "fuse/control_protocol.h"
#include "fuse/registry.h"
#include "fuse/share_path.h"
#include "snapstore/live_tree.h"

namespace umbra {

namespace {

using nlohmann::json;

struct RemoteSnapshotOptions {
    std::string path;      // what is served
    std::string snapshot;  // what `create` printed
};

Result<SharePath> mounted_share(const std::string& path) {
    UMBRA_ASSIGN(SharePath share, resolve_share(Registry(), path));
    if (!share.mounted) {
        return error_of(ErrorKind::kNotFound, ENOENT,
                        fmt::format("'{}' is not mounted; mount it with 'umbra mount'", path));
    }
    return share;
}

Result<ExitCode> run_check(const RemoteSnapshotOptions& options) {
    UMBRA_ASSIGN(const SharePath share, mounted_share(options.path));
    // For those who may take snapshots alone: the settings are for the same.
    UMBRA_TRY(ask_share(share, control_method::kSettings));
    return ExitCode::kDone;
}

Result<ExitCode> run_create(const RemoteSnapshotOptions& options) {
    UMBRA_ASSIGN(const SharePath share, mounted_share(options.path));
    UMBRA_ASSIGN(const json snapshot, ask_share(share, control_method::kSnapshotCreate));
    print_line(fmt::format("{}/{}/{}{}{}", share.root(), kSnapshotsDirectoryName,
                           text_in(snapshot, "token"), share.relative.empty() ? "" : "/",
                           share.relative));
    return ExitCode::kDone;
}

// Deletes what the path names, and only in the share that it was made for.
Result<ExitCode> run_delete(const RemoteSnapshotOptions& options) {
    UMBRA_ASSIGN(const SharePath share, mounted_share(options.path));
    UMBRA_ASSIGN(const SharePath snapshot,
                 resolve_share_path(Registry(), options.snapshot, LastComponent::kKeep));
    if (snapshot.share != share.share || snapshot.token.empty()) {
        return error_of(ErrorKind::kUsage, EINVAL,
                        fmt::format("'{}' is no snapshot of '{}': give the path that 'create' "
                                    "printed",
                                    options.snapshot, share.share));
    }
    UMBRA_ASSIGN(const json result, ask_share(share, control_method::kSnapshotDelete,
                                              {{"names", json::array({snapshot.token})}}));
    if (result.value("failed", json::array()).empty()) return ExitCode::kDone;
    return error_of(ErrorKind::kRefused, EBUSY, text_in(result["failed"].front(), "message"));
}

}  // namespace

void add_share_remote_snapshot_commands(Command parent) {
    Command group = parent.add_subcommand(
        "remote-snapshot", "What Samba runs when a client asks for a snapshot (vfs_shell_snap)");
    group.require_subcommand();
    const auto add = [&](const char* name, const char* what, bool with_snapshot,
                         Result<ExitCode> (*run)(const RemoteSnapshotOptions&)) {
        auto options = std::make_shared<RemoteSnapshotOptions>();
        Command command = group.add_subcommand(name, what);
        command.footer(kExitStatusHelp);
        command.add_option("PATH", options->path, "The path that Samba serves").required();
        if (with_snapshot)
            command.add_option("SNAPSHOT", options->snapshot, "What 'create' printed").required();
        command.runs([options, run] { return run(*options); });
    };
    add("check", "Can snapshots of this path be taken?", false, run_check);
    add("create", "Take a snapshot, and print its path", false, run_create);
    add("delete", "Delete a snapshot", true, run_delete);
}

}  // namespace umbra
