#include "fuse/mount_context.h"

#include <sys/stat.h>

#include <utility>

namespace umbra {

MountContext::MountContext(Volume& volume, MountOptions options, NodeNumbering numbering)
    : volume_(volume), options_(std::move(options)), numbering_(numbering) {}

Result<ObjectId> MountContext::live_object(NodeId node) const {
    if (node.is_root()) return volume_.live().root();
    if (!node.is_live()) return errno_only(EROFS);
    const std::uint64_t inode = numbering_.inode_of(node);
    if (const auto known = nodes_.find(node)) return ObjectId{inode, known->generation};
    return volume_.live().find_inode(inode);
}

Epoch MountContext::epoch_of(NodeId node) const {
    const Catalog& catalog = volume_.catalog();
    if (node.is_view()) {
        const auto view = view_nodes_.find(node);
        return view && catalog.exists(view->epoch) ? view->epoch : 0;
    }
    return epoch_of_snapshot_number(node.snapshot_number(), catalog.last_epoch(),
                                    [&](Epoch epoch) { return catalog.exists(epoch); });
}

Result<PastObject> MountContext::past_object(NodeId node) const {
    const Epoch epoch = epoch_of(node);
    if (epoch == 0) return errno_only(ESTALE);
    if (node.is_view()) {
        const auto view = view_nodes_.find(node);
        if (!view) return errno_only(ESTALE);
        return PastObject{epoch, view->id};
    }
    if (numbering_.is_any_root(node)) return PastObject{epoch, volume_.live().root()};
    const std::uint64_t inode = numbering_.inode_of(node);
    if (const auto known = nodes_.find(node)) {
        return PastObject{epoch, ObjectId{inode, known->generation}};
    }
    UMBRA_ASSIGN(const ObjectId found, volume_.past(epoch).find_inode(inode));
    return PastObject{epoch, found};
}

Result<NodeEntry> MountContext::live_entry(const Entry& entry) const {
    UMBRA_ASSIGN(const NodeId node, numbering_.live(entry.id.inode));
    // The kernel made the root before it could be told of a generation: its own is 0.
    return NodeEntry{node, node.is_root() ? 0 : entry.id.generation, entry.status};
}

Result<NodeEntry> MountContext::past_entry(Epoch epoch, const PastEntry& entry) const {
    UMBRA_ASSIGN(const NodeId node, numbering_.past(epoch, entry.id.inode));
    NodeEntry found{node, entry.id.generation, shown_past(node, entry.status)};
    // With and-now each look-up is asked about: permissions of today may have changed.
    if (volume_.view_settings().and_now) found.entry_seconds = 0;
    return found;
}

Result<NodeEntry> MountContext::past_entry_in(NodeId directory, Epoch epoch,
                                              const PastEntry& entry) {
    UMBRA_ASSIGN(NodeEntry found, past_entry(epoch, entry));
    if (!S_ISDIR(entry.status.st_mode)) return found;
    if (!directory.is_view() && !directory.is_folder_snapshots()) return found;
    found.node = view_nodes_.node_of({epoch, entry.id, directory});
    return found;
}

struct stat MountContext::shown_live(NodeId node, struct stat status) const {
    const auto known = nodes_.find(node);
    if (known && known->unlinked) status.st_nlink = 0;
    return status;
}

struct stat MountContext::shown_past(NodeId node, struct stat status) const {
    status.st_ino = numbering_.shown_inode(node);
    if (!node.is_view()) return status;
    // The same number wherever it is found.
    const auto view = view_nodes_.find(node);
    if (!view) return status;
    if (const auto place = numbering_.past(view->epoch, view->id.inode))
        status.st_ino = numbering_.shown_inode(*place);
    return status;
}

void MountContext::note_removed(Removed removed) {
    if (removed.directory) {
        struct stat status = *removed.directory;
        status.st_nlink = 0;
        if (const auto node = numbering_.live(removed.id.inode)) {
            nodes_.keep_removed_directory(*node, removed.id.generation, status);
        }
    }
    if (!removed.last_name || removed.directory) return;
    const auto node = numbering_.live(removed.id.inode);
    if (!node) return;
    if (removed.kept) {
        nodes_.set_unlinked(*node, removed.id.generation, true);
    } else {
        nodes_.keep_removed_file(*node, removed.id.generation, std::move(removed.fd));
    }
}

}  // namespace umbra
