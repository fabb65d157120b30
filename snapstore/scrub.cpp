#include "snapstore/scrub.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <limits>
#include <map>

#include "snapstore/keys.h"
#include "snapstore/locate.h"
#include "snapstore/log_format.h"
#include "snapstore/moment.h"
#include "snapstore/volume_config.h"
#include "snapstore/volume_core.h"
#include "snapstore/volume_files.h"

namespace umbra {

namespace {

// What one slice looks at: some tens of milliseconds of work.
constexpr std::uint64_t kSliceBytes = 8ull << 20;
constexpr std::uint64_t kSliceItems = 20000;
// Looking for a name in all of the index takes long: only so often in one slice.
constexpr int kMostNameSearches = 16;

// --- the cursor: "STAGE A B DONE FOUND"
// ---------------------------------------------------------------------------

enum class Stage { kSettings, kLog, kIndex };

struct Cursor {
    Stage stage = Stage::kSettings;
    std::uint64_t file = 0;    // kLog
    std::uint64_t offset = 0;  // kLog; kIndex: bytes of it that are behind us
    std::string key;           // kIndex
    std::uint64_t found = 0;   // findings so far
};

std::string to_hex(std::string_view bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string hex;
    for (char c : bytes) {
        auto byte = static_cast<unsigned char>(c);
        hex += kDigits[byte >> 4];
        hex += kDigits[byte & 15];
    }
    return hex;
}

std::string format_cursor(const Cursor& cursor) {
    if (cursor.stage == Stage::kLog)
        return "log " + std::to_string(cursor.file) + " " + std::to_string(cursor.offset) + " " +
               std::to_string(cursor.found);
    return "index " + to_hex(cursor.key) + " " + std::to_string(cursor.offset) + " " +
           std::to_string(cursor.found);
}

std::optional<std::uint64_t> number_of(std::string_view text) {
    std::uint64_t value = 0;
    auto [end, code] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (code != std::errc() || end != text.data() + text.size()) return std::nullopt;
    return value;
}

std::optional<std::string> from_hex(std::string_view hex) {
    if (hex.size() % 2 != 0) return std::nullopt;
    std::string bytes;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
        unsigned value = 0;
        auto [end, code] = std::from_chars(hex.data() + i, hex.data() + i + 2, value, 16);
        if (code != std::errc() || end != hex.data() + i + 2) return std::nullopt;
        bytes += static_cast<char>(value);
    }
    return bytes;
}

std::optional<Cursor> parse_cursor(std::string_view text) {
    if (text.empty()) return Cursor{};
    std::vector<std::string_view> words;
    while (words.size() < 5) {
        std::size_t space = text.find(' ');
        words.push_back(text.substr(0, space));
        if (space == std::string_view::npos) break;
        text.remove_prefix(space + 1);
    }
    if (words.size() != 4) return std::nullopt;
    auto offset = number_of(words[2]);
    auto found = number_of(words[3]);
    if (!offset || !found) return std::nullopt;
    if (words[0] == "log") {
        auto file = number_of(words[1]);
        if (!file) return std::nullopt;
        return Cursor{Stage::kLog, *file, *offset, {}, *found};
    }
    auto key = from_hex(words[1]);
    if (words[0] != "index" || !key) return std::nullopt;
    return Cursor{Stage::kIndex, 0, *offset, *key, *found};
}

// --- one slice
// ---------------------------------------------------------------------------------------------

class Slice {
   public:
    // `certain`: no deletion is under way, so what looks wrong is.
    Slice(VolumeCore& core, bool certain) : core_(core), certain_(certain) {}

    // Each looks at what the cursor says, and moves it behind that.
    Result<void> settings(Cursor& cursor);
    Result<void> log(Cursor& cursor);
    Result<void> index(Cursor& cursor);

    std::vector<ScrubFinding> findings;

   private:
    struct Gap {  // bytes of a log file that are no records
        std::uint64_t from = 0;
        std::uint64_t to = 0;
    };

