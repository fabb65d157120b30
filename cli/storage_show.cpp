// umbra storage show: the space that history takes.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/ask_share.h"
#include "cli/command.h"
#include "cli/output.h"
#include "fuse/control_protocol.h"

namespace umbra {

namespace {

using nlohmann::json;

struct ShowOptions {
    std::string share;
    bool as_json = false;
};

void print_storage(const json& storage) {
    const auto bytes = [&](const char* key) {
        return human_size(storage.value(key, std::uint64_t{0}));
    };
    const auto show = [](const char* name, const std::string& value) {
        print_line(fmt::format("{:<12} {}", name, value));
    };
    show("diff area", printable(path_in(storage, "diff_area")));
    show("used", bytes("used_bytes"));
    show("  undo log", bytes("log_bytes"));
    show("  index", bytes("index_bytes"));
    show("  limbo", bytes("limbo_bytes"));
    show("  jobs", bytes("job_bytes"));
    const bool limited = storage.contains("limit_bytes") && storage["limit_bytes"].is_number();
    show("limit", limited
                      ? fmt::format("{} ({})", bytes("limit_bytes"), text_in(storage, "max_size"))
                      : "none");
    show("filled", fill_in(storage));
    show("when full", text_in(storage, "on_full"));
    show("reserved", bytes("reserved_bytes"));
    show("free", bytes("filesystem_free_bytes"));
    std::vector<std::vector<std::string>> rows;
    for (const auto& snapshot : storage.value("snapshots", json::array())) {
        rows.push_back({text_in(snapshot, "token"),
                        human_size(snapshot.value("exclusive_bytes", std::uint64_t{0})),
                        printable(text_in(snapshot, "label"))});
    }
    if (rows.empty()) return;
    print_line("");
    print_table({"TOKEN", "FREED BY DELETING", "LABEL"}, rows, {1});
}

Result<ExitCode> run_show(const ShowOptions& options) {
    UMBRA_ASSIGN(const json storage, ask_share(options.share, control_method::kStorageShow));
    if (options.as_json) {
        print_json(storage);
    } else {
        print_storage(storage);
    }
    return ExitCode::kDone;
}

}  // namespace

void add_storage_show_command(Command parent) {
    auto options = std::make_shared<ShowOptions>();
    Command command = parent.add_subcommand(
        "show", "Show the space that history takes, and what each snapshot holds");
    command.footer(kExitStatusHelp);
    command.add_option("SHARE", options->share, "The share, or any path in it").required();
    command.add_flag("--json", options->as_json, "Print JSON");
    command.runs([options] { return run_show(*options); });
}

}  // namespace umbra
