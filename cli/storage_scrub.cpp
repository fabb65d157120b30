// umbra storage scrub: looks for damage in all of the history, and names it.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/command.h"
#include "cli/output.h"
#include "cli/progress_bar.h"
#include "fuse/control_protocol.h"
#include "fuse/share_access.h"

namespace umbra {

namespace {

using nlohmann::json;

struct ScrubOptions {
    std::string share;
    bool as_json = false;
};

// "log/….ulog at offset 4096: preserved data is damaged: /some/file in @GMT-…, @GMT-…"
std::string describe(const json& finding) {
    std::string text = printable(path_in(finding, "file"));
    if (const auto offset = optional_integer(finding, "offset"); offset && *offset)
        text += fmt::format(" at offset {}", **offset);
    text += ": " + text_in(finding, "what");
    if (finding.contains("path") && finding["path"].is_string()) {
        text += ": /" + printable(path_in(finding, "path"));
    } else if (const auto inode = optional_integer(finding, "inode"); inode && *inode) {
        text += fmt::format(": inode {}", **inode);
    }
    std::string tokens;
    for (const auto& token : finding.value("snapshots", json::array()))
        tokens += (tokens.empty() ? " in " : ", ") + token.get<std::string>();
    return text + tokens;
}

Result<ExitCode> run_scrub(const ScrubOptions& options) {
    const Registry registry;
    UMBRA_ASSIGN(const SharePath share, resolve_share(registry, options.share));
    UMBRA_ASSIGN(const std::unique_ptr<ShareAccess> access,
                 open_share(registry, share, print_event));
    ProgressBar bar;
    json findings = json::array();
    json slice{{"cursor", nullptr}};
    do {
        UMBRA_ASSIGN(slice, access->call(control_method::kStorageScrub,
                                         {{"cursor", slice.value("cursor", json())}}));
        for (auto& finding : slice.value("findings", json::array())) {
            bar.clear();
            if (!options.as_json) print_line(describe(finding));
            findings.push_back(std::move(finding));
        }
        bar.show(slice.value("done_bytes", std::uint64_t{0}),
                 slice.value("total_bytes", std::uint64_t{0}));
    } while (slice.value("cursor", json()).is_string());
    bar.clear();
    const std::uint64_t bytes = slice.value("total_bytes", std::uint64_t{0});
    if (options.as_json) {
        print_json({{"bytes", bytes}, {"findings", findings}});
    } else if (findings.empty()) {
        print_line(fmt::format("{} read, no damage", human_size(bytes)));
    } else {
        print_line(fmt::format("{} read, {} damaged", human_size(bytes), findings.size()));
    }
    return findings.empty() ? ExitCode::kDone : ExitCode::kDiffArea;
}

}  // namespace

void add_storage_scrub_command(Command parent) {
    auto options = std::make_shared<ScrubOptions>();
    Command command =
        parent.add_subcommand("scrub", "Look for damage in all of the history, and name it");
    command.footer(kExitStatusHelp);
    command.add_option("SHARE", options->share, "The share, or any path in it").required();
    command.add_flag("--json", options->as_json, "Print JSON");
    command.runs([options] { return run_scrub(*options); });
}

}  // namespace umbra
