// When a hold runs out: --for DURATION or --until TIME, of `snapshot hold` and `snapshot create`.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cli/arguments.h"
#include "snapstore/result.h"

namespace umbra {

struct HoldExpiry {
    std::optional<std::string> duration;
    std::optional<std::string> until;

    void add_options(Command command);
    // Seconds since 1970; no value: never. kUsage for what is no duration or time, and for a time
    // that has passed.
    Result<std::optional<std::int64_t>> resolve(std::int64_t now) const;
};

// "90m", "12h", "30d", "2w" in seconds.
Result<std::int64_t> parse_duration(const std::string& text);

// "2027-01-31", "2027-01-31T18:00", "2027-01-31 18:00:30", in local time unless "Z" or a zone as
// "+02:00" follows; a date alone is its first moment. Seconds since 1970.
Result<std::int64_t> parse_time(const std::string& text);

}  // namespace umbra
