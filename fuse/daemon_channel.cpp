#include "fuse/daemon_channel.h"

#include <unistd.h>

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "fuse/control_protocol.h"

namespace umbra {

namespace {

using nlohmann::json;

void write_line(int fd, const json& object) {
    const std::string line = object.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
    std::string_view rest = line;
    while (!rest.empty()) {
        const ssize_t count = ::write(fd, rest.data(), rest.size());
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return;  // nobody listens any more
        rest.remove_prefix(static_cast<std::size_t>(count));
    }
}

// The outcome, when this line tells it.
std::optional<Result<void>> understand(const json& said,
                                       const std::function<void(const Event&)>& announce) {
    if (said.contains("ready")) return Result<void>{};
    if (const auto error = said.find("error"); error != said.end()) {
        return tl::make_unexpected(Error{error->value("errno", EIO),
                                         error_kind_of(error->value("kind", "system")),
                                         error->value("message", "")});
    }
    if (const auto event = said.find("event"); event != said.end()) {
        if (const auto id = event_id_of(event->value("name", "")))
            announce({*id, event->value("message", "")});
    }
    return std::nullopt;
}

}  // namespace

void DaemonChannel::send_event(const Event& event) {
    const std::lock_guard lock(mutex_);
    if (!pipe_.valid()) return;
    write_line(pipe_.get(), {{"event", {{"name", event.name()}, {"message", event.message}}}});
}

void DaemonChannel::send_ready() {
    const std::lock_guard lock(mutex_);
    if (pipe_.valid()) write_line(pipe_.get(), {{"ready", true}});
    pipe_.reset();
}

void DaemonChannel::send_error(const Error& error) {
    const std::lock_guard lock(mutex_);
    if (!pipe_.valid()) return;
    write_line(pipe_.get(), {{"error",
                              {{"kind", error_kind_name(error.kind)},
                               {"errno", error.code},
                               {"message", error.text()}}}});
    pipe_.reset();
}

Result<void> await_daemon(UniqueFd pipe, const std::function<void(const Event&)>& announce) {
    std::string received;
    char buffer[4096];
    for (;;) {
        const ssize_t count = ::read(pipe.get(), buffer, sizeof buffer);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return errno_error(errno, "cannot hear from the daemon");
        if (count == 0) {
            return error_of(ErrorKind::kSystem, ECHILD,
                            "the daemon ended before its mount answered; see the system log");
        }
        received.append(buffer, static_cast<std::size_t>(count));
        for (std::size_t end; (end = received.find('\n')) != std::string::npos;
             received.erase(0, end + 1)) {
            const json said =
                json::parse(received.substr(0, end), nullptr, /*allow_exceptions=*/false);
            if (!said.is_object()) continue;
            if (auto outcome = understand(said, announce)) return std::move(*outcome);
        }
    }
}

}  // namespace umbra
