// lookup, forget, forget_multi
#include <cstring>
#include <string_view>

#include "fuse/node_name.h"
#include "fuse/operations.h"
#include "fuse/snapshot_view.h"
#include "fuse/snapshots_directory.h"

namespace umbra::operations {

namespace {

// "." and ".." come for NFS file handles whose inode the kernel has dropped.
Result<Entry> look(MountContext& context, NodeId node, ObjectId directory, std::string_view name) {
    if (name == ".") {
        // Deleted, and waiting in limbo: whoever still has it open has the kernel's inode.
        const auto known = context.nodes().find(node);
        if (known && known->unlinked) return errno_only(ESTALE);
        return context.live().lookup_self(directory);
    }
    if (name == "..") return context.live().lookup_parent(directory);
    if (const int code = check_name(name)) return errno_only(code);
    return context.live().lookup(directory, std::string(name));
}

}  // namespace

void lookup(Request& request, fuse_ino_t parent, const char* name) {
    MountContext& context = request.context();
    const NodeId directory(parent);
    if (directory.is_snapshots_directory())
        return snapshots_directory::lookup(request, directory, name);
    if (directory.in_snapshot()) return snapshot_view::lookup(request, directory, name);
    if (directory.is_root() && std::strcmp(name, kSnapshotsDirectoryName) == 0) {
        return snapshots_directory::lookup_self(request, directory);
    }

    const auto object = context.live_object(directory);
    if (!object) return request.error(object.error());
    const auto found = look(context, directory, *object, name);
    if (!found && found.error().code == ENOENT && std::strcmp(name, kSnapshotsDirectoryName) == 0) {
        // Not remembered as absent: the setting may change.
        if (!context.volume().view_settings().everywhere) return request.error(ENOENT);
        return snapshots_directory::lookup_self(request, directory);
    }
    if (!found) {
        return found.error().code == ENOENT ? request.absent() : request.error(found.error());
    }
    const auto entry = context.live_entry(*found);
    if (!entry) return request.error(entry.error());
    request.entry(*entry, is_dots(name) ? entry->node : directory);
}

void forget(Request& request, fuse_ino_t node, std::uint64_t count) {
    request.context().nodes().forget(NodeId(node), count);
    request.no_reply();
}

void forget_multi(Request& request, std::size_t count, fuse_forget_data* forgets) {
    for (std::size_t index = 0; index < count; ++index) {
        request.context().nodes().forget(NodeId(forgets[index].ino), forgets[index].nlookup);
    }
    request.no_reply();
}

}  // namespace umbra::operations
