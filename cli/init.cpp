// umbra init: makes a folder a share.
#include <unistd.h>

#include <memory>
#include <optional>
#include <string>

#include "cli/command.h"
#include "cli/output.h"
#include "fuse/mount_place.h"
#include "fuse/registry.h"
#include "fuse/share_path.h"
#include "snapstore/volume.h"
#include "snapstore/volume_config.h"

namespace umbra {

namespace {

struct InitOptions {
    std::string share;
    std::optional<std::string> diff_area;
    std::string max_size = "10%";
    std::string on_full = "evict";
    std::string on_event;
};

Result<ExitCode> run_init(const InitOptions& options) {
    CreateOptions creation;
    UMBRA_ASSIGN(creation.max_size, parse_size_limit(options.max_size));
    UMBRA_ASSIGN(creation.on_full, parse_on_full(options.on_full));
    creation.on_event = options.on_event;
    UMBRA_TRY(check_event_command(creation.on_event));
    if (::geteuid() != 0) {
        return error_of(ErrorKind::kRefused, EPERM,
                        "cannot make '" + options.share + "' a share: only root can");
    }
    const Registry registry;
    UMBRA_ASSIGN(creation.share, check_share_place(registry, options.share));
    if (options.diff_area) {
        UMBRA_ASSIGN(creation.diff_area,
                     canonical_path(*options.diff_area, LastComponent::kFollow));
        UMBRA_TRY(check_diff_area_place(registry, creation.share, *creation.diff_area));
    }
    UMBRA_TRY(Volume::create(creation));
    return ExitCode::kDone;
}

}  // namespace

void add_init_command(Command parent) {
    auto options = std::make_shared<InitOptions>();
    Command command =
        parent.add_subcommand("init", "Make a folder a share, so that its history can be kept");
    command.footer(kExitStatusHelp);
    command.add_option("SHARE", options->share, "The folder").required();
    command.add_option(
        "--diff-area", options->diff_area,
        "Where history is kept: an empty folder outside the share (default: in SHARE/.umbra)");
    command
        .add_option(
            "--max-size", options->max_size,
            "How large history may grow: SIZE (500M, 20G), N% of the filesystem, or 'unbounded'")
        .with_default();
    command
        .add_option("--on-full", options->on_full,
                    "At that size: 'evict' the oldest snapshots, 'throttle' writers before that, "
                    "or 'refuse' changes")
        .with_default();
    command
        .add_option("--on-event", options->on_event,
                    "A shell command that is run, as root, for every event of the share")
        .type_name("COMMAND");
    command.runs([options] { return run_init(*options); });
}

}  // namespace umbra
