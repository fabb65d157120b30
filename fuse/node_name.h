// Checks of names that come from the kernel.
#pragma once

#include <string_view>

namespace umbra {

inline constexpr std::size_t kLongestName = 255;  // NAME_MAX of every filesystem below

// An errno for what cannot be a name of a directory entry, 0 for a name: ENAMETOOLONG; EINVAL when
// it is empty, ".", ".." or contains '/'.
int check_name(std::string_view name);

// "." or "..".
constexpr bool is_dots(std::string_view name) { return name == "." || name == ".."; }

}  // namespace umbra
