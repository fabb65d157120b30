#include "fuse/node_id.h"

#include <string>

namespace umbra {

Epoch epoch_of_snapshot_number(std::uint64_t number, Epoch newest,
                               const std::function<bool(Epoch)>& exists) {
    if (number == 0 || number > newest) return 0;
    // The newest epoch with this number, then every full round of numbers before it.
    Epoch epoch = newest - (newest - number) % NodeId::kSnapshotNumbers;
    while (true) {
        if (exists(epoch)) return epoch;
        if (epoch <= NodeId::kSnapshotNumbers) return 0;
        epoch -= NodeId::kSnapshotNumbers;
    }
}

namespace {

// The highest number stands for .snapshots.
bool fits(std::uint64_t inode) { return inode != 0 && inode < NodeId::kInodeMask; }

}  // namespace

Result<NodeNumbering> NodeNumbering::of_share(ObjectId share_root) {
    if (!fits(share_root.inode)) {
        return error_of(ErrorKind::kSystem, EOVERFLOW,
                        "cannot number the share's files: the inode number of its root, " +
                            std::to_string(share_root.inode) +
                            ", needs more than 42 bits; use a share on a smaller filesystem");
    }
    return NodeNumbering(share_root.inode);
}

Result<NodeId> NodeNumbering::live(std::uint64_t inode) const {
    if (inode == root_inode_) return NodeId::root();
    if (!fits(inode) || inode == NodeId::root().value()) return errno_only(EOVERFLOW);
    return NodeId(inode);
}

Result<NodeId> NodeNumbering::past(Epoch epoch, std::uint64_t inode) const {
    if (!fits(inode)) return errno_only(EOVERFLOW);
    return NodeId(snapshot_number_of(epoch) << NodeId::kInodeBits | inode);
}

NodeId NodeNumbering::past_root(Epoch epoch) const {
    return NodeId(snapshot_number_of(epoch) << NodeId::kInodeBits | root_inode_);
}

std::uint64_t NodeNumbering::inode_of(NodeId node) const {
    return node.is_root() ? root_inode_ : node.value() & NodeId::kInodeMask;
}

ino_t NodeNumbering::shown_inode(NodeId node) const {
    return node.is_root() ? root_inode_ : node.value();
}

bool NodeNumbering::is_any_root(NodeId node) const {
    return node.is_root() ||
           (node.in_snapshot() && !node.is_view() && inode_of(node) == root_inode_);
}

}  // namespace umbra
