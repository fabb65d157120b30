// Directories of snapshots that were reached through the .snapshots of a folder (snapdir =
// everywhere). The same directory is found in .snapshots/TOKEN/PATH and in every folder above it.
// The kernel allows a directory one place only and would move it back and forth between them, with
// ESTALE for those who come at the same time; so each place has a node of its own here.
//
// These nodes do not survive a restart, and of those that nobody uses only so many are remembered:
// an NFS client that comes back to one gets ESTALE. What it finds in the root's .snapshots lasts.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <tuple>
#include <unordered_map>

#include "fuse/node_id.h"

namespace umbra {

struct ViewNode {
    Epoch epoch = 0;
    ObjectId id;
    NodeId parent;  // where it was found: a .snapshots, or another such directory
};

// Every method may be called from any thread. Lock: a leaf.
class ViewNodes {
   public:
    // `in_use`: does the kernel know the node? Asked with the lock held.
    explicit ViewNodes(std::function<bool(NodeId)> in_use) : in_use_(std::move(in_use)) {}

    // The node of a directory at this place: always the same one while it is remembered.
    NodeId node_of(const ViewNode& view);
    std::optional<ViewNode> find(NodeId node) const;

    static constexpr std::size_t kMostUnused = 65'536;

   private:
    struct Known {
        ViewNode view;
        std::uint64_t sweep = 0;  // how many there had been when it was last asked for
    };
    using Place = std::tuple<std::uint64_t, Epoch, std::uint64_t, std::uint32_t>;
    struct PlaceHash {
        std::size_t operator()(const Place& place) const noexcept;
    };
    static Place place_of(const ViewNode& view);
    void sweep();

    const std::function<bool(NodeId)> in_use_;
    mutable std::mutex mutex_;
    std::unordered_map<NodeId, Known, NodeIdHash> known_;
    std::unordered_map<Place, NodeId, PlaceHash> by_place_;
    std::uint64_t last_number_ = 0;
    std::uint64_t sweeps_ = 0;
    std::size_t next_sweep_ = kMostUnused;
};

}  // namespace umbra
