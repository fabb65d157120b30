// Bringing a volume back after any end: the log's tail is checked and cut where a crash tore it,
// and the index is brought up to the log's end, or rebuilt from it whole.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>

#include "snapstore/log_format.h"
#include "snapstore/volume_core.h"
#include "snapstore/volume_files.h"

namespace umbra {

namespace {

// Puts one record of the log into the index again. Idempotent.
Result<void> replay(VolumeCore& core, const RecordHeader& header, std::uint64_t file,
                    std::uint64_t offset, IndexBatch& batch,
                    std::map<std::pair<ObjectId, Epoch>, std::uint64_t>& tails) {
    LogPlace place{file, offset, header.length};
    if (header.type == RecordType::kAttributes) {
        batch.put_attributes(header.object, {header.epoch, place});
        return {};
    }
    if (header.type == RecordType::kRedo || header.type == RecordType::kApplied) return {};
    std::vector<std::byte> payload(header.checked_length);
    UMBRA_TRY(core.log->read(file, offset + kRecordHeaderSize, payload));
    if (checksum(payload) != header.payload_checksum) {
        core.tell(EventId::kRecordDamaged,
                  "a record of inode " + std::to_string(header.object.inode) +
                      " is damaged in undo log file " + std::to_string(file) + " at offset " +
                      std::to_string(offset) + "; what it kept is lost, the rest is not");
        return {};
    }
    if (header.type == RecordType::kEntry) {
        if (auto record = decode_entry(payload))
            batch.put_entry(header.object, record->name,
                            {header.epoch, record->object, record->type, place});
    } else if (header.type == RecordType::kContent) {
        if (auto record = decode_content(payload)) {
            // Within an epoch the tail only moves down.
            auto [known, fresh] =
                tails.try_emplace({header.object, header.epoch}, record->tail_block);
            known->second = std::min(known->second, record->tail_block);
            batch.put_content(header.object, {header.epoch, known->second, place});
        }
    } else {
        bool hole = header.type == RecordType::kHole;
        auto head = decode_extent_head(payload, hole);
        if (!head) return {};
        std::uint64_t data = offset + kRecordHeaderSize + header.checked_length;
        for (std::uint32_t i = 0; i < head->count; ++i) {
            ExtentBlock block = hole ? ExtentBlock{} : extent_block_at(*head, i);
            batch.put_block(
                header.object, head->first_block + i,
                {header.epoch, hole, file, hole ? offset : data, block.length, block.checksum});
            data += block.length;
        }
    }
    return {};
}

Result<void> replay_file(VolumeCore& core, const UndoLog::FileInfo& file, std::uint64_t from) {
    IndexBatch batch;
    std::map<std::pair<ObjectId, Epoch>, std::uint64_t> tails;
    Result<void> failure;
    UMBRA_ASSIGN(
        auto outcome,
        core.log->scan(file.sequence, from, UndoLog::Check::kPayload,
                       [&](const RecordHeader& header, std::uint64_t offset) {
                           failure = replay(core, header, file.sequence, offset, batch, tails);
                           if (failure && batch.size() > 10000) {
                               failure = core.index->write(batch);
                               batch = IndexBatch();
                           }
                           return failure ? UndoLog::Visit::kContinue : UndoLog::Visit::kStop;
                       }));
    UMBRA_TRY(std::move(failure));
    batch.put_applied({file.sequence, outcome.end});
    UMBRA_TRY(core.index->write(batch));
    std::string name = "undo log file " + std::to_string(file.sequence);
    if (outcome.torn) outcome.damaged.push_back(outcome.end);
    for (std::uint64_t offset : outcome.damaged)
        core.tell(EventId::kRecordDamaged, name + " is damaged at offset " +
                                               std::to_string(offset) +
                                               "; what stood there is lost, the rest is not");
    return {};
}

// Where to begin so that everything from `offset` on is seen. What lay around it may have been
// given back since, as one range: then no record begins there any more, and only from the file's
// beginning are records found.
Result<std::uint64_t> record_at(VolumeCore& core, std::uint64_t file, std::uint64_t offset) {
    UMBRA_ASSIGN(auto outcome, core.log->scan(file, offset, UndoLog::Check::kHeader,
                                              [](const RecordHeader&, std::uint64_t) {
                                                  return UndoLog::Visit::kStop;
                                              }));
    const bool unreadable = outcome.torn || !outcome.damaged.empty();
    return unreadable ? std::uint64_t{0} : offset;
}

Result<void> replay_from(VolumeCore& core, AppliedPosition from) {
    for (const auto& file : core.log->files()) {
        if (file.sequence < from.file) continue;
        std::uint64_t offset = 0;
        if (file.sequence == from.file) {
            UMBRA_ASSIGN(offset, record_at(core, file.sequence, from.offset));
        }
        UMBRA_TRY(replay_file(core, file, offset));
    }
    return {};
}

// Where the log ends. After an unclean end everything in the newest file is checked, data too: a
// record that was not durable yet may be torn in any part, and nothing has been changed on its
// account. All other files were synced whole.
Result<AppliedPosition> settle_tail(VolumeCore& core) {
    auto files = core.log->files();
    if (files.empty()) return AppliedPosition{};
    std::uint64_t newest = files.back().sequence;
    UMBRA_ASSIGN(auto outcome, core.log->scan(newest, 0, UndoLog::Check::kData,
                                              [](const RecordHeader&, std::uint64_t) {
                                                  return UndoLog::Visit::kContinue;
                                              }));
    if (outcome.torn)
        core.tell(EventId::kLogTailTruncated,
                  "the last write to undo log file " + std::to_string(newest) +
                      " was torn; truncated to its last whole record at offset " +
                      std::to_string(outcome.end));
    // What was merely reserved behind the end is returned as well.
    UMBRA_TRY(core.log->truncate_tail(newest, outcome.end));
    return AppliedPosition{newest, outcome.end};
}

// Opens the index and tells up to where it is right; no value (and a reason) when it must be
// rebuilt.
std::optional<AppliedPosition> open_index(VolumeCore& core, const Index::Options& options,
                                          const std::optional<AppliedPosition>& log_end,
                                          std::string& why) {
    if (core.rebuild_index) {
        why = "it was asked for";
        return std::nullopt;
    }
    if (faccessat(core.diff_area.get(), kRebuildMarkName, F_OK, 0) == 0) {
        why = "damage was found in it";
        return std::nullopt;
    }
    auto opened = Index::open(options);
    if (!opened) {
        why = opened.error().text();
        return std::nullopt;
    }
    core.index = std::move(*opened);
    auto applied = core.index->applied();
    if (!applied) {
        why = applied.error().text();
        return std::nullopt;
    }
    if (core.index->created() && !core.log->files().empty()) {
        why = "it is empty or missing";
        return std::nullopt;
    }
    // A power cut can leave the index ahead of the log: it then speaks of records that do not
    // exist.
    if (log_end && applied->file == log_end->file && applied->offset > log_end->offset) {
        why = "it is ahead of the undo log";
        return std::nullopt;
    }
    return *applied;
}

// The index is whole again, and durably so before that is forgotten.
Result<void> forget_rebuild_mark(VolumeCore& core) {
    if (faccessat(core.diff_area.get(), kRebuildMarkName, F_OK, 0) != 0) return {};
    UMBRA_TRY(core.index->flush());
    if (unlinkat(core.diff_area.get(), kRebuildMarkName, 0) != 0 && errno != ENOENT)
        return errno_error(errno, std::string("removing ") + kRebuildMarkName);
    return {};
}

Result<void> rebuild_index(VolumeCore& core, const Index::Options& options,
                           const std::string& why) {
    core.tell(EventId::kIndexRebuilt,
              core.rebuild_index
                  ? "the index is rebuilt from the undo log, as was asked for"
                  : "the index could not be used (" + why + "); it is rebuilt from the undo log");
    core.index.reset();
    UMBRA_TRY(Index::destroy(options.path));
    UMBRA_ASSIGN(core.index, Index::open(options));
    core.index_damage_told = false;
    UMBRA_TRY(replay_from(core, AppliedPosition{}));
    return forget_rebuild_mark(core);
}

}  // namespace

Result<void> recover_log_and_index(VolumeCore& core, const std::string& index_path,
                                   std::uint64_t memory_bytes, bool clean) {
    std::optional<AppliedPosition> log_end;
    if (!clean) {
        UMBRA_ASSIGN(log_end, settle_tail(core));
    }
    Index::Options options;
    options.path = index_path;
    options.memory_bytes = memory_bytes;
    options.oldest_snapshot = [catalog = core.catalog.get()] { return catalog->oldest(); };
    options.on_damage = [&core](const Error& error) { core.index_is_damaged(error.text()); };
    std::string why;
    auto from = open_index(core, options, log_end, why);
    if (!from) return rebuild_index(core, options, why);
    // A file that was removed as unneeded may have been the newest: its sequence is not given out
    // again.
    core.log->raise_sequence(from->file);
    auto replayed = replay_from(core, *from);
    if (!replayed && core.index_damage_told)
        return rebuild_index(core, options, replayed.error().text());
    return replayed;
}

}  // namespace umbra
