// The bytes of regular files: comparing and copying them, holes kept as holes.
#pragma once

#include <cstdint>
#include <functional>

#include "snapstore/byte_range.h"
#include "snapstore/result.h"

namespace umbra {

// Compares the first `size` bytes of two files open for reading, but only where they may differ;
// where both have a hole nothing is read.
Result<bool> same_contents(int a, int b, std::uint64_t size, const KnownRanges& may_differ = {});

// Copies the first `size` bytes to an empty file open for writing, inside the kernel where it can
// do that. EINTR as soon as `interrupted` (which may be empty) returns true.
Result<void> copy_contents(int from, int to, std::uint64_t size,
                           const std::function<bool()>& interrupted);

}  // namespace umbra