    static std::string log_name(const UndoLog::FileInfo& file) {
        return std::string(kLogDirectoryName) + "/" +
               format_log_file_name({file.epoch, file.sequence});
    }
    std::optional<UndoLog::FileInfo> file_of(std::uint64_t sequence, bool or_later) const;
    Result<std::uint64_t> size_of(const UndoLog::FileInfo& file) const;

    Result<void> check_record(const UndoLog::FileInfo& file, const RecordHeader& header,
                              std::uint64_t offset);
    Result<void> check_extent(const UndoLog::FileInfo& file, const RecordHeader& header,
                              std::uint64_t offset, const DecodedExtentHead& head);
    Result<void> report_gaps(const UndoLog::FileInfo& file, const std::vector<Gap>& gaps);
    Result<void> check_item(const IndexedItem& item);
    Result<void> check_removed_file(const IndexedItem& item);
    void index_lacks(const UndoLog::FileInfo& file, std::uint64_t offset, const char* what,
                     ObjectId object, std::optional<std::string> path,
                     const std::vector<Snapshot>& concerned);

    // The snapshots that the record of this item serves.
    Result<std::vector<Snapshot>> concerned_by(const IndexedItem& item);
    Result<std::vector<Snapshot>> between(ObjectId object, Epoch previous, Epoch epoch);
    // The path of the item's object (of an entry: of that name) in one of these snapshots.
    std::optional<std::string> path_of(const IndexedItem& item,
                                       const std::vector<Snapshot>& concerned);
    std::optional<std::string> path_in(Epoch snapshot, const Location& place);
    // Where the object is now, if it was there at the snapshot as well: for damaged attributes,
    // which would have told.
    std::optional<Location> live_location(ObjectId object, Epoch snapshot);
    std::optional<std::string> path_by_entries(ObjectId object);
    Moment& moment(Epoch epoch);
    void add(ScrubFinding finding, const std::vector<Snapshot>& concerned);

