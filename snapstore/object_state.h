// What is known to be preserved already, per object: a bounded cache in front of the index.
// Forgetting an entry costs a look-up later, never correctness: when in doubt, preserve.
#pragma once

#include <array>
#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <roaring/roaring64map.hh>
#include <unordered_map>

#include "snapstore/object_id.h"
#include "snapstore/preserve_ahead.h"
#include "snapstore/undo_log.h"

namespace umbra {

// All members are guarded by `mutex`, which is held from looking whether something is preserved
// until its record is appended. Taken after the gate and before the log's locks; two states are
// never locked at once.
class ObjectState {
   public:
    std::mutex mutex;
    Epoch valid_for =
        0;  // newest snapshot when the members below were established; 0: nothing is known
    bool born_after = false;  // born after that snapshot: nothing of it needs preserving
    bool attributes_preserved = false;
    bool content_begun = false;    // a content record exists; the two below are known
    std::uint64_t tail_block = 0;  // from here on nothing needs preserving
    bool blocks_complete =
        false;  // `blocks` holds every preserved block; otherwise ask the index for others
    Roaring64Map blocks;  // preserved blocks

    // Of a directory: what was preserved ahead of it, and below the directories in it, by kind
    // (Neighbours).
    std::array<AheadProgress, 2> neighbours_ahead;
    std::array<AheadProgress, 2> below_ahead;
    bool every_name_recorded = false;

    LogPosition last_position = 0;  // of the newest record of this object

    void add_blocks(std::uint64_t first, std::uint64_t end) {
        for (std::uint64_t block = first; block < end; ++block) blocks.add(block);
        added_ += end - first;
        if (added_ < kLookAfter) return;
        added_ = 0;
        if (estimated_bytes() < kMostBytes) return;
        blocks = Roaring64Map();  // bounded memory: from here on the index is asked
        blocks_complete = false;
    }

    // Forgets what was known for an older snapshot. Birth is looked up again.
    void start_over(Epoch newest) {
        valid_for = newest;
        born_after = attributes_preserved = content_begun = blocks_complete = false;
        neighbours_ahead = below_ahead = {};
        every_name_recorded = false;
        tail_block = 0;
        blocks = Roaring64Map();
        added_ = 0;
    }

   private:
    static constexpr std::uint64_t kLookAfter = 1 << 14;  // blocks
    static constexpr std::size_t kMostBytes = 2 << 20;

    // Serialised, a block that is far from any other takes some twenty bytes; in memory it takes
    // a bitmap of its own.
    std::size_t estimated_bytes() const {
        const std::size_t bytes = blocks.getSizeInBytes();
        const bool scattered = bytes > 4 * blocks.cardinality();
        return scattered ? 12 * bytes : bytes;
    }

    std::uint64_t added_ = 0;  // since the size was looked at
};

// Thread-safe; its own mutexes are leaves. An entry somebody holds is never dropped, so that there
// is one state (and one mutex) per object.
class ObjectStates {
   public:
    explicit ObjectStates(std::size_t max_entries) : max_per_shard_(max_entries / kShards + 1) {}
    std::shared_ptr<ObjectState> get(ObjectId object);
    void forget(ObjectId object);

   private:
    static constexpr std::size_t kShards = 16;
    struct Slot {
        std::shared_ptr<ObjectState> state;
        std::list<ObjectId>::iterator age;
    };
    struct Shard {
        std::mutex mutex;
        std::unordered_map<ObjectId, Slot, ObjectIdHash> slots;
        std::list<ObjectId> by_age;  // newest first
    };
    void evict(Shard& shard);

    std::size_t max_per_shard_;
    std::array<Shard, kShards> shards_;
};

}  // namespace umbra
