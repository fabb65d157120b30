// umbra set: shows and changes a share's settings.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "cli/ask_share.h"
#include "cli/command.h"
#include "cli/output.h"
#include "fuse/control_protocol.h"

namespace umbra {

namespace {

using nlohmann::json;

struct SetOptions {
    std::string share;
    std::optional<std::string> name;
    std::optional<std::string> value;
    bool as_json = false;
};

Result<ExitCode> run_set(const SetOptions& options) {
    if (options.name && options.value) {
        UMBRA_TRY(ask_share(options.share, control_method::kSettingsChange,
                            {{*options.name, *options.value}}));
        return ExitCode::kDone;
    }
    UMBRA_ASSIGN(json settings, ask_share(options.share, control_method::kSettings));
    if (options.name) {
        if (!settings.contains(*options.name)) {
            return error_of(ErrorKind::kUsage, EINVAL,
                            fmt::format("there is no setting '{}'; 'umbra set SHARE' lists them",
                                        *options.name));
        }
        settings = {{*options.name, settings[*options.name]}};
    }
    if (options.as_json) {
        print_json(settings);
        return ExitCode::kDone;
    }
    for (const auto& setting : settings.items())
        print_line(fmt::format("{} = {}", setting.key(),
                               printable(text_in(settings, setting.key().c_str()))));
    return ExitCode::kDone;
}

}  // namespace

void add_set_command(Command parent) {
    auto options = std::make_shared<SetOptions>();
    Command command = parent.add_subcommand("set", "Show and change a share's settings");
    command.footer(kExitStatusHelp);
    command.add_option("SHARE", options->share, "The share, or any path in it").required();
    command.add_option(
        "NAME", options->name,
        "The setting: on-event, a shell command run for every event (as root); snapdir, 'root' or "
        "'everywhere'; share-view-max, how many snapshots a listing shows; snapshot-access, "
        "'as-then' or 'and-now'");
    command.add_option("VALUE", options->value, "Its new value; '' for none");
    command.add_flag("--json", options->as_json, "Print JSON");
    command.runs([options] { return run_set(*options); });
}

}  // namespace umbra