    VolumeCore& core_;
    bool certain_;
    std::map<Epoch, Moment> moments_;
    std::map<ObjectId, std::optional<std::string>> searched_;
    std::map<std::uint64_t, std::pair<UndoLog::FileInfo, std::uint64_t>> sizes_;  // for index()
};

void Slice::add(ScrubFinding finding, const std::vector<Snapshot>& concerned) {
    for (const auto& snapshot : concerned) finding.tokens.push_back(snapshot.token);
    // Blocks of one file, or its parts: one line.
    if (!findings.empty() && finding.object.valid()) {
        const ScrubFinding& last = findings.back();
        if (last.object == finding.object && last.file == finding.file &&
            last.what == finding.what && last.tokens == finding.tokens)
            return;
    }
    findings.push_back(std::move(finding));
}

Moment& Slice::moment(Epoch epoch) {
    return moments_.try_emplace(epoch, core_, std::optional(epoch)).first->second;
}

std::optional<UndoLog::FileInfo> Slice::file_of(std::uint64_t sequence, bool or_later) const {
    for (const auto& file : core_.log->files())
        if (file.sequence == sequence || (or_later && file.sequence > sequence)) return file;
    return std::nullopt;
}

Result<std::uint64_t> Slice::size_of(const UndoLog::FileInfo& file) const {
    struct stat status {};
    std::string name = format_log_file_name({file.epoch, file.sequence});
    if (fstatat(core_.log_directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
        return errno_only(errno);
    return static_cast<std::uint64_t>(status.st_size);
}

// --- whom it concerns
// ------------------------------------------------------------------------------------------

Result<std::vector<Snapshot>> Slice::between(ObjectId object, Epoch previous, Epoch epoch) {
    UMBRA_ASSIGN(auto birth, core_.index->birth(object));
    std::vector<Snapshot> list;
    for (auto& snapshot : core_.catalog->snapshots())
        if (snapshot.epoch > std::max(previous, birth.value_or(0)) && snapshot.epoch <= epoch)
            list.push_back(std::move(snapshot));
    return list;
}

Result<std::vector<Snapshot>> Slice::concerned_by(const IndexedItem& item) {
    Index& index = *core_.index;
    Epoch previous = 0;
    if (item.kind == KeyKind::kEntry) {
        UMBRA_ASSIGN(previous, index.previous_entry_epoch(item.object, item.name, item.epoch));
    } else if (item.kind == KeyKind::kAttributes) {
        UMBRA_ASSIGN(previous, index.previous_attributes_epoch(item.object, item.epoch));
    } else {
        std::uint64_t block =
            item.kind == KeyKind::kContent ? item.content.tail_block : item.block_number;
        UMBRA_ASSIGN(previous, index.previous_covering_content(item.object, block, item.epoch));
        if (item.kind == KeyKind::kExtent) {
            UMBRA_ASSIGN(Epoch older, index.previous_block_epoch(item.object, block, item.epoch));
            previous = std::max(previous, older);
        }
    }
    return between(item.object, previous, item.epoch);
}

std::optional<std::string> Slice::path_by_entries(ObjectId object) {
    if (auto known = searched_.find(object); known != searched_.end()) return known->second;
    if (searched_.size() >= kMostNameSearches) return std::nullopt;
    std::optional<std::string> path;
    auto searched = core_.index->for_each_item(std::string(1, static_cast<char>(KeyKind::kEntry)),
                                               [&](const IndexedItem& item) {
                                                   if (item.kind != KeyKind::kEntry) return false;
                                                   if (item.entry.object != object) return true;
                                                   auto concerned = concerned_by(item);
                                                   if (concerned && !concerned->empty())
                                                       path = path_of(item, *concerned);
                                                   return !path;
                                               });
    if (!searched) path.reset();
    searched_[object] = path;
    return path;
}

std::optional<std::string> Slice::path_of(const IndexedItem& item,
                                          const std::vector<Snapshot>& concerned) {
    // A record of every other name speaks of its directory.
    if (item.kind == KeyKind::kEntry && item.name == kEveryOtherName)
        return path_of({{}, KeyKind::kAttributes, item.object, {}, 0, item.epoch, {}, {}, {}, {}},
                       concerned);
    if (item.object == core_.mount.root_id && item.kind != KeyKind::kEntry) return "";
    for (auto snapshot = concerned.rbegin(); snapshot != concerned.rend(); ++snapshot) {
        Location place{item.object, item.name};
        if (item.kind != KeyKind::kEntry) {
            auto found = moment(snapshot->epoch).location_of(item.object);
            auto location = found && *found ? *found : live_location(item.object, snapshot->epoch);
            if (!location) continue;
            place = *location;
        }
        if (auto path = path_in(snapshot->epoch, place)) return path;
    }
    return item.kind == KeyKind::kEntry ? std::nullopt : path_by_entries(item.object);
}

std::optional<std::string> Slice::path_in(Epoch snapshot, const Location& place) {
    auto directory = moment(snapshot).path_of(place.parent);
    if (!directory || !*directory) return std::nullopt;
    return (*directory)->empty() ? place.name : **directory + "/" + place.name;
}

std::optional<Location> Slice::live_location(ObjectId object, Epoch snapshot) {
    auto fd = core_.mount.open_object(object, O_PATH | O_NOFOLLOW);
    if (!fd) return std::nullopt;
    Location location = locate(core_.mount, object, fd->get());
    if (!location.known()) return std::nullopt;
    auto record = core_.index->entry(location.parent, location.name, snapshot);
    if (!record || (*record && (*record)->object != object)) return std::nullopt;
    return location;
}

// --- settings and the list of snapshots
// ------------------------------------------------------------------------

Result<void> Slice::settings(Cursor& cursor) {
    auto check = [&](int directory, const char* name, const std::string& shown, auto parse) {
        auto text = read_small_file(directory, name);
        if (!text) {
            findings.push_back({shown, {}, text.error().text(), {}, {}, {}});
            return;
        }
        auto parsed = parse(*text, shown);
        if (!parsed)
            findings.push_back({shown, {}, parsed.error().text(), {}, {}, {}});
        else if (parsed->uuid != core_.identity.uuid)
            findings.push_back({shown, {}, "it names volume " + parsed->uuid, {}, {}, {}});
    };
    check(core_.control_directory.get(), kVolumeFileName,
          core_.identity.share + "/" + kControlDirectoryName + "/" + kVolumeFileName,
          parse_volume_config);
    check(core_.diff_area.get(), kAreaFileName, kAreaFileName, parse_area_config);
    std::string catalog = std::string(kLogDirectoryName) + "/" + kCatalogFileName;
    auto damaged = core_.catalog->damaged_at();
    if (!damaged) {
        findings.push_back({catalog, {}, damaged.error().text(), {}, {}, {}});
    } else if (*damaged) {
        auto repaired = core_.catalog->write_anew();
        add({catalog,
             **damaged,
             std::string("the list of snapshots is damaged on disk, not in memory; ") +
                 (repaired ? "it has been written anew"
                           : "writing it anew failed: " + repaired.error().text()),
             {},
             {},
             {}},
            core_.catalog->snapshots());
    }
    cursor.stage = Stage::kLog;
    return {};
}

// --- the log
// -------------------------------------------------------------------------------------------------

void Slice::index_lacks(const UndoLog::FileInfo& file, std::uint64_t offset, const char* what,
                        ObjectId object, std::optional<std::string> path,
                        const std::vector<Snapshot>& concerned) {
    if (certain_)
        core_.index_is_damaged(std::string("it lacks ") + what + " of inode " +
                               std::to_string(object.inode));
    add({kIndexDirectoryName,
         {},
         std::string("the index lacks ") + what + ", which stands in " + log_name(file) +
             " at offset " + std::to_string(offset),
         object,
         std::move(path),
         {}},
        concerned);
}

Result<void> Slice::check_extent(const UndoLog::FileInfo& file, const RecordHeader& header,
                                 std::uint64_t offset, const DecodedExtentHead& head) {
    bool hole = header.type == RecordType::kHole;
    UMBRA_ASSIGN(auto indexed,
                 core_.index->blocks(header.object, head.first_block, head.count, header.epoch));
    std::uint64_t data = offset + kRecordHeaderSize + header.checked_length;
    std::vector<std::byte> bytes;
    for (std::uint32_t i = 0; i < head.count; ++i) {
        IndexedItem item;
        item.kind = KeyKind::kExtent;
        item.object = header.object;
        item.epoch = header.epoch;
        item.block_number = head.first_block + i;
        bool known = indexed[i] && indexed[i]->epoch == header.epoch;
        ExtentBlock block = hole ? ExtentBlock{} : extent_block_at(head, i);
        std::uint64_t place = data;
        data += block.length;
        if (known && (hole || indexed[i]->offset != place || indexed[i]->file != file.sequence))
            continue;  // no data, or the index takes it from somewhere else
        bool intact = known;
        if (known) {
            bytes.resize(block.length);
            auto read = core_.log->read(file.sequence, place, bytes);
            intact = read && checksum(bytes) == block.checksum;
        }
        if (intact) continue;
        UMBRA_ASSIGN(auto concerned, concerned_by(item));
        if (concerned.empty()) continue;
        auto path = path_of(item, concerned);
        if (known)
            add({log_name(file), place, "preserved data is damaged", header.object, path, {}},
                concerned);
        else
            index_lacks(file, offset, "data", header.object, path, concerned);
    }
    return {};
}

// Does the index know this record, or need it no more? And is its data intact?
Result<void> Slice::check_record(const UndoLog::FileInfo& file, const RecordHeader& header,
                                 std::uint64_t offset) {
    IndexedItem item;
    item.object = header.object;
    item.epoch = header.epoch;
    bool known = false;
    const char* what = "";
    std::vector<std::byte> payload;
    if (header.type != RecordType::kAttributes) {
        payload.resize(header.checked_length);
        UMBRA_TRY(core_.log->read(file.sequence, offset + kRecordHeaderSize, payload));
    }
    if (header.type == RecordType::kExtent || header.type == RecordType::kHole) {
        auto head = decode_extent_head(payload, header.type == RecordType::kHole);
        return head ? check_extent(file, header, offset, *head) : Result<void>{};
    }
    if (header.type == RecordType::kAttributes) {
        item.kind = KeyKind::kAttributes;
        UMBRA_ASSIGN(auto found, core_.index->attributes(header.object, header.epoch));
        known = found && found->epoch == header.epoch;
        what = "attributes";
    } else if (header.type == RecordType::kEntry) {
        auto record = decode_entry(payload);
        if (!record) return {};
        item.kind = KeyKind::kEntry;
        item.name = record->name;
        UMBRA_ASSIGN(auto found, core_.index->entry(header.object, record->name, header.epoch));
        known = found && found->place.file == file.sequence && found->place.offset == offset;
        what = "a name";
    } else if (header.type == RecordType::kContent) {
        auto record = decode_content(payload);
        if (!record) return {};
        item.kind = KeyKind::kContent;
        item.content.tail_block = record->tail_block;
        UMBRA_ASSIGN(auto found, core_.index->content(header.object, header.epoch));
        known = found && found->epoch == header.epoch;
        what = "where its contents ended";
    } else {
        return {};  // redo and applied records are in no index
    }
    if (known) return {};
    UMBRA_ASSIGN(auto concerned, concerned_by(item));
    if (!concerned.empty())
        index_lacks(file, offset, what, header.object, path_of(item, concerned), concerned);
    return {};
}

// Whose history stood in unreadable bytes: the index tells.
Result<void> Slice::report_gaps(const UndoLog::FileInfo& file, const std::vector<Gap>& gaps) {
    if (gaps.empty()) return {};
    std::vector<bool> named(gaps.size());
    std::vector<IndexedItem> lost;
    auto looked = core_.index->for_each_item("", [&](const IndexedItem& item) {
        LogPlace place = item.kind == KeyKind::kEntry        ? item.entry.place
                         : item.kind == KeyKind::kAttributes ? item.attributes.place
                         : item.kind == KeyKind::kContent
                             ? item.content.place
                             : LogPlace{item.block.file, item.block.offset, item.block.length};
        if (place.file != file.sequence) return true;
        for (const Gap& gap : gaps)
            if (place.offset >= gap.from && place.offset < gap.to) lost.push_back(item);
        return true;
    });
    // A damaged index has a finding of its own.
    static_cast<void>(looked);
    for (std::size_t i = 0; i < gaps.size(); ++i) {
        for (const auto& item : lost) {
            bool block = item.kind == KeyKind::kExtent;
            std::uint64_t at = block                               ? item.block.offset
                               : item.kind == KeyKind::kEntry      ? item.entry.place.offset
                               : item.kind == KeyKind::kAttributes ? item.attributes.place.offset
                                                                   : item.content.place.offset;
            if (at < gaps[i].from || at >= gaps[i].to) continue;
            auto concerned = concerned_by(item);
            if (!concerned || concerned->empty()) continue;
            named[i] = true;
            const char* what = item.kind == KeyKind::kEntry ? "the record of a name is damaged"
                               : item.kind == KeyKind::kAttributes
                                   ? "the record of its attributes is damaged"
                                   : "a record of its contents is damaged";
            add({log_name(file), gaps[i].from, what, item.object, path_of(item, *concerned), {}},
                *concerned);
        }
        if (!named[i])
            findings.push_back({log_name(file),
                                gaps[i].from,
                                "what stands here is damaged; no snapshot is known to need it",
                                {},
                                {},
                                {}});
    }
    return {};
}

Result<void> Slice::log(Cursor& cursor) {
    auto file = file_of(cursor.file, true);
    if (!file) {
        cursor = {Stage::kIndex, 0, 0, {}, cursor.found};
        return {};
    }
    if (file->sequence != cursor.file) cursor.offset = 0;
    cursor.file = file->sequence;
    std::uint64_t from = cursor.offset;
    std::optional<std::uint64_t> next;  // where the slice ends before the file does
    std::vector<std::uint64_t> seen;
    Result<void> failure;
    bool index_fails = false;
    auto outcome = core_.log->scan(file->sequence, from, UndoLog::Check::kPayload,
                                   [&](const RecordHeader& header, std::uint64_t offset) {
                                       if (offset >= from + kSliceBytes) {
                                           next = offset;
                                           return UndoLog::Visit::kStop;
                                       }
                                       seen.push_back(offset);
                                       // A damaged index has a finding of its own; the log is read
                                       // on.
                                       if (!index_fails)
                                           index_fails = !check_record(*file, header, offset);
                                       return UndoLog::Visit::kContinue;
                                   });
    if (!outcome) {
        // Deleted meanwhile, with the last snapshot that needed it.
        if (!file_of(file->sequence, false)) {
            cursor = {Stage::kLog, file->sequence + 1, 0, {}, cursor.found};
            return {};
        }
        findings.push_back({log_name(*file), from, outcome.error().text(), {}, {}, {}});
        cursor = {Stage::kLog, file->sequence + 1, 0, {}, cursor.found};
        return {};
    }
    if (next) seen.push_back(*next);
    std::vector<Gap> gaps;
    for (std::uint64_t start : outcome->damaged) {
        auto end = std::upper_bound(seen.begin(), seen.end(), start);
        gaps.push_back({start, end == seen.end() ? outcome->end : *end});
    }
    // Whatever is in the log while the volume is open was durable: no end of it may be torn.
    if (outcome->torn) gaps.push_back({outcome->end, std::numeric_limits<std::uint64_t>::max()});
    for (Gap& gap : gaps) gap.to = std::max(gap.to, gap.from + 1);
    UMBRA_TRY(report_gaps(*file, gaps));
    cursor = next ? Cursor{Stage::kLog, file->sequence, *next, {}, cursor.found}
                  : Cursor{Stage::kLog, file->sequence + 1, 0, {}, cursor.found};
    return {};
}

// --- the index
// -----------------------------------------------------------------------------------------------

// What a snapshot needs of a file that has lost its last name waits in limbo.
Result<void> Slice::check_removed_file(const IndexedItem& item) {
    if (!item.entry.object.valid() || item.entry.type != DT_REG) return {};
    auto object = core_.mount.open_object(item.entry.object, O_PATH);
    if (object || object.error().code != ESTALE) return {};
    UMBRA_ASSIGN(auto concerned, concerned_by(item));
    if (concerned.empty()) return {};
    PastTree past(core_, concerned.back().epoch);
    auto file = past.open(item.entry.object);
    if (!file) return {};  // its attributes are damaged: said where they stand
    auto needed = past.needs_object(*file);
    if (!needed || !*needed) return {};
    add({std::string(kControlDirectoryName) + "/" + kLimboDirectoryName,
         {},
         "the removed file, of which contents are needed, is gone",
         item.entry.object,
         path_of(item, concerned),
         {}},
        concerned);
    return {};
}

Result<void> Slice::check_item(const IndexedItem& item) {
    if (item.kind == KeyKind::kEntry) UMBRA_TRY(check_removed_file(item));
    if (item.kind == KeyKind::kExtent && item.block.hole) return {};
    std::uint64_t file = 0, end = 0;
    auto take = [&](const LogPlace& place) {
        file = place.file;
        end = place.offset + place.length;
    };
    if (item.kind == KeyKind::kEntry) take(item.entry.place);
    if (item.kind == KeyKind::kAttributes) take(item.attributes.place);
    if (item.kind == KeyKind::kContent) take(item.content.place);
    if (item.kind == KeyKind::kExtent)
        take({item.block.file, item.block.offset, item.block.length});
    auto known = sizes_.find(file);
    if (known == sizes_.end()) {
        UndoLog::FileInfo info = file_of(file, false).value_or(UndoLog::FileInfo{file, item.epoch});
        known = sizes_.emplace(file, std::pair(info, size_of(info).value_or(0))).first;
    }
    auto [info, size] = known->second;
    if (end <= size) return {};
    // The active file has grown since it was looked at.
    if (size_of(info).value_or(0) >= end) return {};
    UMBRA_ASSIGN(auto concerned, concerned_by(item));
    if (concerned.empty()) return {};
    std::optional<std::uint64_t> offset;
    if (size > 0) offset = size;
    add({log_name(info),
         offset,
         size > 0 ? "the file ends too early: what stood behind is lost"
                  : "the file is missing or empty",
         item.object,
         path_of(item, concerned),
         {}},
        concerned);
    return {};
}

Result<void> Slice::index(Cursor& cursor) {
    std::uint64_t items = 0;
    std::uint64_t bytes = 0;
    std::optional<std::string> next;
    Result<void> failure;
    auto looked = core_.index->for_each_item(cursor.key, [&](const IndexedItem& item) {
        if (items++ == kSliceItems) {
            next = item.key;
            return false;
        }
        bytes += item.key.size() + sizeof(IndexedBlock);
        failure = check_item(item);
        return failure.has_value();
    });
    if (looked && !failure) looked = std::move(failure);
    if (!looked)
        findings.push_back({kIndexDirectoryName,
                            {},
                            looked.error().text() +
                                "; the next mount makes it anew from the log, or 'umbra storage "
                                "rebuild-index' does",
                            {},
                            {},
                            {}});
    if (!looked || !next)
        cursor.stage = Stage::kSettings;  // done
    else
        cursor = {Stage::kIndex, 0, cursor.offset + bytes, *next, cursor.found};
    return {};
}

Result<void> look(Slice& slice, Cursor& cursor) {
    switch (cursor.stage) {
        case Stage::kSettings:
            return slice.settings(cursor);
        case Stage::kLog:
            return slice.log(cursor);
        default:
            return slice.index(cursor);
    }
}

// How far we are, and of how much; what is appended or deleted meanwhile counts.
void measure(VolumeCore& core, const Cursor& cursor, ScrubSlice& slice) {
    std::uint64_t log_bytes = 0;
    for (const auto& file : core.log->files()) {
        struct stat status {};
        std::string name = format_log_file_name({file.epoch, file.sequence});
        if (fstatat(core.log_directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        auto size = static_cast<std::uint64_t>(status.st_size);
        log_bytes += size;
        if (cursor.stage == Stage::kIndex || file.sequence < cursor.file)
            slice.done_bytes += size;
        else if (file.sequence == cursor.file)
            slice.done_bytes += std::min(size, cursor.offset);
    }
    std::uint64_t index_bytes = core.index->disk_bytes().value_or(0);
    slice.total_bytes = log_bytes + index_bytes;
    if (cursor.stage == Stage::kIndex) slice.done_bytes += std::min(index_bytes, cursor.offset);
    if (cursor.stage == Stage::kSettings) slice.done_bytes = slice.total_bytes;
}

}  // namespace

Result<ScrubSlice> scrub_slice(VolumeCore& core, const std::string& text) {
    auto cursor = parse_cursor(text);
    if (!cursor)
        return error_of(ErrorKind::kUsage, EINVAL,
                        "'" + text.substr(0, 100) + "' is no cursor of a scrub");
    Cursor from = *cursor;
    ScrubSlice result;
    {
        Slice slice(core, false);
        UMBRA_TRY(look(slice, *cursor));
        result.findings = std::move(slice.findings);
    }
    if (!result.findings.empty() && from.stage != Stage::kSettings) {
        // Perhaps it was given back by a deletion meanwhile: once more, while there is none.
        std::lock_guard lock(core.snapshot_mutex);
        *cursor = from;
        Slice slice(core, true);
        UMBRA_TRY(look(slice, *cursor));
        result.findings = std::move(slice.findings);
    }
    cursor->found += result.findings.size();
    measure(core, *cursor, result);
    if (cursor->stage != Stage::kSettings) {
        result.cursor = format_cursor(*cursor);
    } else if (cursor->found == 0) {
        core.tell(EventId::kScrubFinished, "scrub of share '" + core.identity.share +
                                               "' has read the whole history: no damage");
    } else {
        core.tell(EventId::kScrubFoundDamage,
                  "scrub of share '" + core.identity.share + "' found damage in " +
                      std::to_string(cursor->found) +
                      " places of its history; 'umbra storage scrub' names them");
    }
    return result;
}

}  // namespace umbra
