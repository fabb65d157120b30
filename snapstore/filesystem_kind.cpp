#include "snapstore/filesystem_kind.h"

#include <linux/magic.h>
#include <sys/vfs.h>

namespace umbra {

bool on_btrfs(int fd) {
    struct statfs status {};
    return fstatfs(fd, &status) == 0 && status.f_type == BTRFS_SUPER_MAGIC;
}

}  // namespace umbra
