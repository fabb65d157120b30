// The undo log: is every record readable, and does the index know it?
#include <algorithm>
#include <limits>

#include "snapstore/scrub_check.h"
#include "snapstore/volume_files.h"

namespace umbra {

namespace {

constexpr std::uint64_t kSliceBytes = 8ull << 20;  // some tens of milliseconds of work

}  // namespace

void ScrubCheck::index_lacks(const UndoLog::FileInfo& file, std::uint64_t offset, const char* what,
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

Result<void> ScrubCheck::check_extent(const UndoLog::FileInfo& file, const RecordHeader& header,
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
Result<void> ScrubCheck::check_record(const UndoLog::FileInfo& file, const RecordHeader& header,
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
Result<void> ScrubCheck::report_gaps(const UndoLog::FileInfo& file, const std::vector<Gap>& gaps) {
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

Result<void> ScrubCheck::log(ScrubCursor& cursor) {
    auto file = file_of(cursor.file, true);
    if (!file) {
        cursor = {ScrubStage::kIndex, 0, 0, {}, cursor.found};
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
            cursor = {ScrubStage::kLog, file->sequence + 1, 0, {}, cursor.found};
            return {};
        }
        findings.push_back({log_name(*file), from, outcome.error().text(), {}, {}, {}});
        cursor = {ScrubStage::kLog, file->sequence + 1, 0, {}, cursor.found};
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
    cursor = next ? ScrubCursor{ScrubStage::kLog, file->sequence, *next, {}, cursor.found}
                  : ScrubCursor{ScrubStage::kLog, file->sequence + 1, 0, {}, cursor.found};
    return {};
}

}  // namespace umbra
