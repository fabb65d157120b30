// Constants and byte layout of the undo log, shared by its writer and its reader. The twin of this
// file is docs/format.md, "Undo log"; change both together. Values are on disk: never renumber.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "snapstore/object_id.h"

struct XXH3_state_s;  // of xxhash.h

namespace umbra {

enum class RecordType : std::uint8_t {
    kFileHeader = 1,  // first record of every log file: volume UUID, sequence, epoch
    kEntry = 2,       // a directory entry: what (directory, name) was
    kAttributes = 3,  // an object's attributes
    kContent =
        4,  // an object's contents begin to change: from which block on nothing needs preserving
    kExtent = 5,   // original blocks of a file
    kHole = 6,     // original blocks of a file that were a hole
    kDead = 7,     // a range that nobody needs any more; its inside may be a punched hole
    kRedo = 8,     // new bytes of a file that has not got them yet: a deferred write
    kApplied = 9,  // every redo record up to a place has reached its file
};

inline constexpr std::uint32_t kRecordMagic = 0x4C424D55;  // "UMBL"
inline constexpr std::uint8_t kRecordVersion = 1;
inline constexpr std::size_t kRecordHeaderSize = 64;
inline constexpr std::size_t kRecordAlignment = 64;  // a header never straddles a disk sector
inline constexpr std::uint64_t kMaxRecordLength = 1ull << 31;

// Data is preserved in blocks of this size.
inline constexpr std::uint64_t kBlockSize = 16 * 1024;
inline constexpr std::uint64_t kMaxExtentBlocks = 64;

struct RecordHeader {
    RecordType type = RecordType::kDead;
    std::uint32_t length = 0;          // whole record with header and padding
    std::uint32_t payload_length = 0;  // without padding
    Epoch epoch = 0;
    ObjectId object;
    std::uint64_t synced_to = 0;  // everything before this offset of the file was durable by then
    std::uint64_t payload_checksum = 0;  // XXH3 of the first checked_length payload bytes
    std::uint32_t checked_length = 0;    // all of the payload, but for extents: without the data
};

// The header's bytes; its checksum covers the place too, so that a record is valid only where it
// was written.
std::string encode_record_header(const RecordHeader& header, std::uint64_t file_sequence,
                                 std::uint64_t offset);
// No value when these bytes are no valid header for that place.
std::optional<RecordHeader> decode_record_header(std::span<const std::byte> bytes,
                                                 std::uint64_t file_sequence, std::uint64_t offset);

std::uint64_t checksum(std::span<const std::byte> bytes);

// The same of bytes that come in parts.
class Checksum {
   public:
    Checksum();
    ~Checksum();
    Checksum(const Checksum&) = delete;
    Checksum& operator=(const Checksum&) = delete;
    void add(std::span<const std::byte> bytes);
    std::uint64_t value() const;

   private:
    XXH3_state_s* state_;
};

constexpr std::uint64_t align_record(std::uint64_t length) {
    return (length + kRecordAlignment - 1) / kRecordAlignment * kRecordAlignment;
}

// --- payloads
// ----------------------------------------------------------------------------------------

struct EntryRecord {  // of (header.object = directory, name)
    std::string name;
    ObjectId object;        // invalid: the name was absent
    std::uint8_t type = 0;  // DT_*
};
std::string encode_entry(const EntryRecord& record);
std::optional<EntryRecord> decode_entry(std::span<const std::byte> payload);

struct ContentRecord {  // of header.object
    // From this block on there is nothing (left) to preserve in this epoch: either it lay behind
    // the end of the file, or all its data was preserved and everything else was a hole.
    std::uint64_t tail_block = 0;
};
std::string encode_content(const ContentRecord& record);
std::optional<ContentRecord> decode_content(std::span<const std::byte> payload);

// Extent payload: first block, count, then (kExtent only) per block its length in bytes and
// checksum, then the data of all blocks, each block taking its length. Only the last block of a
// file is shorter than kBlockSize.
struct ExtentBlock {
    std::uint32_t length = 0;
    std::uint64_t checksum = 0;
};
inline constexpr std::size_t kExtentFixedSize = 12;
inline constexpr std::size_t kExtentPerBlockSize = 12;
std::string encode_extent_head(std::uint64_t first_block, std::uint32_t count,
                               std::span<const ExtentBlock> blocks);
struct DecodedExtentHead {
    std::uint64_t first_block = 0;
    std::uint32_t count = 0;
    std::string block_table;  // raw; see extent_block_at
};
// `hole`: no block table follows. The table's place is behind the fixed part.
std::optional<DecodedExtentHead> decode_extent_head(std::span<const std::byte> payload, bool hole);
ExtentBlock extent_block_at(const DecodedExtentHead& head, std::uint32_t index);

// Redo payload: the offset in the file of header.object, then the bytes.
inline constexpr std::size_t kRedoFixedSize = 8;
std::string encode_redo_head(std::uint64_t offset);
struct DecodedRedo {
    std::uint64_t offset = 0;
    std::span<const std::byte> data;  // within the payload
};
std::optional<DecodedRedo> decode_redo(std::span<const std::byte> payload);

// A place in the log: everything before it, in this file and in those with a lower sequence.
struct LogEnd {
    std::uint64_t file = 0;
    std::uint64_t offset = 0;
    auto operator<=>(const LogEnd&) const = default;
};
std::string encode_applied(const LogEnd& end);
std::optional<LogEnd> decode_applied(std::span<const std::byte> payload);

}  // namespace umbra
