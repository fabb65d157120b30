// mknod, mkdir, symlink, link, unlink, rmdir, rename, readlink
#include <cstring>

#include "fuse/node_name.h"
#include "fuse/operations.h"
#include "fuse/snapshot_view.h"
#include "fuse/snapshots_directory.h"

namespace umbra::operations {

namespace {

bool is_snapshots_name(NodeId directory, const char* name) {
    return directory.is_root() && std::strcmp(name, kSnapshotsDirectoryName) == 0;
}

// Is it the .snapshots that a folder shows where it has nothing of that name?
bool shows_snapshots(MountContext& context, ObjectId directory, const char* name) {
    if (std::strcmp(name, kSnapshotsDirectoryName) != 0) return false;
    if (!context.volume().view_settings().everywhere) return false;
    const auto real = context.live().lookup(directory, name);
    return !real && real.error().code == ENOENT;
}

// The directory to change, once it is sure that it and the name are fit for a change.
Result<ObjectId> directory_to_change(MountContext& context, NodeId directory, const char* name) {
    if (const int code = check_name(name)) return errno_only(code);
    return context.live_object(directory);
}

void reply_with_new(Request& request, NodeId parent, const Result<Entry>& made) {
    if (!made) return request.error(made.error());
    const auto entry = request.context().live_entry(*made);
    if (!entry) return request.error(entry.error());
    request.entry(*entry, parent);
}

// Links and renames between two trees answer as between two mounted filesystems; within a snapshot
// as on a read-only one. 0: both are live.
int check_trees(NodeId from, NodeId to) {
    const bool both_live = from.is_live() && to.is_live();
    if (both_live) return 0;
    return from.snapshot_number() != to.snapshot_number() ? EXDEV : EROFS;
}

}  // namespace

void mknod(Request& request, fuse_ino_t parent, const char* name, mode_t mode, dev_t device) {
    MountContext& context = request.context();
    const auto directory = directory_to_change(context, NodeId(parent), name);
    if (!directory) return request.error(directory.error());
    reply_with_new(request, NodeId(parent),
                   context.live().make_node(*directory, name, mode, device, request.caller()));
}

void mkdir(Request& request, fuse_ino_t parent, const char* name, mode_t mode) {
    MountContext& context = request.context();
    if (NodeId(parent).is_snapshots_directory()) {
        return snapshots_directory::mkdir(request, NodeId(parent), name);
    }
    const auto directory = directory_to_change(context, NodeId(parent), name);
    if (!directory) return request.error(directory.error());
    reply_with_new(request, NodeId(parent),
                   context.live().make_directory(*directory, name, mode, request.caller()));
}

void symlink(Request& request, const char* target, fuse_ino_t parent, const char* name) {
    MountContext& context = request.context();
    const auto directory = directory_to_change(context, NodeId(parent), name);
    if (!directory) return request.error(directory.error());
    reply_with_new(request, NodeId(parent),
                   context.live().make_symlink(*directory, name, target, request.caller()));
}

void link(Request& request, fuse_ino_t number, fuse_ino_t new_parent, const char* new_name) {
    MountContext& context = request.context();
    const NodeId node(number);
    if (const int code = check_trees(node, NodeId(new_parent))) return request.error(code);
    const auto object = context.live_object(node);
    if (!object) return request.error(object.error());
    const auto directory = directory_to_change(context, NodeId(new_parent), new_name);
    if (!directory) return request.error(directory.error());
    const auto linked = context.live().link(*object, *directory, new_name);
    if (linked) context.nodes().set_unlinked(node, linked->id.generation, false);
    reply_with_new(request, NodeId(new_parent), linked);
}

void unlink(Request& request, fuse_ino_t parent, const char* name) {
    MountContext& context = request.context();
    const auto directory = directory_to_change(context, NodeId(parent), name);
    if (!directory) return request.error(directory.error());
    auto removed = context.live().unlink(*directory, name);
    if (removed) context.note_removed(std::move(*removed));
    request.done_or_error(removed);
}

void rmdir(Request& request, fuse_ino_t parent, const char* name) {
    MountContext& context = request.context();
    if (NodeId(parent).is_snapshots_directory()) {
        return snapshots_directory::rmdir(request, NodeId(parent), name);
    }
    if (is_snapshots_name(NodeId(parent), name)) return request.error(EBUSY);
    const auto directory = directory_to_change(context, NodeId(parent), name);
    if (!directory) return request.error(directory.error());
    if (shows_snapshots(context, *directory, name)) return request.error(EBUSY);
    auto removed = context.live().remove_directory(*directory, name);
    if (removed) context.note_removed(std::move(*removed));
    request.done_or_error(removed);
}

void rename(Request& request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned flags) {
    MountContext& context = request.context();
    if (const int code = check_trees(NodeId(parent), NodeId(new_parent))) {
        return request.error(code);
    }
    if (is_snapshots_name(NodeId(parent), name) ||
        is_snapshots_name(NodeId(new_parent), new_name)) {
        return request.error(EBUSY);
    }
    const auto directory = directory_to_change(context, NodeId(parent), name);
    if (!directory) return request.error(directory.error());
    const auto new_directory = directory_to_change(context, NodeId(new_parent), new_name);
    if (!new_directory) return request.error(new_directory.error());
    if (shows_snapshots(context, *directory, name) ||
        shows_snapshots(context, *new_directory, new_name)) {
        return request.error(EBUSY);
    }
    auto replaced = context.live().rename(*directory, name, *new_directory, new_name, flags);
    if (replaced && *replaced) context.note_removed(std::move(**replaced));
    request.done_or_error(replaced);
}

void readlink(Request& request, fuse_ino_t number) {
    MountContext& context = request.context();
    const NodeId node(number);
    if (node.in_snapshot()) return snapshot_view::readlink(request, node);
    const auto object = context.live_object(node);
    if (!object) return request.error(object.error());
    const auto target = context.live().read_link(*object);
    if (!target) return request.error(target.error());
    request.link_target(*target);
}

}  // namespace umbra::operations
