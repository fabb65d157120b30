// umbra mount: shows a share at its mount point, with its history, until it is unmounted.
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/command.h"
#include "cli/output.h"
#include "fuse/daemon.h"
#include "fuse/daemon_options.h"
#include "fuse/mount_place.h"
#include "fuse/registry.h"
#include "fuse/remount.h"

namespace umbra {

namespace {

struct MountCommandOptions {
    std::string share;
    std::optional<std::string> mountpoint;
    bool foreground = false;
    bool read_only = false;
    bool take_over = false;
    std::int64_t wait_seconds = 0;
    std::vector<std::string> mount_options;
};

Result<void> check_root(const MountCommandOptions& options) {
    if (::geteuid() == 0) return {};
    return error_of(ErrorKind::kRefused, EPERM,
                    "cannot mount '" + options.share + "': only root can mount a share");
}

// mount(8)'s "remount", of what is mounted already.
Result<ExitCode> run_remount(const MountCommandOptions& options) {
    std::vector<std::string> lists = options.mount_options;
    if (options.read_only) lists.emplace_back("ro");
    UMBRA_ASSIGN(const RemountOptions remount, parse_remount(lists));
    UMBRA_TRY(check_root(options));
    UMBRA_TRY(remount_share(Registry(), options.mountpoint.value_or(options.share), remount));
    return ExitCode::kDone;
}

Result<ExitCode> run_mount(const MountCommandOptions& options) {
    if (asks_to_remount(options.mount_options)) return run_remount(options);
    DaemonOptions daemon;
    for (const auto& list : options.mount_options) UMBRA_TRY(add_mount_options(daemon, list));
    UMBRA_TRY(check_root(options));
    const Registry registry;
    UMBRA_ASSIGN(const MountPlace place,
                 plan_mount(registry, options.share, options.mountpoint, print_note));
    daemon.share = place.share;
    daemon.mountpoint = place.mountpoint;
    daemon.initialise = place.share == place.mountpoint;
    daemon.read_only = daemon.read_only || options.read_only;
    daemon.take_over = options.take_over;
    if (options.wait_seconds > 0) daemon.wait = std::chrono::seconds(options.wait_seconds);
    if (options.foreground) {
        UMBRA_TRY(run_in_foreground(daemon, registry));
    } else {
        UMBRA_TRY(start_daemon(daemon, registry, print_event));
    }
    return ExitCode::kDone;
}

}  // namespace

void add_mount_command(Command parent) {
    auto options = std::make_shared<MountCommandOptions>();
    Command command =
        parent.add_subcommand("mount", "Mount a share, in place over its folder or elsewhere");
    command.footer(kExitStatusHelp);
    command
        .add_option(
            "SHARE", options->share,
            "The folder; mounted in place it becomes a share with defaults if it is none yet")
        .required();
    command.add_option("MOUNTPOINT", options->mountpoint, "Another folder to mount it at");
    command.add_flag("--foreground", options->foreground,
                     "Serve in this process and log to stderr");
    command.add_flag("--read-only", options->read_only, "Refuse every change");
    command.add_flag("--take-over", options->take_over,
                     "Do not wait for another host's lease: it cannot write any more");
    command
        .add_option("--wait", options->wait_seconds,
                    "Wait so many seconds for a diff area that is missing, or for another host's "
                    "lease to run out")
        .between(0, kLongestWaitSeconds)
        .type_name("SECONDS");
    command
        .add_option("-o", options->mount_options,
                    "Comma separated: writeback, memory=SIZE, lease=SECONDS, wait=SECONDS, debug, "
                    "ro, noexec, "
                    "nosuid, nodev, "
                    "noatime, ...")
        .type_name("OPTIONS")
        .take_all();
    command.runs([options] { return run_mount(*options); });
}

}  // namespace umbra
