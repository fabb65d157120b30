#include "snapstore/index.h"

#include <fcntl.h>
#include <rocksdb/cache.h>
#include <rocksdb/compaction_filter.h>
#include <rocksdb/db.h>
#include <rocksdb/filter_policy.h>
#include <rocksdb/slice_transform.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>
#include <rocksdb/write_buffer_manager.h>

#include <mutex>

#include "snapstore/bytes.h"
#include "snapstore/directory_bytes.h"
#include "snapstore/keys.h"

namespace umbra {

namespace {

constexpr std::uint32_t kIndexFormat = 1;
constexpr std::string_view kAppliedName = "applied";
constexpr std::string_view kFormatName = "format";

tl::unexpected<Error> index_error(const rocksdb::Status& status, std::string_view what) {
    int code = status.IsNoSpace() ? ENOSPC : EIO;
    return error_of(ErrorKind::kDiffArea, code,
                    "index: " + std::string(what) + ": " + status.ToString());
}

std::string_view view(const rocksdb::Slice& slice) { return {slice.data(), slice.size()}; }

// --- values: docs/format.md, "Index"
// -------------------------------------------------------------------

void put_place(ByteWriter& writer, const LogPlace& place) {
    writer.put(place.file).put(place.offset).put(place.length);
}
LogPlace get_place(ByteReader& reader) {
    LogPlace place;
    place.file = reader.get<std::uint64_t>();
    place.offset = reader.get<std::uint64_t>();
    place.length = reader.get<std::uint32_t>();
    return place;
}

IndexedEntry decode_entry_value(Epoch epoch, std::string_view value) {
    ByteReader reader(value);
    IndexedEntry entry;
    entry.epoch = epoch;
    entry.object.inode = reader.get<std::uint64_t>();
    entry.object.generation = reader.get<std::uint32_t>();
    entry.type = reader.get<std::uint8_t>();
    entry.place = get_place(reader);
    return entry;
}

IndexedContent decode_content_value(Epoch epoch, std::string_view value) {
    ByteReader reader(value);
    IndexedContent content;
    content.epoch = epoch;
    content.tail_block = reader.get<std::uint64_t>();
    content.place = get_place(reader);
    return content;
}

IndexedBlock decode_block_value(Epoch epoch, std::string_view value) {
    ByteReader reader(value);
    IndexedBlock block;
    block.epoch = epoch;
    block.hole = reader.get<std::uint8_t>() != 0;
    block.file = reader.get<std::uint64_t>();
    block.offset = reader.get<std::uint64_t>();
    block.length = reader.get<std::uint32_t>();
    block.checksum = reader.get<std::uint64_t>();
    return block;
}

// Births older than every snapshot mean the same as none at all.
class BirthFilter : public rocksdb::CompactionFilter {
   public:
    explicit BirthFilter(Epoch oldest) : oldest_(oldest) {}
    const char* Name() const override { return "umbra.births"; }
    bool Filter(int, const rocksdb::Slice& key, const rocksdb::Slice& value, std::string*,
                bool*) const override {
        if (key.empty() || key[0] != static_cast<char>(KeyKind::kBirth)) return false;
        return ByteReader(view(value)).get<Epoch>() < oldest_;
    }

   private:
    Epoch oldest_;
};

// RocksDB's own log, a file beside the index, is not kept: one write to it that a full filesystem
// refuses, and the next ends the process (an assertion, which Debian's build has on). What goes
// wrong is in the status of what was asked for.
class NoLog : public rocksdb::Logger {
   public:
    using Logger::Logv;
    void Logv(const char* /*format*/, va_list /*arguments*/) override {}
};

class BirthFilterFactory : public rocksdb::CompactionFilterFactory {
   public:
    explicit BirthFilterFactory(std::function<Epoch()> oldest) : oldest_(std::move(oldest)) {}
    const char* Name() const override { return "umbra.births"; }
    std::unique_ptr<rocksdb::CompactionFilter> CreateCompactionFilter(
        const rocksdb::CompactionFilter::Context&) override {
        return std::make_unique<BirthFilter>(oldest_ ? oldest_() : 0);
    }

