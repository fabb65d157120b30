// umbra events: what has happened to a share's history.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "cli/ask_share.h"
#include "cli/command.h"
#include "cli/output.h"
#include "fuse/control_protocol.h"
#include "fuse/result_json.h"
#include "snapstore/event_log.h"
#include "snapstore/unique_fd.h"
#include "snapstore/volume_files.h"

namespace umbra {

namespace {

using nlohmann::json;

constexpr std::chrono::milliseconds kLookAgain{500};

struct EventsOptions {
    std::string share;
    bool follow = false;
    bool as_json = false;
    std::uint64_t after = 0;
};

// Without opening the volume: its diff area may be missing, which is what the events tell.
Result<json> read_unmounted(const std::string& share, std::uint64_t after) {
    if (::geteuid() != 0) {
        return error_of(
            ErrorKind::kRefused, EPERM,
            fmt::format("'{}' is not mounted, and only root can read its events then", share));
    }
    const std::string path = share + "/" + kControlDirectoryName;
    const UniqueFd control(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
    if (!control.valid()) return errno_error(errno, fmt::format("cannot open '{}'", path));
    UMBRA_ASSIGN(const std::vector<Event> events, EventLog::read(control.get(), after));
    json listed = json::array();
    for (const auto& event : events) listed.push_back(to_json(event));
    return listed;
}

Result<json> events_after(const SharePath& share, std::uint64_t after) {
    if (!share.mounted) return read_unmounted(share.share, after);
    return ask_share(share, control_method::kEvents, {{"after", after}});
}

void print_event_line(const json& event) {
    print_line(fmt::format("{}  {:<11}  {} {}: {}", local_time(text_in(event, "time")),
                           text_in(event, "severity"), event.value("number", 0),
                           text_in(event, "name"), printable(text_in(event, "message"))));
}

// For scripts that follow: an object a line.
void print_event_json(const json& event) {
    print_line(event.dump(-1, ' ', false, json::error_handler_t::replace));
}

// Through unmounting, mounting and a daemon's death: the events have their place in the share.
Result<ExitCode> follow(const EventsOptions& options, const SharePath& found) {
    std::uint64_t after = options.after;
    SharePath share = found;
    for (;;) {
        auto events = events_after(share, after);
        if (events) {
            for (const auto& event : *events) {
                after = event.value("sequence", after);
                options.as_json ? print_event_json(event) : print_event_line(event);
            }
        }
        if (!flush_output()) return ExitCode::kDone;  // nobody reads any more
        std::this_thread::sleep_for(kLookAgain);
        auto again = resolve_share(Registry(), found.root());
        if (again) share = std::move(*again);
        if (!events && !again) return forward_error(events);
    }
}

Result<ExitCode> run_events(const EventsOptions& options) {
    UMBRA_ASSIGN(const SharePath share, resolve_share(Registry(), options.share));
    if (options.follow) return follow(options, share);
    UMBRA_ASSIGN(const json events, events_after(share, options.after));
    if (options.as_json) {
        print_json(events);
        return ExitCode::kDone;
    }
    for (const auto& event : events) print_event_line(event);
    return ExitCode::kDone;
}

}  // namespace

void add_events_command(Command parent) {
    auto options = std::make_shared<EventsOptions>();
    Command command = parent.add_subcommand(
        "events", "Show what has happened to a share's history, oldest first");
    command.footer(kExitStatusHelp);
    command.add_option("SHARE", options->share, "The share, or any path in it").required();
    command.add_flag("--follow,-f", options->follow, "Go on, and show what happens");
    command.add_option("--after", options->after, "Only those after this sequence number")
        .type_name("SEQUENCE");
    command.add_flag("--json", options->as_json, "Print JSON; with --follow an object a line");
    command.runs([options] { return run_events(*options); });
}

}  // namespace umbra
