// umbra storage resize: how much space history may take, and what happens when it is full.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/ask_share.h"
#include "cli/command.h"
#include "cli/output.h"
#include "fuse/control_protocol.h"

namespace umbra {

namespace {

using nlohmann::json;

struct ResizeOptions {
    std::string share;
    std::string max_size;
    std::string on_full;
    bool evict = false;
    bool dry_run = false;
    bool as_json = false;
};

void print_snapshots(const json& snapshots) {
    for (const auto& snapshot : snapshots) {
        const std::string label = text_in(snapshot, "label");
        print_line(text_in(snapshot, "token") + (label.empty() ? "" : "  " + printable(label)));
    }
}

std::string names_of(const json& snapshots) {
    std::string names;
    for (const auto& snapshot : snapshots)
        names += (names.empty() ? "" : ", ") + text_in(snapshot, "token");
    return names;
}

// Why nothing was changed, or would be.
ExitCode refuse(const ResizeOptions& options, const json& resize) {
    const auto bytes = [&](const char* key) {
        return human_size(resize.value(key, std::uint64_t{0}));
    };
    std::string text = fmt::format("history takes {}, {} more than {}", bytes("used_bytes"),
                                   bytes("missing_bytes"), bytes("limit_bytes"));
    const json held = resize.value("held", json::array());
    if (resize.value("possible", true)) {
        text += "; the snapshots listed would have to go: delete them, or ask for it with --evict";
    } else if (held.empty()) {
        text += ", and deleting every snapshot would not be enough; give it more";
    } else {
        text += ", and deleting every snapshot that is not held would not be enough; held: " +
                names_of(held) + "; release some ('umbra snapshot release') or give it more";
    }
    if (!options.as_json && resize.value("possible", true))
        print_snapshots(resize.value("delete", json::array()));
    print_error(text);
    return ExitCode::kRefused;
}

Result<ExitCode> run_resize(const ResizeOptions& options) {
    json parameters{{"evict", options.evict}, {"dry_run", options.dry_run}};
    if (!options.max_size.empty()) parameters["max_size"] = options.max_size;
    if (!options.on_full.empty()) parameters["on_full"] = options.on_full;
    UMBRA_ASSIGN(const json resize,
                 ask_share(options.share, control_method::kStorageResize, parameters));
    if (options.as_json) print_json(resize);
    const bool fits = resize.value("missing_bytes", std::uint64_t{0}) == 0;
    const bool would =
        resize.value("resized", false) ||
        (options.dry_run && resize.value("possible", true) && (fits || options.evict));
    if (!would) return refuse(options, resize);
    // Those that went, or would go.
    if (!options.as_json) print_snapshots(resize.value("delete", json::array()));
    return ExitCode::kDone;
}

}  // namespace

void add_storage_resize_command(Command parent) {
    auto options = std::make_shared<ResizeOptions>();
    Command command = parent.add_subcommand(
        "resize", "Change how large history may grow; prints the snapshots that this deletes");
    command.footer(kExitStatusHelp);
    command.add_option("SHARE", options->share, "The share, or any path in it").required();
    command.add_option("--max-size", options->max_size,
                       "SIZE (500M, 20G), N% of the filesystem, or 'unbounded'");
    command.add_option("--on-full", options->on_full,
                       "At that size: 'evict', 'throttle' or 'refuse' (default: as it is)");
    command.add_flag("--evict", options->evict,
                     "Delete the oldest snapshots, as many as needed, if more is used than that");
    command.add_flag("--dry-run", options->dry_run, "Change nothing, show what would be done");
    command.add_flag("--json", options->as_json, "Print JSON");
    command.runs([options] { return run_resize(*options); });
}

}  // namespace umbra
