#include "fuse/mount_context.h"

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
    return epoch_of_snapshot_number(node.snapshot_number(), catalog.last_epoch(),
                                    [&](Epoch epoch) { return catalog.exists(epoch); });
}

Result<PastObject> MountContext::past_object(NodeId node) const {
    const Epoch epoch = epoch_of(node);
    if (epoch == 0) return errno_only(ESTALE);
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
    return NodeEntry{node, entry.id.generation, shown_past(node, entry.status)};
}

struct stat MountContext::shown_live(NodeId node, struct stat status) const {
    const auto known = nodes_.find(node);
    if (known && known->unlinked) status.st_nlink = 0;
    return status;
}

struct stat MountContext::shown_past(NodeId node, struct stat status) const {
    status.st_ino = numbering_.shown_inode(node);
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
