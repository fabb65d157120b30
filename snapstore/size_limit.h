// How large a diff area may grow: bytes, a share of its filesystem, or without bound.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "snapstore/result.h"

namespace umbra {

struct SizeLimit {
    enum class Kind { kBytes, kPercent, kUnbounded } kind = Kind::kPercent;
    std::uint64_t value = 10;  // bytes, or per cent (1..100)

    // The limit in bytes on a filesystem of this size; no value when unbounded.
    std::optional<std::uint64_t> bytes(std::uint64_t filesystem_bytes) const;
    std::string text() const;  // as parse_size_limit reads it
    bool operator==(const SizeLimit&) const = default;
};

// "10%", "unbounded", "500M", "20 GB", "1TiB", "123456": units are powers of 1024, case is ignored.
// Errors (kUsage): not of this form, 0, above 100 %, overflow of 64 bits.
Result<SizeLimit> parse_size_limit(std::string_view text);

// Less is refused: history could not begin.
inline constexpr std::uint64_t kLeastLimit = 1 << 20;

// Can a diff area on a filesystem of this size (0: not known) be limited so? kUsage otherwise.
Result<void> check_size_limit(const SizeLimit& limit, std::uint64_t filesystem_bytes);

}  // namespace umbra