   private:
    std::function<Epoch()> oldest_;
};

rocksdb::Options rocksdb_options(const Index::Options& options) {
    rocksdb::Options result;
    result.create_if_missing = true;
    result.paranoid_checks = true;
    result.max_open_files = 256;
    result.max_background_jobs = 2;
    // Small shares have small diff areas: nothing is reserved on disk ahead of use.
    result.allow_fallocate = false;
    result.manifest_preallocation_size = 64 << 10;
    // It grows with every deletion of a snapshot, and is begun anew at this size.
    result.max_manifest_file_size = 512 << 10;
    result.info_log = std::make_shared<NoLog>();
    result.write_buffer_size = options.memory_bytes / 6;
    result.max_write_buffer_number = 2;
    result.compression = rocksdb::kNoCompression;
    result.prefix_extractor.reset(rocksdb::NewCappedPrefixTransform(kKeyPrefixSize));
    result.memtable_prefix_bloom_size_ratio = 0.02;
    result.compaction_filter_factory =
        std::make_shared<BirthFilterFactory>(options.oldest_snapshot);

    // One ceiling for everything: memtables are charged to the block cache.
    auto cache = rocksdb::NewLRUCache(options.memory_bytes, 2, false, 0.3);
    result.write_buffer_manager =
        std::make_shared<rocksdb::WriteBufferManager>(options.memory_bytes / 3, cache);
    rocksdb::BlockBasedTableOptions table;
    table.block_cache = cache;
    table.cache_index_and_filter_blocks = true;
    table.cache_index_and_filter_blocks_with_high_priority = true;
    table.pin_l0_filter_and_index_blocks_in_cache = true;
    table.filter_policy.reset(rocksdb::NewBloomFilterPolicy(10, false));
    table.whole_key_filtering = true;
    table.format_version = 5;
    result.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
    return result;
}

rocksdb::ReadOptions within_prefix() {
    rocksdb::ReadOptions options;
    options.prefix_same_as_start = true;
    return options;
}

}  // namespace

struct Index::Implementation {
    std::function<void(const Error&)> on_damage;
    std::once_flag damage_told;
    std::string path;
    std::unique_ptr<rocksdb::DB> database;
    rocksdb::WriteOptions write_options;
    bool created = false;

    // The error of something that was asked of the open index.
    tl::unexpected<Error> failed(const rocksdb::Status& status, std::string_view what) {
        auto error = index_error(status, what);
        // A full filesystem is no damage; a table that is gone or cannot be read is.
        bool damaged = status.IsCorruption() || (status.IsIOError() && !status.IsNoSpace());
        if (damaged && on_damage) std::call_once(damage_told, [&] { on_damage(error.value()); });
        return error;
    }

