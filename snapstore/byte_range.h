#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace umbra {

struct ByteRange {
    std::uint64_t offset = 0;
    std::uint64_t length = 0;
};

// Everything outside of them is known to be equal; no value: nothing is known.
using KnownRanges = std::optional<std::vector<ByteRange>>;

}  // namespace umbra
