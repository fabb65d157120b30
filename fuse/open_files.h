// The files and directories that are held open through the mount, and which nodes they belong to.
//
// Lock: one mutex per shard; leaf locks, never held across a call of the store or a reply.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <variant>
#include <vector>

#include "fuse/cached_pages.h"
#include "fuse/kept_times.h"
#include "fuse/node_id.h"
#include "snapstore/live_tree.h"
#include "snapstore/past_tree.h"

namespace umbra {

// One open file, live or of a snapshot.
struct FileHandle {
    NodeId node;
    std::variant<OpenFile, PastFile> file;
    Epoch epoch = 0;                             // of the snapshot; 0: live
    std::shared_ptr<KeptTimes> times = nullptr;  // writeback cache only
    CachedPages pages{};                         // through this handle, or one closed since

    OpenFile* live() { return std::get_if<OpenFile>(&file); }
    const PastFile* past() const { return std::get_if<PastFile>(&file); }
};

// Which open files are asked for.
enum class OpenedFor {
    kWriting,           // O_WRONLY and O_RDWR
    kReadingAndWriting  // O_RDWR: only these can be mapped writable
};

// Every method may be called from any thread.
class OpenFiles {
   public:
    // Keeps the file open until close(). The number is what the kernel gets as its file handle:
    // never used again in the life of a mount, also when a successor of this process serves it.
    // keep_times: it shares the KeptTimes of the node's other open files.
    std::uint64_t add(FileHandle handle, bool keep_times = false);
    void close(std::uint64_t number);
    // Null when there is none. Who keeps it until he has answered shares in closing it: that the
    // kernel asks for close() last is nothing that the language knows.
    std::shared_ptr<FileHandle> find(std::uint64_t number) const;

    // --- to and from another process. Both while nobody else calls anything ----------------------
    // Puts back what each() has shown; times are shared with the node's other open files. Pages of
    // it may be cached from before.
    void adopt(std::uint64_t number, FileHandle handle);
    void each(const std::function<void(std::uint64_t number, FileHandle& handle)>& look) const;
    std::uint64_t next_number() const { return next_number_; }
    void set_next_number(std::uint64_t number) { next_number_ = number; }

    // Any live file held open for this node, or null. It stays open as long as the pointer is kept.
    std::shared_ptr<FileHandle> any_of(NodeId node) const;

    // May the kernel hold pages of this node that it read while the node was open as it is now?
    bool maybe_cached(NodeId node) const;

    // The live nodes that have an open file of this kind, each once.
    std::vector<NodeId> nodes_opened(OpenedFor kind) const;

    std::size_t size() const;

   private:
    struct alignas(64) Shard {
        mutable std::mutex mutex;
        std::unordered_multimap<NodeId, std::shared_ptr<FileHandle>, NodeIdHash> handles;
    };
    struct alignas(64) NumberShard {
        mutable std::mutex mutex;
        std::unordered_map<std::uint64_t, std::shared_ptr<FileHandle>> handles;
    };
    static constexpr std::size_t kShards = 16;

    Shard& shard_of(NodeId node) { return shards_[NodeIdHash{}(node) % kShards]; }
    const Shard& shard_of(NodeId node) const { return shards_[NodeIdHash{}(node) % kShards]; }

    NumberShard& shard_of(std::uint64_t number) { return numbers_[number % kShards]; }
    const NumberShard& shard_of(std::uint64_t number) const { return numbers_[number % kShards]; }
    void keep(std::uint64_t number, std::shared_ptr<FileHandle> kept);

    std::array<Shard, kShards> shards_;
    std::array<NumberShard, kShards> numbers_;
    std::atomic<std::uint64_t> next_number_ = 1;
};

}  // namespace umbra
