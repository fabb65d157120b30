#include "cli/hold_expiry.h"

#include <fmt/format.h>

#include <array>
#include <ctime>
#include <map>
#include <string_view>

namespace umbra {

namespace {

// Reads exactly `count` digits from the front of the text.
std::optional<int> take_number(std::string_view& text, std::size_t count) {
    if (text.size() < count) return std::nullopt;
    int value = 0;
    for (const char digit : text.substr(0, count)) {
        if (digit < '0' || digit > '9') return std::nullopt;
        value = value * 10 + (digit - '0');
    }
    text.remove_prefix(count);
    return value;
}

bool take(std::string_view& text, char wanted) {
    if (text.empty() || text.front() != wanted) return false;
    text.remove_prefix(1);
    return true;
}

// "Z", "+02:00", "-0530", or nothing: seconds east of Greenwich, no value for local time.
struct Zone {
    bool local = false;
    long offset = 0;
};
std::optional<Zone> take_zone(std::string_view& text) {
    if (text.empty()) return Zone{true, 0};
    if (take(text, 'Z') || take(text, 'z')) return Zone{};
    const long sign = text.front() == '-' ? -1 : 1;
    if (!take(text, '+') && !take(text, '-')) return std::nullopt;
    const auto hours = take_number(text, 2);
    take(text, ':');
    const auto minutes = text.empty() ? std::optional(0) : take_number(text, 2);
    if (!hours || !minutes || *hours > 14 || *minutes > 59) return std::nullopt;
    return Zone{false, sign * (*hours * 3600L + *minutes * 60L)};
}

// The clock time, if there is one. False when it is malformed.
bool take_clock(std::string_view& text, struct tm& moment) {
    if (text.empty() || (text.front() != 'T' && text.front() != 't' && text.front() != ' '))
        return true;
    text.remove_prefix(1);
    const auto hour = take_number(text, 2);
    if (!hour || !take(text, ':')) return false;
    const auto minute = take_number(text, 2);
    if (!minute) return false;
    int second = 0;
    if (take(text, ':')) {
        const auto given = take_number(text, 2);
        if (!given) return false;
        second = *given;
    }
    moment.tm_hour = *hour;
    moment.tm_min = *minute;
    moment.tm_sec = second;
    return *hour < 24 && *minute < 60 && second < 60;
}

std::optional<std::int64_t> read_time(std::string_view text) {
    struct tm moment {};
    const auto year = take_number(text, 4);
    if (!year || !take(text, '-')) return std::nullopt;
    const auto month = take_number(text, 2);
    if (!month || !take(text, '-')) return std::nullopt;
    const auto day = take_number(text, 2);
    if (!day || *year < 1970 || *month < 1 || *month > 12 || *day < 1) return std::nullopt;
    moment.tm_year = *year - 1900;
    moment.tm_mon = *month - 1;
    moment.tm_mday = *day;
    if (!take_clock(text, moment)) return std::nullopt;
    const auto zone = take_zone(text);
    if (!zone || !text.empty()) return std::nullopt;
    moment.tm_isdst = -1;
    struct tm normal = moment;
    const std::time_t seconds = zone->local ? ::mktime(&normal) : ::timegm(&normal);
    // 31 February has become March.
    if (normal.tm_mday != moment.tm_mday || normal.tm_mon != moment.tm_mon) return std::nullopt;
    return static_cast<std::int64_t>(seconds) - zone->offset;
}

}  // namespace

Result<std::int64_t> parse_duration(const std::string& text) {
    const std::map<char, std::int64_t> units{
        {'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
    const auto unit = text.empty() ? units.end() : units.find(text.back());
    const std::string digits = text.substr(0, text.empty() ? 0 : text.size() - 1);
    constexpr std::size_t kMostDigits = 9;  // keeps the product far from overflowing
    if (unit == units.end() || digits.empty() || digits.size() > kMostDigits ||
        digits.find_first_not_of("0123456789") != std::string::npos || std::stoll(digits) == 0) {
        return error_of(
            ErrorKind::kUsage, EINVAL,
            fmt::format("'{}' is no duration: give a number and one of s, m, h, d, w, as in 30d",
                        text));
    }
    return std::stoll(digits) * unit->second;
}

Result<std::int64_t> parse_time(const std::string& text) {
    if (const auto seconds = read_time(text)) return *seconds;
    return error_of(ErrorKind::kUsage, EINVAL,
                    fmt::format("'{}' is no time: give a date or a date and time as in 2027-01-31 "
                                "or 2027-01-31T18:00Z",
                                text));
}

void HoldExpiry::add_options(Command command) {
    Argument duration_option =
        command.add_option("--for", duration, "Only for so long: a number and s, m, h, d or w")
            .type_name("DURATION");
    command.add_option("--until", until, "Only until then: 2027-01-31 or 2027-01-31T18:00[Z]")
        .type_name("TIME")
        .excludes(duration_option);
}

Result<std::optional<std::int64_t>> HoldExpiry::resolve(std::int64_t now) const {
    if (duration) {
        UMBRA_ASSIGN(const std::int64_t seconds, parse_duration(*duration));
        return std::optional(now + seconds);
    }
    if (!until) return std::optional<std::int64_t>{};
    UMBRA_ASSIGN(const std::int64_t seconds, parse_time(*until));
    if (seconds <= now) {
        return error_of(ErrorKind::kUsage, EINVAL,
                        fmt::format("'{}' has passed: a hold ends in the future", *until));
    }
    return std::optional(seconds);
}

}  // namespace umbra
