// The index over the undo log: RocksDB, rebuildable. It has no log of its own (WAL): after a crash
// it is as of its last flush, and the undo log's tail behind `applied()` is replayed.
//
// Thread-safe. Takes no locks of ours. Errors: kDiffArea when RocksDB reports damage.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "snapstore/keys.h"
#include "snapstore/log_format.h"
#include "snapstore/object_id.h"
#include "snapstore/result.h"
#include "snapstore/undo_log.h"

namespace rocksdb {
class Iterator;
}

namespace umbra {

struct IndexedEntry {
    Epoch epoch = 0;
    ObjectId object;        // invalid: absent
    std::uint8_t type = 0;  // DT_*
    LogPlace place;
};
struct IndexedAttributes {
    Epoch epoch = 0;
    LogPlace place;
};
struct IndexedContent {
    Epoch epoch = 0;
    std::uint64_t tail_block = 0;
    LogPlace place;
};
struct IndexedBlock {
    Epoch epoch = 0;
    bool hole = false;
    std::uint64_t file = 0;    // log file
    std::uint64_t offset = 0;  // of this block's data in the log file
    std::uint32_t length =
        0;  // bytes of data; the rest of the block lay behind the end of the file
    std::uint64_t checksum = 0;
};

// One key of the index with what it says: exactly one of the last four counts, by its kind.
struct IndexedItem {
    std::string key;
    KeyKind kind{};                  // kAttributes, kContent, kEntry or kExtent
    ObjectId object;                 // of an entry: its directory
    std::string name;                // of an entry
    std::uint64_t block_number = 0;  // of an extent
    Epoch epoch = 0;
    IndexedEntry entry;
    IndexedAttributes attributes;
    IndexedContent content;
    IndexedBlock block;
};

// Where in the log the index has got to.
struct AppliedPosition {
    std::uint64_t file = 0;
    std::uint64_t offset = 0;
};

class IndexBatch;

class Index {
   public:
    struct Options {
        std::string path;
        std::uint64_t memory_bytes = 96ull << 20;
        // Births at or below this epoch no longer matter (no snapshot is that old); asked during
        // compactions.
        std::function<Epoch()> oldest_snapshot;
        bool read_only = false;
        // Called once, when RocksDB first reports damage, from any thread that asked it something.
        std::function<void(const Error&)> on_damage{};
    };
    static Result<std::unique_ptr<Index>> open(const Options& options);
    // Removes all files of an index.
    static Result<void> destroy(const std::string& path);
    ~Index();

    // "As of": the record with the smallest epoch >= `from`. Where a record for every other name
    // (kEveryOtherName) answers for this one, it says that the name was absent.
    Result<std::optional<IndexedEntry>> entry(ObjectId directory, const std::string& name,
                                              Epoch from);
    Result<std::optional<IndexedAttributes>> attributes(ObjectId object, Epoch from);
    // The object with this inode number whose attributes record has the smallest epoch >= `from`.
    Result<std::optional<ObjectId>> object_with_attributes(std::uint64_t inode, Epoch from);
    Result<std::optional<IndexedContent>> content(ObjectId object, Epoch from);
    Result<std::optional<IndexedBlock>> block(ObjectId object, std::uint64_t block, Epoch from);
    // The same for neighbouring blocks with one pass; result[i] is block first+i.
    Result<std::vector<std::optional<IndexedBlock>>> blocks(ObjectId object, std::uint64_t first,
                                                            std::uint64_t count, Epoch from);
    // Calls back for each content record with epoch >= from, ascending, until it returns false.
    Result<void> for_each_content(ObjectId object, Epoch from,
                                  const std::function<bool(const IndexedContent&)>& visit);
    // For each name of a directory that has a record with epoch >= from: what it was as of `from`.
    // True: every name that was not visited was absent.
    Result<bool> for_each_entry(
        ObjectId directory, Epoch from,
        const std::function<void(std::string_view name, const IndexedEntry&)>& visit);

    // Every record of a directory with epoch >= from: by name (kEveryOtherName first), then
    // ascending by epoch.
    Result<void> for_each_entry_record(
        ObjectId directory, Epoch from,
        const std::function<void(std::string_view name, const IndexedEntry&)>& visit);

    // The epoch in which an object was born, where known.
    Result<std::optional<Epoch>> birth(ObjectId object);

    // Epoch of the next older record of the same key; 0 where there is none.
    Result<Epoch> previous_entry_epoch(ObjectId directory, const std::string& name, Epoch before);
    Result<Epoch> previous_attributes_epoch(ObjectId object, Epoch before);
    // Newest epoch below `before` with a content record that covers this block (tail_block <=
    // block); 0: none.
    Result<Epoch> previous_covering_content(ObjectId object, std::uint64_t block, Epoch before);
    Result<Epoch> previous_block_epoch(ObjectId object, std::uint64_t block, Epoch before);

    // Everything that speaks of the log, in the order of keys, from `key` on (empty: from the
    // first), until `visit` returns false. Reads past the cache: for whoever reads all of it.
    Result<void> for_each_item(const std::string& key,
                               const std::function<bool(const IndexedItem&)>& visit);

    Result<void> write(IndexBatch& batch);
    Result<AppliedPosition> applied();
    // Was there none when it was opened?
    bool created() const;
    // Makes everything written durable.
    Result<void> flush();
    // Forgets everything (no snapshot is left).
    Result<void> clear();
    Result<std::uint64_t> disk_bytes();

   private:
    Index();
    Result<std::optional<std::pair<Epoch, std::string>>> seek(const std::string& prefix,
                                                              const std::string& key);
    Result<std::optional<std::pair<Epoch, std::string>>> seek(rocksdb::Iterator& iterator,
                                                              const std::string& prefix,
                                                              const std::string& key);
    Result<Epoch> previous(const std::string& prefix, const std::string& key);
    struct Implementation;
    std::unique_ptr<Implementation> implementation_;
};

// Changes applied together.
class IndexBatch {
   public:
    IndexBatch();
    IndexBatch(IndexBatch&&) noexcept;
    IndexBatch& operator=(IndexBatch&&) noexcept;
    ~IndexBatch();
    void put_entry(ObjectId directory, const std::string& name, const IndexedEntry& value);
    void put_attributes(ObjectId object, const IndexedAttributes& value);
    void put_content(ObjectId object, const IndexedContent& value);
    void put_block(ObjectId object, std::uint64_t block, const IndexedBlock& value);
    void put_birth(ObjectId object, Epoch epoch);
    void put_applied(const AppliedPosition& position);
    void remove_entry(ObjectId directory, const std::string& name, Epoch epoch);
    void remove_attributes(ObjectId object, Epoch epoch);
    void remove_content(ObjectId object, Epoch epoch);
    void remove_block(ObjectId object, std::uint64_t block, Epoch epoch);
    std::size_t size() const;

   private:
    friend class Index;
    struct Implementation;
    std::unique_ptr<Implementation> implementation_;
};

}  // namespace umbra
