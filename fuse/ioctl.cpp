// ioctl: the inode flags that lsattr shows and chattr sets
#include <linux/fs.h>

#include <cerrno>
#include <cstring>

#include "fuse/operations.h"

namespace umbra::operations {

namespace {

void get_flags(Request& request, NodeId node, std::size_t out_size) {
    MountContext& context = request.context();
    if (out_size < sizeof(unsigned)) return request.error(EINVAL);
    const auto object = context.live_object(node);
    if (!object) return request.error(object.error());
    const auto flags = context.live().inode_flags(*object);
    if (!flags) return request.error(flags.error());
    request.ioctl_result(&*flags, sizeof *flags);
}

struct FlagPair {
    unsigned flag;      // as FS_IOC_GETFLAGS has it
    unsigned extended;  // as FS_IOC_FSGETXATTR has it
};
constexpr FlagPair kFlagPairs[] = {
    {FS_SYNC_FL, FS_XFLAG_SYNC},
    {FS_IMMUTABLE_FL, FS_XFLAG_IMMUTABLE},
    {FS_APPEND_FL, FS_XFLAG_APPEND},
    {FS_NODUMP_FL, FS_XFLAG_NODUMP},
    {FS_NOATIME_FL, FS_XFLAG_NOATIME},
    {FS_DAX_FL, FS_XFLAG_DAX},
    {FS_PROJINHERIT_FL, FS_XFLAG_PROJINHERIT},
};

// The kernel asks for this before it lets anybody set flags, to see what would change.
void get_extended_flags(Request& request, NodeId node, std::size_t out_size) {
    MountContext& context = request.context();
    struct fsxattr result {};
    if (out_size < sizeof result) return request.error(EINVAL);
    const auto object = context.live_object(node);
    if (!object) return request.error(object.error());
    const auto flags = context.live().inode_flags(*object);
    if (!flags) return request.error(flags.error());
    for (const FlagPair& pair : kFlagPairs) {
        if (*flags & pair.flag) result.fsx_xflags |= pair.extended;
    }
    request.ioctl_result(&result, sizeof result);
}

void set_flags(Request& request, NodeId node, const void* in, std::size_t in_size) {
    MountContext& context = request.context();
    unsigned flags = 0;
    if (in_size < sizeof flags) return request.error(EINVAL);
    std::memcpy(&flags, in, sizeof flags);
    const auto object = context.live_object(node);
    if (!object) return request.error(object.error());
    const auto set = context.live().set_inode_flags(*object, flags);
    if (!set) return request.error(set.error());
    request.ioctl_result(nullptr, 0);
}

}  // namespace

// Snapshots do not keep inode flags: ENOTTY there, as on a filesystem without them.
void ioctl(Request& request, fuse_ino_t node, unsigned command, void* /*argument*/,
           fuse_file_info* /*info*/, unsigned /*flags*/, const void* in, std::size_t in_size,
           std::size_t out_size) {
    if (!NodeId(node).is_live()) return request.error(ENOTTY);
    switch (command) {
        case static_cast<unsigned>(FS_IOC_GETFLAGS):
            return get_flags(request, NodeId(node), out_size);
        case static_cast<unsigned>(FS_IOC_SETFLAGS):
            return set_flags(request, NodeId(node), in, in_size);
        case static_cast<unsigned>(FS_IOC_FSGETXATTR):
            return get_extended_flags(request, NodeId(node), out_size);
        default:
            return request.error(ENOTTY);
    }
}

}  // namespace umbra::operations
