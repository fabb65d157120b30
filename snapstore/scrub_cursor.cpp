#include "snapstore/scrub_cursor.h"

#include <charconv>
#include <vector>

namespace umbra {

namespace {

std::string to_hex(std::string_view bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string hex;
    for (char c : bytes) {
        auto byte = static_cast<unsigned char>(c);
        hex += kDigits[byte >> 4];
        hex += kDigits[byte & 15];
    }
    return hex;
}

std::optional<std::uint64_t> number_of(std::string_view text) {
    std::uint64_t value = 0;
    auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (code != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::optional<std::string> from_hex(std::string_view hex) {
    if (hex.size() % 2 != 0) return std::nullopt;
    std::string bytes;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
        unsigned value = 0;
        auto [end, code] = std::from_chars(hex.data() + i, hex.data() + i + 2, value, 16);
        if (code != std::errc() || end != hex.data() + i + 2) return std::nullopt;
        bytes += static_cast<char>(value);
    }
    return bytes;
}

}  // namespace

std::string format_cursor(const ScrubCursor& cursor) {
    if (cursor.stage == ScrubStage::kLog)
        return "log " + std::to_string(cursor.file) + " " + std::to_string(cursor.offset) + " " +
               std::to_string(cursor.found);
    return "index " + to_hex(cursor.key) + " " + std::to_string(cursor.offset) + " " +
           std::to_string(cursor.found);
}

std::optional<ScrubCursor> parse_cursor(std::string_view text) {
    if (text.empty()) return ScrubCursor{};
    std::vector<std::string_view> words;
    while (words.size() < 5) {
        std::size_t space = text.find(' ');
        words.push_back(text.substr(0, space));
        if (space == std::string_view::npos) break;
        text.remove_prefix(space + 1);
    }
    if (words.size() != 4) return std::nullopt;
    auto offset = number_of(words[2]);
    auto found = number_of(words[3]);
    if (!offset || !found) return std::nullopt;
    if (words[0] == "log") {
        auto file = number_of(words[1]);
        if (!file) return std::nullopt;
        return ScrubCursor{ScrubStage::kLog, *file, *offset, {}, *found};
    }
    auto key = from_hex(words[1]);
    if (words[0] != "index" || !key) return std::nullopt;
    return ScrubCursor{ScrubStage::kIndex, 0, *offset, *key, *found};
}

}  // namespace umbra
