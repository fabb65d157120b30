// "/proc/self/fd/N": the way to reach calls that take no O_PATH descriptor (xattrs, chmod,
// truncate) for exactly the object that a descriptor holds.
#pragma once

#include <cstdio>

namespace umbra {

class ProcPath {
   public:
    explicit ProcPath(int fd) { std::snprintf(text_, sizeof text_, "/proc/self/fd/%d", fd); }
    const char* c_str() const { return text_; }

   private:
    char text_[32];
};

}  // namespace umbra
