// The reader of the undo log, with files of any bytes: walking, checking, decoding every payload.
// And that of the list of snapshots.
#include <fcntl.h>

#include "snapstore/attributes.h"
#include "snapstore/undo_log.h"
#include "snapstore/unique_fd.h"
#include "snapstore/volume_files.h"
#include "tests/fuzz/fuzz_target.h"

namespace umbra::fuzz {

namespace {

constexpr const char* kUuid = "00000000-0000-4000-8000-000000000000";

void decode_all(std::span<const std::byte> payload) {
    static_cast<void>(decode_entry(payload));
    static_cast<void>(decode_content(payload));
    static_cast<void>(decode_redo(payload));
    static_cast<void>(decode_applied(payload));
    static_cast<void>(decode_attributes(payload));
    static_cast<void>(decode_extent_head(payload, true));
    if (auto head = decode_extent_head(payload, false))
        for (std::uint32_t i = 0; i < head->count; ++i)
            static_cast<void>(extent_block_at(*head, i));
}

void walk(UndoLog& log, UndoLog::Check check, std::uint64_t size) {
    std::uint64_t last = 0;
    auto outcome =
        log.scan(kLogSequence, 0, check, [&](const RecordHeader& header, std::uint64_t offset) {
            require(offset >= last && offset + header.length <= size, "a record out of place");
            last = offset + header.length;
            std::vector<std::byte> payload(header.payload_length);
            require(log.read(kLogSequence, offset + kRecordHeaderSize, payload).has_value(),
                    "a record that is not all there");
            decode_all(payload);
            return UndoLog::Visit::kContinue;
        });
    require(outcome.has_value() && outcome->end <= size, "walking the log failed");
    for (std::uint64_t place : outcome->damaged) require(place < size, "damage behind the end");
}

}  // namespace

void run_one(std::span<const std::uint8_t> bytes) {
    Input input(bytes);
    if (!bytes.empty() && bytes.front() == 'c') {
        input.byte();
        return run_catalog(input);
    }
    const std::string file = log_file_of(input, kUuid);
    const auto name = scratch() / format_log_file_name({kLogEpoch, kLogSequence});
    write_file(name, file);
    const UniqueFd directory(::open(scratch().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    UndoLog::Options options;
    options.directory = directory.get();
    options.volume_uuid = kUuid;
    auto log = UndoLog::open(options);
    require(log.has_value(), "a log could not be opened");
    walk(**log, UndoLog::Check::kHeader, file.size());
    walk(**log, UndoLog::Check::kPayload, file.size());
    walk(**log, UndoLog::Check::kData, file.size());
    static_cast<void>((*log)->seal(kLogSequence));
    decode_all(std::as_bytes(bytes));
}

std::vector<std::string> seeds() {
    std::vector<std::string> list = catalog_seeds();
    list.push_back(seed_of_log_file(13, 7));
    list.push_back("r" + std::string(200, 'U'));
    return list;
}

}  // namespace umbra::fuzz
