// What must be remembered of every node the kernel holds a reference to: about 56 bytes each, no
// descriptor and no name, so that a million known files cost 56 MB.
//
// Lock: one mutex per shard; leaf locks, held for a look into the shard only, never across a call
// of the store or a reply.
#pragma once

#include <sys/stat.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <unordered_map>

#include "fuse/node_id.h"
#include "snapstore/unique_fd.h"

namespace umbra {

// Every method may be called from any thread.
class NodeTable {
   public:
    struct Node {
        NodeId parent;  // a directory that it was found in, at some time; itself: not known
        std::uint32_t generation = 0;  // of the underlying inode
        bool unlinked = false;         // waits in limbo: its link count is to be shown as 0
    };

    // The kernel is about to be told of this node once more. A new generation means that the inode
    // number has been used again: the kernel makes a new inode of it, but forgets both under one
    // number, so their references are counted together. `parent` is the node itself where it was
    // not found in a directory ("." and "..").
    void remember(NodeId node, std::uint32_t generation, NodeId parent);

    // The kernel has dropped `count` references, or never got the reply that carried them.
    void forget(NodeId node, std::uint64_t count);

    std::optional<Node> find(NodeId node) const;

    // Says whether the object is in limbo. Nodes that are not known, and other generations, are
    // left alone.
    void set_unlinked(NodeId node, std::uint32_t generation, bool unlinked);

    // What a removed directory was last, for those who still work in it: below, nothing of it is
    // left. Nodes that are not known, and other generations, are left alone.
    void keep_removed_directory(NodeId node, std::uint32_t generation, const struct stat& status);
    std::optional<struct stat> removed_directory(NodeId node) const;

    // Keeps a removed file open until the kernel has forgotten it: an open(2) that found it by its
    // name before it was removed must still succeed, and its inode number must not be used again
    // while the kernel has a node of it. Does nothing for nodes that are not known, other
    // generations, and beyond a bounded number of files.
    void keep_removed_file(NodeId node, std::uint32_t generation, UniqueFd fd);

    std::size_t size() const;

    // --- to and from another process. Both while nobody else calls anything ----------------------
    struct Known {
        NodeId node;
        NodeId parent;
        std::uint64_t references = 0;
        std::uint32_t generation = 0;
        bool unlinked = false;
        const struct stat* removed_directory = nullptr;
        int removed_file = -1;  // a descriptor, lent
    };
    void each(const std::function<void(const Known&)>& look) const;
    // `known.removed_file` is taken over.
    void adopt(const Known& known);

   private:
    struct Record {
        std::uint64_t parent;
        std::uint64_t references;
        std::uint32_t generation;
        bool unlinked;
    };
    struct alignas(64) Shard {
        mutable std::mutex mutex;
        std::unordered_map<NodeId, Record, NodeIdHash> records;
        std::unordered_map<NodeId, struct stat, NodeIdHash> removed_directories;
        std::unordered_map<NodeId, UniqueFd, NodeIdHash> removed_files;
    };
    static constexpr std::size_t kShards = 64;
    static constexpr std::size_t kMostRemovedFiles = 16;  // of each shard

    Shard& shard_of(NodeId node) { return shards_[NodeIdHash{}(node) % kShards]; }
    const Shard& shard_of(NodeId node) const { return shards_[NodeIdHash{}(node) % kShards]; }

    std::array<Shard, kShards> shards_;
};

}  // namespace umbra
