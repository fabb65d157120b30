#include "snapstore/project_id.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

namespace umbra {

void leave_project(int directory) {
    struct fsxattr attributes {};
    if (ioctl(directory, FS_IOC_FSGETXATTR, &attributes) != 0) return;
    if ((attributes.fsx_xflags & FS_XFLAG_PROJINHERIT) == 0 && attributes.fsx_projid == 0) return;
    attributes.fsx_xflags &= ~static_cast<unsigned>(FS_XFLAG_PROJINHERIT);
    attributes.fsx_projid = 0;
    // Where it is refused, links and renames into it tell.
    static_cast<void>(ioctl(directory, FS_IOC_FSSETXATTR, &attributes));
}

}  // namespace umbra
