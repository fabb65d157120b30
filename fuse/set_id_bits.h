// Set-user-ID and set-group-ID bits that go because somebody changes a file's contents.
//
// The kernel leaves them to the daemon, but does not know when they have gone: after a write, an
// allocation, a copy or O_TRUNC Linux (6.18) asks anew for sizes and times alone. It would show the
// old mode, and execute the file with the rights of its owner, so it is told to forget.
#pragma once

#include <sys/stat.h>

#include "snapstore/caller.h"

namespace umbra {

// Will a change of this open file's contents clear them? To be asked before the change.
inline bool clears_set_id_bits(const Caller& caller, int fd) {
    struct stat status {};
    return caller.uid != 0 && ::fstat(fd, &status) == 0 &&
           (status.st_mode & (S_ISUID | S_ISGID)) != 0;
}

}  // namespace umbra
