// Opening what lies below a folder, never through a symbolic link and never out of it.
#pragma once

#include <string>
#include <vector>

#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

// openat2 with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS; "" is the folder itself. `flags` as
// open(2), without O_CREAT.
Result<UniqueFd> open_beneath(int folder, const std::string& path, int flags);

// The same for a path of any length, "" or not.
Result<UniqueFd> open_far_beneath(int folder, const std::string& path, int flags);

// Names in an open folder, sorted, without "." and "..".
Result<std::vector<std::string>> list_names(int folder);

}  // namespace umbra
