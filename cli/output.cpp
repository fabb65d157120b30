#include "cli/output.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <ctime>
#include <iostream>

#include "fuse/control_protocol.h"

namespace umbra {

namespace {

// Bytes of the UTF-8 sequence that starts here; 0 where none does. Overlong forms and surrogates
// count as none.
std::size_t utf8_length(std::string_view text) {
    const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
    const auto continues = [&](std::size_t i) {
        return i < text.size() && (byte(i) & 0xC0) == 0x80;
    };
    if (byte(0) < 0x80) return 1;
    if (byte(0) >= 0xC2 && byte(0) <= 0xDF && continues(1)) return 2;
    if ((byte(0) & 0xF0) == 0xE0 && continues(1) && continues(2)) {
        const bool overlong = byte(0) == 0xE0 && byte(1) < 0xA0;
        const bool surrogate = byte(0) == 0xED && byte(1) >= 0xA0;
        return overlong || surrogate ? 0 : 3;
    }
    if (byte(0) >= 0xF0 && byte(0) <= 0xF4 && continues(1) && continues(2) && continues(3)) {
        const bool overlong = byte(0) == 0xF0 && byte(1) < 0x90;
        const bool too_large = byte(0) == 0xF4 && byte(1) >= 0x90;
        return overlong || too_large ? 0 : 4;
    }
    return 0;
}

bool is_control(std::string_view sequence) {
    const auto first = static_cast<unsigned char>(sequence[0]);
    if (sequence.size() == 1) return first < 0x20 || first == 0x7F;
    // U+0080 to U+009F: terminals obey these too.
    return sequence.size() == 2 && first == 0xC2 && static_cast<unsigned char>(sequence[1]) < 0xA0;
}

std::string escaped(std::string_view bytes) {
    if (bytes == "\n") return "\\n";
    if (bytes == "\t") return "\\t";
    if (bytes == "\\") return "\\\\";
    std::string text;
    for (const char c : bytes) text += fmt::format("\\x{:02X}", static_cast<unsigned char>(c));
    return text;
}

std::string one_line(std::string_view text) {
    std::string line(text);
    std::replace_if(
        line.begin(), line.end(), [](unsigned char c) { return c < 0x20 || c == 0x7F; }, ' ');
    while (!line.empty() && line.back() == ' ') line.pop_back();
    return line;
}

std::size_t width_of(std::string_view text) {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xC0) != 0x80;
    }));
}

std::string padded(const std::string& text, std::size_t width, bool to_the_right) {
    const std::size_t used = width_of(text);
    const std::string space(width > used ? width - used : 0, ' ');
    return to_the_right ? space + text : text + space;
}

}  // namespace

void print_error(std::string_view text) { std::cerr << "umbra: " << one_line(text) << std::endl; }

void print_note(std::string_view text) {
    std::cerr << "umbra: note: " << one_line(text) << std::endl;
}

void print_event(const Event& event) {
    // What was asked for and done is not worth a line.
    if (event.severity() == Severity::kInformation) return;
    const char* weight = event.severity() == Severity::kError ? "error" : "warning";
    std::cerr << "umbra: " << weight << ": " << one_line(event.message) << std::endl;
}

void print_line(std::string_view text) { std::cout << text << '\n'; }

void print_json(const nlohmann::json& value) {
    std::cout << value.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) << '\n';
}

void print_table(const std::vector<std::string>& header,
                 const std::vector<std::vector<std::string>>& rows,
                 const std::vector<std::size_t>& right) {
    std::vector<std::size_t> widths;
    for (const auto& title : header) widths.push_back(width_of(title));
    for (const auto& row : rows) {
        for (std::size_t i = 0; i < row.size(); ++i)
            widths[i] = std::max(widths[i], width_of(row[i]));
    }
    const auto print_row = [&](const std::vector<std::string>& row) {
        std::string line;
        for (std::size_t i = 0; i < row.size(); ++i) {
            if (i > 0) line += "  ";
            line +=
                padded(row[i], widths[i], std::find(right.begin(), right.end(), i) != right.end());
        }
        line.erase(line.find_last_not_of(' ') + 1);
        print_line(line);
    };
    print_row(header);
    for (const auto& row : rows) print_row(row);
}

bool flush_output() { return static_cast<bool>(std::cout.flush()) && std::fflush(stdout) == 0; }

std::string human_size(std::uint64_t bytes) {
    constexpr std::array<const char*, 7> kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    if (bytes < 1024) return fmt::format("{} B", bytes);
    auto size = static_cast<double>(bytes);
    std::size_t unit = 0;
    // 1023.95 would be printed as 1024.0.
    for (; size >= 1023.95 && unit + 1 < kUnits.size(); ++unit) size /= 1024;
    return fmt::format("{:.1f} {}", size, kUnits[unit]);
}

std::string human_time(std::int64_t seconds) {
    const auto count = [](std::int64_t number, const char* unit) {
        return fmt::format("{} {}{}", number, unit, number == 1 ? "" : "s");
    };
    if (seconds < 120) return count(seconds, "second");
    if (seconds < 2 * 3600) return count(seconds / 60, "minute");
    if (seconds < 2 * 86400) return count(seconds / 3600, "hour");
    return count(seconds / 86400, "day");
}

std::string fill_in(const nlohmann::json& space) {
    std::string text = fmt::format("{} %", space.value("used_percent", 0U));
    const auto limit = space.find("limit_bytes");
    const auto effective = space.value("effective_limit_bytes", std::uint64_t{0});
    if (limit == space.end() || !limit->is_number() || limit->get<std::uint64_t>() > effective)
        text += fmt::format(" of the {} that its filesystem leaves", human_size(effective));
    const auto full = space.find("full_in_seconds");
    if (full != space.end() && full->is_number())
        text +=
            fmt::format("; full in {} at the present rate", human_time(full->get<std::int64_t>()));
    return text;
}

std::string local_time(const std::string& utc) {
    struct tm parts {};
    const char* rest = ::strptime(utc.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
    if (rest == nullptr || utc.back() != 'Z') return utc;
    const std::time_t seconds = ::timegm(&parts);
    struct tm local {};
    ::localtime_r(&seconds, &local);
    char text[64];
    return std::string(text, std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S %Z", &local));
}

std::string printable(std::string_view path) {
    std::string text;
    while (!path.empty()) {
        const std::size_t valid = utf8_length(path);
        const std::string_view sequence = path.substr(0, std::max<std::size_t>(valid, 1));
        const bool plain = valid > 0 && !is_control(sequence) && sequence != "\\";
        text += plain ? std::string(sequence) : escaped(sequence);
        path.remove_prefix(sequence.size());
    }
    return text;
}

std::string path_in(const nlohmann::json& object, const char* key) {
    return required_path(object, key).value_or("");
}

std::string text_in(const nlohmann::json& object, const char* key) {
    const auto text = optional_text(object, key);
    return text ? text->value_or("") : "";
}

}  // namespace umbra
