#include "snapstore/reclaim.h"

#include <algorithm>

#include "snapstore/log_format.h"

namespace umbra {

namespace {

void add_merged(std::vector<UndoLog::Range>& ranges, UndoLog::Range range) {
    if (!ranges.empty() && ranges.back().offset + ranges.back().length == range.offset)
        ranges.back().length += range.length;
    else
        ranges.push_back(range);
}

// What punching a range gives back, at least; the first bytes of it stay.
std::uint64_t whole_blocks(UndoLog::Range range, std::uint64_t staying) {
    constexpr std::uint64_t kBlock = 4096;
    const std::uint64_t first = (range.offset + staying + kBlock - 1) / kBlock;
    const std::uint64_t end = (range.offset + range.length) / kBlock;
    return end > first ? (end - first) * kBlock : 0;
}

}  // namespace

Result<Epoch> Reclaimer::birth_of(ObjectId object) {
    if (object == birth_object_) return birth_;
    UMBRA_ASSIGN(auto birth, core_.index->birth(object));
    birth_object_ = object;
    birth_ = birth.value_or(0);
    return birth_;
}

Result<bool> Reclaimer::unneeded(ObjectId object, Epoch previous, Epoch epoch) {
    UMBRA_ASSIGN(Epoch birth, birth_of(object));
    return !needed_(std::max(previous, birth), epoch);
}

Result<bool> Reclaimer::dead_entry(const RecordHeader& header, std::span<const std::byte> payload,
                                   IndexBatch* removals) {
    auto record = decode_entry(payload);
    if (!record) return false;
    UMBRA_ASSIGN(Epoch previous,
                 core_.index->previous_entry_epoch(header.object, record->name, header.epoch));
    UMBRA_ASSIGN(bool dead, unneeded(header.object, previous, header.epoch));
    if (dead && removals) removals->remove_entry(header.object, record->name, header.epoch);
    return dead;
}

Result<bool> Reclaimer::dead_content(const RecordHeader& header, LogPlace place,
                                     std::span<const std::byte> payload, IndexBatch* removals) {
    auto record = decode_content(payload);
    if (!record) return false;
    // A truncation may be superseding it in the index at this moment (not without any snapshot).
    if (header.epoch == core_.epoch.load() && core_.newest.load() != 0) return false;
    UMBRA_ASSIGN(auto indexed, core_.index->content(header.object, header.epoch));
    // Superseded within its epoch: the index speaks of a later one, which may well be needed.
    if (indexed && indexed->epoch == header.epoch &&
        (indexed->place.file != place.file || indexed->place.offset != place.offset))
        return true;
    // Covered by an older one that reaches as far down?
    UMBRA_ASSIGN(Epoch previous, core_.index->previous_covering_content(
                                     header.object, record->tail_block, header.epoch));
    UMBRA_ASSIGN(bool dead, unneeded(header.object, previous, header.epoch));
    if (dead && removals) removals->remove_content(header.object, header.epoch);
    return dead;
}

Result<bool> Reclaimer::dead_extent(const RecordHeader& header, std::uint64_t offset,
                                    std::span<const std::byte> payload, IndexBatch* removals,
                                    std::vector<UndoLog::Range>& dead_data) {
    bool hole = header.type == RecordType::kHole;
    auto head = decode_extent_head(payload, hole);
    if (!head) return false;
    std::uint64_t data = offset + kRecordHeaderSize + header.checked_length;
    bool all_dead = true;
    std::vector<UndoLog::Range> dead_blocks;
    for (std::uint32_t i = 0; i < head->count; ++i) {
        std::uint64_t block = head->first_block + i;
        std::uint64_t length = hole ? 0 : extent_block_at(*head, i).length;
        UMBRA_ASSIGN(Epoch previous,
                     core_.index->previous_block_epoch(header.object, block, header.epoch));
        UMBRA_ASSIGN(Epoch covering,
                     core_.index->previous_covering_content(header.object, block, header.epoch));
        UMBRA_ASSIGN(bool dead,
                     unneeded(header.object, std::max(previous, covering), header.epoch));
        if (dead) {
            if (removals) removals->remove_block(header.object, block, header.epoch);
            if (length > 0) add_merged(dead_blocks, {data, length});
        }
        all_dead = all_dead && dead;
        data += length;
    }
    if (!all_dead) dead_data.insert(dead_data.end(), dead_blocks.begin(), dead_blocks.end());
    return all_dead;
}

Result<bool> Reclaimer::dead(const RecordHeader& header, std::uint64_t file, std::uint64_t offset,
                             IndexBatch* removals, std::vector<UndoLog::Range>& dead_data) {
    if (header.type == RecordType::kAttributes) {
        UMBRA_ASSIGN(Epoch previous,
                     core_.index->previous_attributes_epoch(header.object, header.epoch));
        UMBRA_ASSIGN(bool dead, unneeded(header.object, previous, header.epoch));
        if (dead && removals) removals->remove_attributes(header.object, header.epoch);
        return dead;
    }
    if (header.type == RecordType::kRedo)
        return !core_.deferred || LogEnd{file, offset} < core_.deferred->needless_before();
    std::vector<std::byte> payload(header.checked_length);
    UMBRA_TRY(core_.log->read(file, offset + kRecordHeaderSize, payload));
    if (checksum(payload) != header.payload_checksum)
        return false;  // damage: scrub names it, nothing is thrown away
    switch (header.type) {
        case RecordType::kEntry:
            return dead_entry(header, payload, removals);
        case RecordType::kContent:
            return dead_content(header, {file, offset, header.length}, payload, removals);
        case RecordType::kExtent:
        case RecordType::kHole:
            return dead_extent(header, offset, payload, removals, dead_data);
        default:
            return false;
    }
}

Result<Reclaimer::FileFindings> Reclaimer::look_at(const UndoLog::FileInfo& file,
                                                   IndexBatch* removals) {
    FileFindings findings;
    Result<void> failure;
    UMBRA_ASSIGN(auto outcome,
                 core_.log->scan(file.sequence, 0, UndoLog::Check::kHeader,
                                 [&](const RecordHeader& header, std::uint64_t offset) {
                                     // Needed as long as any redo record before it is there:
                                     // it goes with its file.
                                     if (header.type == RecordType::kApplied)
                                         return UndoLog::Visit::kContinue;
                                     auto is_dead = dead(header, file.sequence, offset, removals,
                                                         findings.dead_data);
                                     if (!is_dead) {
                                         failure = forward_error(is_dead);
                                         return UndoLog::Visit::kStop;
                                     }
                                     if (*is_dead) {
                                         add_merged(findings.dead_records, {offset, header.length});
                                     } else {
                                         findings.anything_alive = true;
                                     }
                                     return UndoLog::Visit::kContinue;
                                 }));
    if (!failure) return forward_error(failure);
    if (!outcome.damaged.empty()) findings.anything_alive = true;
    return findings;
}

Result<std::vector<ObjectId>> Reclaimer::dead_limbo(Epoch epoch) {
    std::vector<ObjectId> dead;
    UMBRA_ASSIGN(auto objects, core_.limbo->objects(epoch));
    for (ObjectId object : objects) {
        UMBRA_ASSIGN(bool gone, unneeded(object, 0, epoch));
        if (gone) dead.push_back(object);
    }
    return dead;
}

Result<std::uint64_t> Reclaimer::measure(Epoch from, Epoch until) {
    std::uint64_t bytes = 0;
    for (const auto& file : core_.log->files()) {
        if (file.epoch < from || file.epoch >= until) continue;
        UMBRA_ASSIGN(auto findings, look_at(file, nullptr));
        if (!findings.anything_alive) {
            UMBRA_ASSIGN(std::uint64_t of_file, core_.log->bytes_of(file));
            bytes += of_file;
            continue;
        }
        for (const auto& range : findings.dead_records)
            bytes += whole_blocks(range, kRecordHeaderSize);
        for (const auto& range : findings.dead_data) bytes += whole_blocks(range, 0);
    }
    UMBRA_ASSIGN(auto epochs, core_.limbo->epochs());
    for (Epoch epoch : epochs) {
        if (epoch < from || epoch >= until) continue;
        UMBRA_ASSIGN(auto dead, dead_limbo(epoch));
        for (ObjectId object : dead) bytes += core_.limbo->object_bytes(object, epoch).value_or(0);
    }
    return bytes;
}

Result<void> Reclaimer::reclaim(Epoch from, Epoch until) {
    // What is appended from now on goes to a new file and serves the snapshots that remain. Listed
    // before: a file that begins meanwhile must not be taken for one in which nothing is needed.
    core_.settle_all();
    auto files = core_.log->files();
    UMBRA_TRY(core_.log->finish_file());
    std::vector<std::pair<std::uint64_t, FileFindings>> freed;
    // Newest epoch first: whether a record is needed depends on older ones of its key, which must
    // still be indexed.
    std::reverse(files.begin(), files.end());
    for (const auto& file : files) {
        if (file.epoch < from || file.epoch >= until) continue;
        IndexBatch removals;
        UMBRA_ASSIGN(auto findings, look_at(file, &removals));
        if (removals.size() > 0) UMBRA_TRY(core_.index->write(removals));
        freed.emplace_back(file.sequence, std::move(findings));
    }
    // The index must have forgotten durably what is taken from the log: a crash in between repeats
    // this from the log.
    UMBRA_TRY(core_.index->flush());
    // Nor must a power cut leave a redo record and not that it is applied.
    UMBRA_TRY(core_.log->sync_all());
    // Oldest first: what says that redo records are applied does not go before they do.
    std::reverse(freed.begin(), freed.end());
    for (const auto& [file, findings] : freed) {
        if (findings.anything_alive)
            UMBRA_TRY(core_.log->free_ranges(file, findings.dead_records));
        else
            UMBRA_TRY(core_.log->remove_file(file));
    }
    UMBRA_ASSIGN(auto epochs, core_.limbo->epochs());
    for (Epoch epoch : epochs) {
        if (epoch < from || epoch >= until) continue;
        UMBRA_ASSIGN(auto dead, dead_limbo(epoch));
        for (ObjectId object : dead) {
            UMBRA_TRY(core_.limbo->remove(object, epoch));
            core_.states->forget(object);
        }
        core_.limbo->remove_directory(epoch);
    }
    for (const auto& [file, findings] : freed) {
        if (!findings.anything_alive || findings.dead_data.empty()) continue;
        auto sealed = core_.log->seal(file);
        // Where that cannot be, these parts come back with their records.
        if (!sealed && sealed.error().kind != ErrorKind::kDiffArea) continue;
        UMBRA_TRY(std::move(sealed));
        for (const auto& range : findings.dead_data) UMBRA_TRY(core_.log->punch(file, range));
    }
    return {};
}

}  // namespace umbra
