#include "snapstore/volume_files.h"

#include <cstdio>

namespace umbra {

namespace {

constexpr std::string_view kLogSuffix = ".ulog";

// Exactly `text`, lower-case hexadecimal digits only.
std::optional<std::uint64_t> parse_hexadecimal(std::string_view text) {
    std::uint64_t value = 0;
    for (char c : text) {
        int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
        if (digit < 0) return std::nullopt;
        value = value << 4 | static_cast<std::uint64_t>(digit);
    }
    return value;
}

std::string hexadecimal(std::uint64_t value, int width) {
    char text[32];
    std::snprintf(text, sizeof text, "%0*llx", width, static_cast<unsigned long long>(value));
    return text;
}

// "HIGH-LOW" with fixed widths.
std::optional<std::pair<std::uint64_t, std::uint64_t>> parse_pair(std::string_view text,
                                                                  std::size_t high_width,
                                                                  std::size_t low_width) {
    if (text.size() != high_width + 1 + low_width || text[high_width] != '-') return std::nullopt;
    auto high = parse_hexadecimal(text.substr(0, high_width));
    auto low = parse_hexadecimal(text.substr(high_width + 1));
    if (!high || !low) return std::nullopt;
    return std::pair{*high, *low};
}

}  // namespace

std::string format_log_file_name(const LogFileName& name) {
    return hexadecimal(name.epoch, 16) + "-" + hexadecimal(name.sequence, 16) +
           std::string(kLogSuffix);
}

std::optional<LogFileName> parse_log_file_name(std::string_view name) {
    if (!name.ends_with(kLogSuffix)) return std::nullopt;
    auto pair = parse_pair(name.substr(0, name.size() - kLogSuffix.size()), 16, 16);
    if (!pair) return std::nullopt;
    return LogFileName{pair->first, pair->second};
}

std::string format_limbo_directory_name(Epoch epoch) { return hexadecimal(epoch, 16); }

std::optional<Epoch> parse_limbo_directory_name(std::string_view name) {
    return name.size() == 16 ? parse_hexadecimal(name) : std::nullopt;
}

std::string format_limbo_name(ObjectId object) {
    return hexadecimal(object.inode, 16) + "-" + hexadecimal(object.generation, 8);
}

std::optional<ObjectId> parse_limbo_name(std::string_view name) {
    auto pair = parse_pair(name, 16, 8);
    if (!pair) return std::nullopt;
    return ObjectId{pair->first, static_cast<std::uint32_t>(pair->second)};
}

bool is_job_id(std::string_view text) {
    constexpr std::string_view kForm = "dddddddd-dddddd-xxxxxx";
    if (text.size() != kForm.size()) return false;
    for (std::size_t i = 0; i < kForm.size(); ++i) {
        const char c = text[i];
        const bool digit = c >= '0' && c <= '9';
        const bool fits = kForm[i] == 'd'   ? digit
                          : kForm[i] == 'x' ? digit || (c >= 'a' && c <= 'f')
                                            : c == kForm[i];
        if (!fits) return false;
    }
    return true;
}

}  // namespace umbra
