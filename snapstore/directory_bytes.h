// What the files of one directory take on disk.
#pragma once

#include <cstdint>

#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

// Sum of st_blocks of the regular files directly in a directory, open for reading. Errors: the
// errno of reading it; a file that goes meanwhile counts nothing.
Result<std::uint64_t> directory_bytes(UniqueFd directory);

}  // namespace umbra
