#include "fuse/event_sink.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>
#include <syslog.h>

#include <mutex>

#include "snapstore/folder_below.h"
#include "snapstore/unique_fd.h"
#include "snapstore/volume_config.h"
#include "snapstore/volume_files.h"

namespace umbra {

namespace {

spdlog::level::level_enum level_of(Severity severity) {
    return severity == Severity::kError     ? spdlog::level::err
           : severity == Severity::kWarning ? spdlog::level::warn
                                            : spdlog::level::info;
}

// A command of the command line that opens a volume itself has no log of its own.
std::shared_ptr<spdlog::logger> event_logger() {
    auto logger = spdlog::get("umbra");
    return logger ? logger : spdlog::syslog_logger_mt("umbra", "umbra", LOG_PID, LOG_DAEMON);
}

void log_event(const Event& event) {
    event_logger()->log(level_of(event.severity()), "event {} {}: {}", event.number(), event.name(),
                        event.message);
}

std::string configured_command(const std::string& share) {
    const std::string path = share + "/" + kControlDirectoryName;
    constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;
    const int below = FolderBelow::of(share);
    const UniqueFd directory(below >= 0 ? ::openat(below, kControlDirectoryName, kFlags)
                                        : ::open(path.c_str(), kFlags));
    if (!directory.valid()) return {};
    const auto text = read_small_file(directory.get(), kVolumeFileName);
    if (!text) return {};
    const auto config = parse_volume_config(*text, path);
    return config ? config->on_event : std::string();
}

}  // namespace

EventSink::EventSink(const std::string& share)
    : command_(configured_command(share)),
      runner_(share, [this](std::string message) { command_failed(std::move(message)); }) {}

void EventSink::take(const Event& event) {
    log_event(event);
    std::string command;
    {
        const std::shared_lock lock(mutex_);
        command = volume_ != nullptr ? volume_->event_command() : command_;
    }
    runner_.run(command, event);
}

void EventSink::follow(Volume* volume) {
    const std::unique_lock lock(mutex_);
    if (volume_ != nullptr) command_ = volume_->event_command();
    volume_ = volume;
}

void EventSink::command_failed(std::string message) {
    Event event{EventId::kEventCommandFailed, std::move(message)};
    {
        const std::shared_lock lock(mutex_);
        if (volume_ != nullptr) volume_->record(event);
    }
    log_event(event);
}

}  // namespace umbra
