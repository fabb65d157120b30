// A snapshot's directory name: @GMT-YYYY.MM.DD-HH.MM.SS in UTC, the form that SMB clients ask for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace umbra {

// seconds since 1970, UTC; years 1970 to 9999.
std::string format_token(std::int64_t seconds);

// Strict: exactly this form and a real calendar moment; anything else is no token.
std::optional<std::int64_t> parse_token(std::string_view token);

}  // namespace umbra
