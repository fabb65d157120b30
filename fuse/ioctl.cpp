// ioctl: the inode flags that lsattr shows and chattr sets, in both their forms
#include <linux/fs.h>

#include <cerrno>
#include <cstring>

#include "fuse/operations.h"
#include "snapstore/thread_identity.h"

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

// The kernel asks for this also before it lets anybody set flags, to see what would change.
void get_extended_flags(Request& request, NodeId node, std::size_t out_size) {
    MountContext& context = request.context();
    if (out_size < sizeof(struct fsxattr)) return request.error(EINVAL);
    const auto object = context.live_object(node);
    if (!object) return request.error(object.error());
    const auto flags = context.live().extended_flags(*object);
    if (!flags) return request.error(flags.error());
    request.ioctl_result(&*flags, sizeof *flags);
}

// The kernel keeps the old time of change otherwise; ext4 dates also what it then refuses in part.
void reply_to_set(Request& request, NodeId node, const Result<void>& set) {
    request.context().notifications().forget_attributes(node);
    if (!set) return request.error(set.error());
    request.ioctl_result(nullptr, 0);
}

void set_flags(Request& request, NodeId node, const void* in, std::size_t in_size) {
    MountContext& context = request.context();
    unsigned flags = 0;
    if (in_size < sizeof flags) return request.error(EINVAL);
    std::memcpy(&flags, in, sizeof flags);
    const auto object = context.live_object(node);
    if (!object) return request.error(object.error());
    const BoundScope bound(request.caller().uid != 0);
    reply_to_set(request, node, context.live().set_inode_flags(*object, flags));
}

void set_extended_flags(Request& request, NodeId node, const void* in, std::size_t in_size) {
    MountContext& context = request.context();
    struct fsxattr flags {};
    if (in_size < sizeof flags) return request.error(EINVAL);
    std::memcpy(&flags, in, sizeof flags);
    const auto object = context.live_object(node);
    if (!object) return request.error(object.error());
    const BoundScope bound(request.caller().uid != 0);
    reply_to_set(request, node, context.live().set_extended_flags(*object, flags));
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
        case static_cast<unsigned>(FS_IOC_FSSETXATTR):
            return set_extended_flags(request, NodeId(node), in, in_size);
        default:
            return request.error(ENOTTY);
    }
}

}  // namespace umbra::operations
