// getattr, setattr
#include <memory>

#include "fuse/operations.h"
#include "fuse/shown_status.h"
#include "fuse/snapshot_view.h"
#include "fuse/snapshots_directory.h"

namespace umbra::operations {

namespace {

// By object where possible: the kernel rarely says through which open file it asks. A file without
// a name may be out of reach by its handle, but not through a descriptor.
Result<struct stat> live_status(MountContext& context, NodeId node) {
    const auto object = context.live_object(node);
    if (!object) return tl::make_unexpected(object.error());
    auto status = context.live().status(*object);
    if (!status && status.error().code == ESTALE) {
        const auto handle = context.open_files().any_of(node);
        if (handle && handle->live()) return context.live().status_of(*handle->live());
        if (const auto removed = context.nodes().removed_directory(node)) return *removed;
    }
    return status;
}

TimeChange time_change(int valid, int set, int now) {
    if (valid & now) return TimeChange::kNow;
    return valid & set ? TimeChange::kSet : TimeChange::kOmit;
}

AttributeChange change_asked_for(const struct stat& status, int valid) {
    AttributeChange change;
    if (valid & FUSE_SET_ATTR_MODE) change.mode = status.st_mode;
    if (valid & FUSE_SET_ATTR_UID) change.uid = status.st_uid;
    if (valid & FUSE_SET_ATTR_GID) change.gid = status.st_gid;
    if (valid & FUSE_SET_ATTR_SIZE) change.size = static_cast<std::uint64_t>(status.st_size);
    change.access_time_change = time_change(valid, FUSE_SET_ATTR_ATIME, FUSE_SET_ATTR_ATIME_NOW);
    change.modification_time_change =
        time_change(valid, FUSE_SET_ATTR_MTIME, FUSE_SET_ATTR_MTIME_NOW);
    change.access_time = status.st_atim;
    change.modification_time = status.st_mtim;
    // One bit in the protocol (FATTR_KILL_SUIDGID); libfuse has two names of the old one.
    change.clear_set_id = (valid & (FUSE_SET_ATTR_KILL_SUID | FUSE_SET_ATTR_KILL_SGID)) != 0;
    return change;
}

}  // namespace

}  // namespace umbra::operations

namespace umbra {

Result<struct stat> shown_status(MountContext& context, NodeId node, FileHandle* handle) {
    if (node.is_snapshots_directory()) return snapshots_directory::own_status(context, node);
    if (node.in_snapshot()) return snapshot_view::status(context, node);
    UMBRA_ASSIGN(const struct stat status, handle != nullptr && handle->live() != nullptr
                                               ? context.live().status_of(*handle->live())
                                               : operations::live_status(context, node));
    return context.shown_live(node, status);
}

}  // namespace umbra

namespace umbra::operations {

void getattr(Request& request, fuse_ino_t number, fuse_file_info* info) {
    const auto handle = request.open_file(info);
    const auto status = shown_status(request.context(), NodeId(number), handle.get());
    if (!status) return request.error(status.error());
    request.attributes(*status);
}

void setattr(Request& request, fuse_ino_t number, struct stat* status, int valid,
             fuse_file_info* info) {
    MountContext& context = request.context();
    const NodeId node(number);
    const auto object = context.live_object(node);
    if (!object) return request.error(object.error());
    AttributeChange change = change_asked_for(*status, valid);
    if (context.options().writeback && change.size &&
        change.modification_time_change == TimeChange::kOmit) {
        // The kernel owns the time and has not changed it: the size is what it was.
        const auto before = live_status(context, node);
        if (!before) return request.error(before.error());
        change.modification_time_change = TimeChange::kSet;
        change.modification_time = before->st_mtim;
    } else if (change.modification_time_change == TimeChange::kSet) {
        const auto handle = context.open_files().any_of(node);
        if (handle && handle->times) handle->times->set(change.modification_time);
    }
    const auto handle = request.open_file(info);
    const auto after = context.live().change_attributes(*object, change, request.caller(),
                                                        handle ? handle->live() : nullptr);
    if (!after) return request.error(after.error());
    // .snapshots shows the owner of the share's root as its own.
    if (node.is_root()) {
        context.notifications().attributes_changed(NodeId::snapshots_directory());
    }
    request.attributes(context.shown_live(node, *after));
}

}  // namespace umbra::operations
