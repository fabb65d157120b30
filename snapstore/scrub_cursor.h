// Where a scrub has got to. As text it goes to whoever asked and comes back from there:
// "STAGE PLACE DONE FOUND".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace umbra {

enum class ScrubStage { kSettings, kLog, kIndex };

struct ScrubCursor {
    ScrubStage stage = ScrubStage::kSettings;
    std::uint64_t file = 0;    // kLog
    std::uint64_t offset = 0;  // kLog; kIndex: bytes of it that are behind us
    std::string key;           // kIndex
    std::uint64_t found = 0;   // findings so far
};

std::string format_cursor(const ScrubCursor& cursor);
// "" is the beginning. No value: it is no cursor.
std::optional<ScrubCursor> parse_cursor(std::string_view text);

}  // namespace umbra
