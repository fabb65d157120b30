#include "snapstore/xfs_generation.h"

#include <sys/ioctl.h>
#include <xfs/xfs.h>

#include <cerrno>
#include <cstddef>

namespace umbra {

Result<std::uint32_t> xfs_generation(int filesystem_fd, std::uint64_t inode) {
    // A list of inodes from a number on, of which the first is wanted.
    alignas(struct xfs_bulkstat_req) std::byte buffer[XFS_BULKSTAT_REQ_SIZE(1)] = {};
    auto* request = reinterpret_cast<struct xfs_bulkstat_req*>(buffer);
    request->hdr.ino = inode;
    request->hdr.icount = 1;
    if (ioctl(filesystem_fd, XFS_IOC_BULKSTAT, request) != 0)
        return errno_only(errno == EINVAL || errno == ENOENT ? ESTALE : errno);
    if (request->hdr.ocount != 1 || request->bulkstat[0].bs_ino != inode) return errno_only(ESTALE);
    return request->bulkstat[0].bs_gen;
}

}  // namespace umbra