    std::unique_ptr<rocksdb::Iterator> iterator() {
        return std::unique_ptr<rocksdb::Iterator>(database->NewIterator(within_prefix()));
    }
};

struct IndexBatch::Implementation {
    rocksdb::WriteBatch batch;
};

Index::Index() : implementation_(std::make_unique<Implementation>()) {}
Index::~Index() {
    if (implementation_->database) implementation_->database->Close();
}

Result<std::unique_ptr<Index>> Index::open(const Options& options) {
    std::unique_ptr<Index> index(new Index);
    auto& implementation = *index->implementation_;
    implementation.path = options.path;
    implementation.on_damage = options.on_damage;
    implementation.write_options.disableWAL = true;
    rocksdb::DB* database = nullptr;
    auto status =
        options.read_only
            ? rocksdb::DB::OpenForReadOnly(rocksdb_options(options), options.path, &database)
            : rocksdb::DB::Open(rocksdb_options(options), options.path, &database);
    if (!status.ok()) return index_error(status, "opening " + options.path);
    implementation.database.reset(database);
    std::string format;
    status = database->Get({}, meta_key(kFormatName), &format);
    if (status.IsNotFound()) {
        implementation.created = true;
        if (options.read_only) return index;
        status = database->Put(implementation.write_options, meta_key(kFormatName),
                               ByteWriter().put(kIndexFormat).take());
        // At once, so that a daemon killed before the first flush does not leave what looks like
        // none.
        if (status.ok()) status = database->Flush(rocksdb::FlushOptions());
        if (!status.ok()) return index_error(status, "writing its format");
    } else if (!status.ok()) {
        return index_error(status, "reading its format");
    } else if (ByteReader(format).get<std::uint32_t>() != kIndexFormat) {
        return error_of(ErrorKind::kDiffArea, EPROTO,
                        "index " + options.path + " has another format");
    }
    return index;
}

Result<void> Index::destroy(const std::string& path) {
    auto status = rocksdb::DestroyDB(path, rocksdb::Options());
    if (!status.ok()) return index_error(status, "removing " + path);
    return {};
}

Result<std::optional<std::pair<Epoch, std::string>>> Index::seek(const std::string& prefix,
                                                                 const std::string& key) {
    auto iterator = implementation_->iterator();
    return seek(*iterator, prefix, key);
}

Result<std::optional<std::pair<Epoch, std::string>>> Index::seek(rocksdb::Iterator& iterator,
                                                                 const std::string& prefix,
                                                                 const std::string& key) {
    iterator.Seek(key);
    if (!iterator.Valid()) {
        if (!iterator.status().ok()) return implementation_->failed(iterator.status(), "seeking");
        return std::optional<std::pair<Epoch, std::string>>{};
    }
    std::string_view found = view(iterator.key());
    if (found.size() != prefix.size() + 8 || !found.starts_with(prefix))
        return std::optional<std::pair<Epoch, std::string>>{};
    return std::optional(std::pair{*key_epoch(found), std::string(view(iterator.value()))});
}

Result<Epoch> Index::previous(const std::string& prefix, const std::string& key) {
    auto iterator = implementation_->iterator();
    iterator->SeekForPrev(key);
    if (!iterator->Valid()) {
        if (!iterator->status().ok())
            return implementation_->failed(iterator->status(), "seeking back");
        return Epoch{0};
    }
    std::string_view found = view(iterator->key());
    if (found.size() != prefix.size() + 8 || !found.starts_with(prefix)) return Epoch{0};
    return *key_epoch(found);
}

Result<std::optional<IndexedEntry>> Index::entry(ObjectId directory, const std::string& name,
                                                 Epoch from) {
    // One iterator sees one state: a record for every other name was written after those names'.
    auto iterator = implementation_->iterator();
    const auto recorded = [&](const std::string& of) -> Result<std::optional<IndexedEntry>> {
        UMBRA_ASSIGN(auto found, seek(*iterator, entry_key_prefix(directory, of),
                                      entry_key(directory, of, from)));
        if (!found) return std::optional<IndexedEntry>{};
        return std::optional(decode_entry_value(found->first, found->second));
    };
    UMBRA_ASSIGN(auto own, recorded(name));
    if (own && own->epoch == from) return own;
    UMBRA_ASSIGN(auto others, recorded(kEveryOtherName));
    if (!others || (own && own->epoch <= others->epoch)) return own;
    return std::optional(IndexedEntry{others->epoch, {}, 0, others->place});
}

Result<std::optional<IndexedAttributes>> Index::attributes(ObjectId object, Epoch from) {
    UMBRA_ASSIGN(auto found, seek(object_key_prefix(KeyKind::kAttributes, object),
                                  attributes_key(object, from)));
    if (!found) return std::optional<IndexedAttributes>{};
    ByteReader reader(found->second);
    return std::optional(IndexedAttributes{found->first, get_place(reader)});
}

Result<std::optional<ObjectId>> Index::object_with_attributes(std::uint64_t inode, Epoch from) {
    rocksdb::ReadOptions over_generations;  // each generation has a prefix of its own
    over_generations.total_order_seek = true;
    const std::unique_ptr<rocksdb::Iterator> iterator(
        implementation_->database->NewIterator(over_generations));
    std::optional<ObjectId> found;
    Epoch found_epoch = 0;
    ObjectId wanted{inode, 0};
    while (true) {
        iterator->Seek(attributes_key(wanted, from));
        if (!iterator->Valid()) break;
        const std::string_view key = view(iterator->key());
        const auto object = key_object(key);
        if (key.front() != static_cast<char>(KeyKind::kAttributes) || !object ||
            object->inode != inode)
            break;
        if (*object != wanted) {  // perhaps at one of its older records
            wanted = *object;
            continue;
        }
        const Epoch epoch = *key_epoch(key);
        if (!found || epoch < found_epoch) {
            found = object;
            found_epoch = epoch;
        }
        if (wanted.generation == UINT32_MAX) break;
        ++wanted.generation;
    }
    if (!iterator->status().ok())
        return implementation_->failed(iterator->status(), "looking for an inode number");
    return found;
}

Result<std::optional<IndexedContent>> Index::content(ObjectId object, Epoch from) {
    UMBRA_ASSIGN(auto found,
                 seek(object_key_prefix(KeyKind::kContent, object), content_key(object, from)));
    if (!found) return std::optional<IndexedContent>{};
    return std::optional(decode_content_value(found->first, found->second));
}

Result<std::optional<IndexedBlock>> Index::block(ObjectId object, std::uint64_t block, Epoch from) {
    std::string key = extent_key(object, block, from);
    UMBRA_ASSIGN(auto found, seek(key.substr(0, key.size() - 8), key));
    if (!found) return std::optional<IndexedBlock>{};
    return std::optional(decode_block_value(found->first, found->second));
}

Result<std::vector<std::optional<IndexedBlock>>> Index::blocks(ObjectId object, std::uint64_t first,
                                                               std::uint64_t count, Epoch from) {
    std::vector<std::optional<IndexedBlock>> result(count);
    auto iterator = implementation_->iterator();
    std::uint64_t block = first;
    iterator->Seek(extent_key(object, block, from));
    while (iterator->Valid()) {
        auto found = extent_key_block(view(iterator->key()));
        if (!found || *found >= first + count) break;
        Epoch epoch = *key_epoch(view(iterator->key()));
        if (epoch < from) {
            // An older record of a further block: its next one, or the next block's, is what is
            // looked for.
            iterator->Seek(extent_key(object, *found, from));
            continue;
        }
        result[*found - first] = decode_block_value(epoch, view(iterator->value()));
        block = *found + 1;
        if (block >= first + count) break;
        iterator->Seek(extent_key(object, block, from));
    }
    if (!iterator->status().ok())
        return implementation_->failed(iterator->status(), "seeking extents");
    return result;
}

Result<void> Index::for_each_content(ObjectId object, Epoch from,
                                     const std::function<bool(const IndexedContent&)>& visit) {
    auto iterator = implementation_->iterator();
    for (iterator->Seek(content_key(object, from)); iterator->Valid(); iterator->Next())
        if (!visit(
                decode_content_value(*key_epoch(view(iterator->key())), view(iterator->value()))))
            break;
    if (!iterator->status().ok())
        return implementation_->failed(iterator->status(), "seeking contents");
    return {};
}

Result<bool> Index::for_each_entry(
    ObjectId directory, Epoch from,
    const std::function<void(std::string_view, const IndexedEntry&)>& visit) {
    auto iterator = implementation_->iterator();
    iterator->Seek(object_key_prefix(KeyKind::kEntry, directory));
    std::string last;
    bool any = false;
    std::optional<Epoch> others;  // whose record comes first
    for (; iterator->Valid(); iterator->Next()) {
        auto name = entry_key_name(view(iterator->key()));
        Epoch epoch = *key_epoch(view(iterator->key()));
        if (!name || epoch < from || (any && *name == last)) continue;
        last = *name;
        any = true;
        if (last == kEveryOtherName) {
            others = epoch;
            continue;
        }
        auto entry = decode_entry_value(epoch, view(iterator->value()));
        if (others && epoch > *others) entry.object = {};
        visit(last, entry);
    }
    if (!iterator->status().ok())
        return implementation_->failed(iterator->status(), "seeking entries");
    return others.has_value();
}

Result<void> Index::for_each_entry_record(
    ObjectId directory, Epoch from,
    const std::function<void(std::string_view, const IndexedEntry&)>& visit) {
    auto iterator = implementation_->iterator();
    iterator->Seek(object_key_prefix(KeyKind::kEntry, directory));
    for (; iterator->Valid(); iterator->Next()) {
        const auto name = entry_key_name(view(iterator->key()));
        const auto epoch = key_epoch(view(iterator->key()));
        if (!name || !epoch || *epoch < from) continue;
        visit(*name, decode_entry_value(*epoch, view(iterator->value())));
    }
    if (!iterator->status().ok())
        return implementation_->failed(iterator->status(), "seeking entries");
    return {};
}

namespace {

// No value: a birth or a note, which do not speak of the log.
std::optional<IndexedItem> decode_item(std::string_view key, std::string_view value) {
    const auto object = key_object(key);
    const auto epoch = key_epoch(key);
    if (!object || !epoch) return std::nullopt;
    IndexedItem item;
    item.key = key;
    item.kind = static_cast<KeyKind>(key.front());
    item.object = *object;
    item.epoch = *epoch;
    ByteReader reader(value);
    switch (item.kind) {
        case KeyKind::kEntry:
            item.name = entry_key_name(key).value_or("");
            item.entry = decode_entry_value(*epoch, value);
            return item;
        case KeyKind::kAttributes:
            item.attributes = {*epoch, get_place(reader)};
            return item;
        case KeyKind::kContent:
            item.content = decode_content_value(*epoch, value);
            return item;
        case KeyKind::kExtent:
            item.block_number = extent_key_block(key).value_or(0);
            item.block = decode_block_value(*epoch, value);
            return item;
        default:
            return std::nullopt;
    }
}

}  // namespace

Result<void> Index::for_each_item(const std::string& key,
                                  const std::function<bool(const IndexedItem&)>& visit) {
    rocksdb::ReadOptions everything;
    everything.total_order_seek = true;
    everything.fill_cache = false;
    everything.readahead_size = 1 << 20;
    const std::unique_ptr<rocksdb::Iterator> iterator(
        implementation_->database->NewIterator(everything));
    for (iterator->Seek(key); iterator->Valid(); iterator->Next()) {
        const auto item = decode_item(view(iterator->key()), view(iterator->value()));
        if (item && !visit(*item)) break;
    }
    if (!iterator->status().ok()) return implementation_->failed(iterator->status(), "reading it");
    return {};
}

Result<std::optional<Epoch>> Index::birth(ObjectId object) {
    std::string value;
    auto status = implementation_->database->Get({}, birth_key(object), &value);
    if (status.IsNotFound()) return std::optional<Epoch>{};
    if (!status.ok()) return implementation_->failed(status, "reading a birth");
    return std::optional(ByteReader(value).get<Epoch>());
}

Result<Epoch> Index::previous_entry_epoch(ObjectId directory, const std::string& name,
                                          Epoch before) {
    if (before == 0) return Epoch{0};
    return previous(entry_key_prefix(directory, name), entry_key(directory, name, before - 1));
}
Result<Epoch> Index::previous_attributes_epoch(ObjectId object, Epoch before) {
    if (before == 0) return Epoch{0};
    return previous(object_key_prefix(KeyKind::kAttributes, object),
                    attributes_key(object, before - 1));
}
Result<Epoch> Index::previous_covering_content(ObjectId object, std::uint64_t block, Epoch before) {
    if (before == 0) return Epoch{0};
    auto iterator = implementation_->iterator();
    for (iterator->SeekForPrev(content_key(object, before - 1)); iterator->Valid();
         iterator->Prev()) {
        if (!view(iterator->key()).starts_with(object_key_prefix(KeyKind::kContent, object))) break;
        auto content =
            decode_content_value(*key_epoch(view(iterator->key())), view(iterator->value()));
        if (content.tail_block <= block) return content.epoch;
    }
    if (!iterator->status().ok())
        return implementation_->failed(iterator->status(), "seeking contents back");
    return Epoch{0};
}
Result<Epoch> Index::previous_block_epoch(ObjectId object, std::uint64_t block, Epoch before) {
    if (before == 0) return Epoch{0};
    std::string key = extent_key(object, block, before - 1);
    return previous(key.substr(0, key.size() - 8), key);
}

Result<void> Index::write(IndexBatch& batch) {
    auto status = implementation_->database->Write(implementation_->write_options,
                                                   &batch.implementation_->batch);
    if (!status.ok()) return implementation_->failed(status, "writing");
    return {};
}

Result<AppliedPosition> Index::applied() {
    std::string value;
    auto status = implementation_->database->Get({}, meta_key(kAppliedName), &value);
    if (status.IsNotFound()) return AppliedPosition{};
    if (!status.ok()) return implementation_->failed(status, "reading the applied position");
    ByteReader reader(value);
    AppliedPosition position;
    position.file = reader.get<std::uint64_t>();
    position.offset = reader.get<std::uint64_t>();
    return position;
}

bool Index::created() const { return implementation_->created; }

Result<void> Index::flush() {
    auto& database = *implementation_->database;
    auto status = database.Flush(rocksdb::FlushOptions());
    // After an error (a full filesystem, say) it refuses until it is told to go on.
    if (!status.ok() && database.Resume().ok()) status = database.Flush(rocksdb::FlushOptions());
    if (!status.ok()) return implementation_->failed(status, "flushing");
    return {};
}

Result<void> Index::clear() {
    std::string begin(1, '\0');
    std::string end(1, '\xff');
    auto& database = *implementation_->database;
    auto position = applied();
    auto status = database.DeleteRange(implementation_->write_options,
                                       database.DefaultColumnFamily(), begin, end);
    rocksdb::WriteBatch batch;
    batch.Put(meta_key(kFormatName), ByteWriter().put(kIndexFormat).take());
    if (position)
        batch.Put(meta_key(kAppliedName),
                  ByteWriter().put(position->file).put(position->offset).take());
    if (status.ok()) status = database.Write(implementation_->write_options, &batch);
    if (status.ok()) status = database.Flush(rocksdb::FlushOptions());
    if (status.ok())
        status = database.CompactRange(rocksdb::CompactRangeOptions(), nullptr, nullptr);
    if (!status.ok()) return implementation_->failed(status, "clearing");
    return {};
}

Result<std::uint64_t> Index::disk_bytes() {
    UniqueFd directory(::open(implementation_->path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory.valid()) return errno_error(errno, "reading the index directory");
    return directory_bytes(std::move(directory));
}

IndexBatch::IndexBatch() : implementation_(std::make_unique<Implementation>()) {}
IndexBatch::IndexBatch(IndexBatch&&) noexcept = default;
IndexBatch& IndexBatch::operator=(IndexBatch&&) noexcept = default;
IndexBatch::~IndexBatch() = default;

void IndexBatch::put_entry(ObjectId directory, const std::string& name, const IndexedEntry& value) {
    ByteWriter writer;
    writer.put(value.object.inode).put(value.object.generation).put(value.type);
    put_place(writer, value.place);
    implementation_->batch.Put(entry_key(directory, name, value.epoch), writer.take());
}

void IndexBatch::put_attributes(ObjectId object, const IndexedAttributes& value) {
    ByteWriter writer;
    put_place(writer, value.place);
    implementation_->batch.Put(attributes_key(object, value.epoch), writer.take());
}

void IndexBatch::put_content(ObjectId object, const IndexedContent& value) {
    ByteWriter writer;
    writer.put(value.tail_block);
    put_place(writer, value.place);
    implementation_->batch.Put(content_key(object, value.epoch), writer.take());
}

void IndexBatch::put_block(ObjectId object, std::uint64_t block, const IndexedBlock& value) {
    ByteWriter writer;
    writer.put(static_cast<std::uint8_t>(value.hole))
        .put(value.file)
        .put(value.offset)
        .put(value.length)
        .put(value.checksum);
    implementation_->batch.Put(extent_key(object, block, value.epoch), writer.take());
}

void IndexBatch::put_birth(ObjectId object, Epoch epoch) {
    implementation_->batch.Put(birth_key(object), ByteWriter().put(epoch).take());
}

void IndexBatch::put_applied(const AppliedPosition& position) {
    implementation_->batch.Put(meta_key(kAppliedName),
                               ByteWriter().put(position.file).put(position.offset).take());
}

void IndexBatch::remove_entry(ObjectId directory, const std::string& name, Epoch epoch) {
    implementation_->batch.Delete(entry_key(directory, name, epoch));
}
void IndexBatch::remove_attributes(ObjectId object, Epoch epoch) {
    implementation_->batch.Delete(attributes_key(object, epoch));
}
void IndexBatch::remove_content(ObjectId object, Epoch epoch) {
    implementation_->batch.Delete(content_key(object, epoch));
}
void IndexBatch::remove_block(ObjectId object, std::uint64_t block, Epoch epoch) {
    implementation_->batch.Delete(extent_key(object, block, epoch));
}
std::size_t IndexBatch::size() const {
    return static_cast<std::size_t>(implementation_->batch.Count());
}

}  // namespace umbra
