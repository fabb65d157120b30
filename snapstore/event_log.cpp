#include "snapstore/event_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <sstream>
#include <string>

#include "snapstore/folder_below.h"
#include "snapstore/volume_files.h"
#include "snapstore/write_whole.h"

namespace umbra {

namespace {

using nlohmann::json;

constexpr off_t kMostBytes = 512 << 10;    // of one of the two files
constexpr off_t kMostBytesRead = 4 << 20;  // whatever somebody made of them
constexpr std::size_t kLongestMessage = 4096;

std::string line_of(const Event& event) {
    const json line{{"sequence", event.sequence},
                    {"time", event.time},
                    {"number", event.number()},
                    {"name", event.name()},
                    {"message", event.message.substr(0, kLongestMessage)}};
    return line.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

// No value: not a line of ours, or of an event that this version does not know.
std::optional<Event> event_of(const std::string& line) {
    const json read = json::parse(line, nullptr, false);
    if (!read.is_object()) return std::nullopt;
    const auto number = [&](const char* key) {
        const auto found = read.find(key);
        return found != read.end() && found->is_number_integer() ? found->get<std::int64_t>() : -1;
    };
    const auto text = [&](const char* key) {
        const auto found = read.find(key);
        return found != read.end() && found->is_string() ? found->get<std::string>() : "";
    };
    const auto id = event_id_of(text("name"));
    if (!id || number("sequence") <= 0) return std::nullopt;
    return Event{*id, text("message"), static_cast<std::uint64_t>(number("sequence")),
                 number("time")};
}

Result<std::vector<Event>> read_file(int directory, const char* name, std::uint64_t after) {
    const UniqueFd fd(openat(directory, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd.valid() && errno == ENOENT) return std::vector<Event>{};
    struct stat status {};
    if (!fd.valid() || fstat(fd.get(), &status) != 0)
        return errno_error(errno, std::string("reading the event log ") + name);
    std::string text(static_cast<std::size_t>(std::min(status.st_size, kMostBytesRead)), '\0');
    const ssize_t count = pread(fd.get(), text.data(), text.size(), 0);
    if (count < 0) return errno_error(errno, std::string("reading the event log ") + name);
    text.resize(static_cast<std::size_t>(count));
    std::vector<Event> events;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        auto event = event_of(line);
        if (event && event->sequence > after) events.push_back(std::move(*event));
    }
    return events;
}

}  // namespace

Result<std::unique_ptr<EventLog>> EventLog::open(int control_directory) {
    UniqueFd directory(fcntl(control_directory, F_DUPFD_CLOEXEC, 0));
    if (!directory.valid()) return errno_error(errno, "opening the event log");
    std::unique_ptr<EventLog> log(new EventLog(std::move(directory)));
    UMBRA_ASSIGN(const std::vector<Event> known, read(control_directory, 0));
    for (const Event& event : known) log->next_ = std::max(log->next_, event.sequence + 1);
    UMBRA_TRY(log->open_file());
    return log;
}

Result<std::vector<Event>> EventLog::read(int control_directory, std::uint64_t after) {
    UMBRA_ASSIGN(std::vector<Event> events,
                 read_file(control_directory, kOlderEventsFileName, after));
    UMBRA_ASSIGN(const std::vector<Event> newer,
                 read_file(control_directory, kEventsFileName, after));
    events.insert(events.end(), newer.begin(), newer.end());
    // Read while it was rotated, an event may be met in both.
    std::stable_sort(events.begin(), events.end(),
                     [](const auto& a, const auto& b) { return a.sequence < b.sequence; });
    const auto same = [](const auto& a, const auto& b) { return a.sequence == b.sequence; };
    events.erase(std::unique(events.begin(), events.end(), same), events.end());
    return events;
}

Result<void> EventLog::open_file() {
    file_.reset(openat(directory_.get(), kEventsFileName,
                       O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
    struct stat status {};
    if (!file_.valid() || fstat(file_.get(), &status) != 0)
        return errno_error(errno, "opening the event log");
    // What a crash tore must not swallow the line that follows.
    char last = '\n';
    if (status.st_size > 0 && pread(file_.get(), &last, 1, status.st_size - 1) == 1 && last != '\n')
        static_cast<void>(::write(file_.get(), "\n", 1) == 1);
    return {};
}

void EventLog::rotate() {
    struct stat status {};
    if (fstat(file_.get(), &status) != 0 || status.st_size < kMostBytes) return;
    if (renameat(directory_.get(), kEventsFileName, directory_.get(), kOlderEventsFileName) == 0)
        static_cast<void>(open_file());
}

void EventLog::append(Event& event) {
    const std::lock_guard lock(mutex_);
    event.sequence = next_++;
    event.time = std::time(nullptr);
    if (!file_.valid()) return;
    rotate();
    const std::string line = line_of(event);
    static_cast<void>(::write(file_.get(), line.data(), line.size()));
}

Result<void> EventLog::append_to(const std::string& share, Event& event) {
    const int below = FolderBelow::of(share);
    const UniqueFd root(below >= 0 ? fcntl(below, F_DUPFD_CLOEXEC, 0)
                                   : ::open(share.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    const UniqueFd control(root.valid() ? openat(root.get(), kControlDirectoryName,
                                                 O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW)
                                        : -1);
    if (!control.valid()) return errno_error(errno, "opening the event log of '" + share + "'");
    UMBRA_ASSIGN(const std::unique_ptr<EventLog> log, open(control.get()));
    log->append(event);
    return {};
}

}  // namespace umbra
