#include "fuse/node_name.h"

#include <cerrno>

namespace umbra {

int check_name(std::string_view name) {
    if (name.size() > kLongestName) return ENAMETOOLONG;
    if (name.empty() || is_dots(name)) return EINVAL;
    return name.find('/') == std::string_view::npos ? 0 : EINVAL;
}

}  // namespace umbra
