// umbra status: what is mounted, and how a share is.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/ask_share.h"
#include "cli/command.h"
#include "cli/output.h"
#include "fuse/control_protocol.h"
#include "fuse/registry.h"

namespace umbra {

namespace {

using nlohmann::json;

struct StatusOptions {
    std::string share;
    bool as_json = false;
};

std::string used_and_limit(const json& space) {
    std::string used = human_size(space.value("used_bytes", std::uint64_t{0}));
    const auto limit = space.find("limit_bytes");
    if (limit == space.end() || !limit->is_number()) return used;
    return fmt::format("{} of {}", used, human_size(limit->get<std::uint64_t>()));
}

std::uint64_t total_requests(const json& requests) {
    std::uint64_t total = 0;
    for (const auto& count : requests)
        total += count.is_number_unsigned() ? count.get<std::uint64_t>() : 0;
    return total;
}

std::string restarted(std::uint64_t times) {
    if (times == 0) return "";
    return times == 1 ? ", restarted once" : fmt::format(", restarted {} times", times);
}

// The newest event; null where there is none, or where the caller may not see events.
json last_event(const std::string& share) {
    const auto events = ask_share(share, control_method::kEvents);
    return events && events->is_array() && !events->empty() ? events->back() : json();
}

std::string event_line(const json& event) {
    return fmt::format("{}: {} {}: {}", local_time(text_in(event, "time")),
                       event.value("number", 0), text_in(event, "name"),
                       printable(text_in(event, "message")));
}

void print_one(const json& status) {
    const auto show = [](const char* name, const std::string& value) {
        print_line(fmt::format("{:<12} {}", name, value));
    };
    show("share", printable(path_in(status, "share")));
    show("uuid", text_in(status, "uuid"));
    if (status.value("mounted", false)) {
        show("mounted",
             fmt::format("at {} since {}, process {}{}", printable(path_in(status, "mountpoint")),
                         local_time(text_in(status, "mounted_since")), status.value("pid", 0),
                         restarted(status.value("restarts", std::uint64_t{0}))));
        show("options", text_in(status, "options"));
        show("clients",
             fmt::format("{} of the control socket", status.value("clients", std::uint64_t{0})));
        const json requests = status.value("requests", json());
        if (requests.is_object()) {
            show("requests", fmt::format("{}, {} nodes known", total_requests(requests),
                                         status.value("known_nodes", std::uint64_t{0})));
        }
    } else {
        show("mounted", "no");
    }
    const std::string newest = text_in(status, "newest");
    show("snapshots", fmt::format("{}{}", status.value("snapshots", std::uint64_t{0}),
                                  newest.empty() ? "" : ", newest " + newest));
    show("diff area", printable(path_in(status, "diff_area")));
    show("history",
         fmt::format("{}; when full: {}", used_and_limit(status.value("space", json::object())),
                     text_in(status, "on_full")));
    show("filled", fill_in(status.value("space", json::object())));
    const json event = status.value("last_event", json());
    if (event.is_object()) show("last event", event_line(event));
}

void print_all(const std::vector<json>& all) {
    std::vector<std::vector<std::string>> rows;
    for (const auto& status : all) {
        rows.push_back({printable(path_in(status, "share")),
                        printable(path_in(status, "mountpoint")),
                        std::to_string(status.value("snapshots", std::uint64_t{0})),
                        used_and_limit(status.value("space", json::object())),
                        local_time(text_in(status, "mounted_since")), text_in(status, "options")});
    }
    print_table({"SHARE", "MOUNTED AT", "SNAPSHOTS", "HISTORY", "SINCE", "OPTIONS"}, rows, {2});
}

Result<ExitCode> show_all(bool as_json) {
    ExitCode code = ExitCode::kDone;
    UMBRA_ASSIGN(const std::vector<MountedShare> mounted, Registry().mounted());
    std::vector<json> all;
    for (const auto& share : mounted) {
        auto status = ask_share(SharePath{share.share, share, "", ""}, control_method::kStatus);
        if (status) {
            all.push_back(std::move(*status));
        } else {
            // One that does not answer must not hide the others.
            print_error(fmt::format("the share '{}' does not answer: {}", share.share,
                                    status.error().text()));
            code = exit_code_of(status.error());
        }
    }
    if (as_json) {
        print_json(all);
    } else if (!all.empty()) {
        print_all(all);
    }
    return code;
}

Result<ExitCode> run_status(const StatusOptions& options) {
    if (options.share.empty()) return show_all(options.as_json);
    UMBRA_ASSIGN(json status, ask_share(options.share, control_method::kStatus));
    status["last_event"] = last_event(options.share);
    options.as_json ? print_json(status) : print_one(status);
    return ExitCode::kDone;
}

}  // namespace

void add_status_command(Command parent) {
    auto options = std::make_shared<StatusOptions>();
    Command command = parent.add_subcommand("status", "Show the mounted shares, or one share");
    command.footer(kExitStatusHelp);
    command.add_option("SHARE", options->share,
                       "The share, or any path in it (default: all that are mounted)");
    command.add_flag("--json", options->as_json, "Print JSON");
    command.runs([options] { return run_status(*options); });
}

}  // namespace umbra
