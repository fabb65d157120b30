#include "fuse/inherited_fd.h"

#include <fcntl.h>

namespace umbra {

int inherited(UniqueFd& fd) {
    if (fd.valid()) ::fcntl(fd.get(), F_SETFD, 0);
    return fd.release();
}

UniqueFd taken_over(int number) {
    UniqueFd fd(number);
    if (fd.valid()) ::fcntl(fd.get(), F_SETFD, FD_CLOEXEC);
    return fd;
}

}  // namespace umbra
