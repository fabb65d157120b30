// What the kernel and an NFS file handle carry for an object: a number of 64 bits. It says by
// itself which snapshot the object is in and which underlying inode it is, so it means the same
// after FORGET and after a restart; the generation that makes it unique travels beside it
// (node_table.h).
//
//   bit 63           42 41                                           0
//      +---------------+----------------------------------------------+
//      |   snapshot    |           underlying inode number            |
//      |    22 bits    |                   42 bits                    |
//      +---------------+----------------------------------------------+
//       0 = live tree   all ones = .snapshots of the root (with snapshot 0 only)
//
//   snapshot   (epoch - 1) mod (2^22 - 3) + 1: never 0, equal to the epoch for the first four
//              million. The two highest numbers stand for others: 2^22 - 1 for the .snapshots of
//              the folder with this inode number, 2^22 - 2 for a directory of a snapshot that was
//              found through one (view_nodes.h), with a running number instead of the inode's.
//   live root  is 1, as FUSE demands, whatever its inode number. Inode 1 itself is never
//   inside a share: where a
//              filesystem has it, it is its root (tmpfs) or reserved (ext4).
//   past root  snapshot << 42 | inode of the share's root
//
// st_ino: the underlying inode number in the live tree, the node id in snapshots and for
// .snapshots.
#pragma once

#include <sys/types.h>

#include <compare>
#include <cstdint>
#include <functional>

#include "snapstore/object_id.h"
#include "snapstore/result.h"

namespace umbra {

class NodeId {
   public:
    static constexpr unsigned kInodeBits = 42;
    static constexpr std::uint64_t kInodeMask = (std::uint64_t{1} << kInodeBits) - 1;
    static constexpr std::uint64_t kSnapshotNumbers = (std::uint64_t{1} << 22) - 3;
    static constexpr std::uint64_t kViewNumber = kSnapshotNumbers + 1;
    static constexpr std::uint64_t kFolderSnapshotsNumber = kSnapshotNumbers + 2;

    constexpr NodeId() = default;
    constexpr explicit NodeId(std::uint64_t value) : value_(value) {}
    static constexpr NodeId root() { return NodeId(1); }
    static constexpr NodeId snapshots_directory() { return NodeId(kInodeMask); }
    // .snapshots of a folder other than the root.
    static constexpr NodeId folder_snapshots(NodeId folder) {
        return NodeId(kFolderSnapshotsNumber << kInodeBits | (folder.value() & kInodeMask));
    }
    static constexpr NodeId view(std::uint64_t number) {
        return NodeId(kViewNumber << kInodeBits | (number & kInodeMask));
    }

    constexpr std::uint64_t value() const { return value_; }
    constexpr std::uint64_t snapshot_number() const { return value_ >> kInodeBits; }
    constexpr bool in_snapshot() const {
        return snapshot_number() != 0 && snapshot_number() != kFolderSnapshotsNumber;
    }
    constexpr bool is_view() const { return snapshot_number() == kViewNumber; }
    constexpr bool is_root() const { return *this == root(); }
    constexpr bool is_folder_snapshots() const {
        return snapshot_number() == kFolderSnapshotsNumber;
    }
    // Of the root or of a folder.
    constexpr bool is_snapshots_directory() const {
        return *this == snapshots_directory() || is_folder_snapshots();
    }
    // The folder whose .snapshots it is.
    constexpr NodeId folder() const {
        return is_folder_snapshots() ? NodeId(value_ & kInodeMask) : root();
    }
    constexpr bool is_live() const { return !in_snapshot() && !is_snapshots_directory(); }

    constexpr auto operator<=>(const NodeId&) const = default;

   private:
    std::uint64_t value_ = 0;
};

struct NodeIdHash {
    std::size_t operator()(NodeId node) const noexcept {
        const std::uint64_t mixed = node.value() * 0x9E3779B97F4A7C15ULL;
        return static_cast<std::size_t>(mixed ^ (mixed >> 32));
    }
};

// The number that stands for a snapshot in node ids.
constexpr std::uint64_t snapshot_number_of(Epoch epoch) {
    return epoch == 0 ? 0 : (epoch - 1) % NodeId::kSnapshotNumbers + 1;
}

// The newest epoch, at or below `newest`, that has this number and for which `exists` is true; 0
// when there is none.
Epoch epoch_of_snapshot_number(std::uint64_t number, Epoch newest,
                               const std::function<bool(Epoch)>& exists);

// Translates between objects of a share and node ids. Immutable, so safe from any thread.
class NodeNumbering {
   public:
    // Error: EOVERFLOW, with a sentence, when the root's inode number has more than 42 bits.
    static Result<NodeNumbering> of_share(ObjectId share_root);

    // EOVERFLOW when the inode number does not fit.
    Result<NodeId> live(std::uint64_t inode) const;
    Result<NodeId> past(Epoch epoch, std::uint64_t inode) const;
    NodeId past_root(Epoch epoch) const;

    // Underlying inode number of a node other than .snapshots and views.
    std::uint64_t inode_of(NodeId node) const;
    // What stat shows as st_ino.
    ino_t shown_inode(NodeId node) const;
    // Is it the root of the live tree or of a snapshot?
    bool is_any_root(NodeId node) const;

   private:
    explicit NodeNumbering(std::uint64_t root_inode) : root_inode_(root_inode) {}
    std::uint64_t root_inode_;
};

}  // namespace umbra
