// On whose behalf a change is made: decides ownership of what is created and whether set-id bits
// are cleared.
#pragma once

#include <sys/types.h>

namespace umbra {

struct Caller {
    uid_t uid = 0;
    gid_t gid = 0;
    mode_t umask = 0;  // applied by the underlying filesystem, so that default ACLs override it
};

}  // namespace umbra
