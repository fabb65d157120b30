#include "snapstore/log_format.h"

#include <xxhash.h>

#include "snapstore/bytes.h"

namespace umbra {

namespace {

std::uint64_t header_checksum(std::span<const std::byte> bytes, std::uint64_t file_sequence,
                              std::uint64_t offset) {
    return XXH3_64bits_withSeed(bytes.data(), bytes.size(),
                                file_sequence * 0x9E3779B97F4A7C15ULL ^ offset);
}

std::span<const std::byte> as_bytes(const std::string& text) {
    return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}

}  // namespace

std::uint64_t checksum(std::span<const std::byte> bytes) {
    return XXH3_64bits(bytes.data(), bytes.size());
}

Checksum::Checksum() : state_(XXH3_createState()) { XXH3_64bits_reset(state_); }
Checksum::~Checksum() { XXH3_freeState(state_); }
void Checksum::add(std::span<const std::byte> bytes) {
    XXH3_64bits_update(state_, bytes.data(), bytes.size());
}
std::uint64_t Checksum::value() const { return XXH3_64bits_digest(state_); }

std::string encode_record_header(const RecordHeader& header, std::uint64_t file_sequence,
                                 std::uint64_t offset) {
    ByteWriter writer;
    writer.put(kRecordMagic);
    writer.put(static_cast<std::uint8_t>(header.type)).put(kRecordVersion).put(std::uint16_t{0});
    writer.put(header.length).put(header.payload_length);
    writer.put(static_cast<std::uint32_t>(header.epoch))
        .put(static_cast<std::uint32_t>(header.epoch >> 32));
    writer.put(header.object.inode).put(header.object.generation).put(header.checked_length);
    writer.put(header.synced_to).put(header.payload_checksum);
    std::string bytes = writer.take();
    std::uint64_t sum = header_checksum(as_bytes(bytes), file_sequence, offset);
    bytes += ByteWriter().put(sum).take();
    return bytes;
}

std::optional<RecordHeader> decode_record_header(std::span<const std::byte> bytes,
                                                 std::uint64_t file_sequence,
                                                 std::uint64_t offset) {
    if (bytes.size() < kRecordHeaderSize) return std::nullopt;
    ByteReader reader(bytes.first(kRecordHeaderSize));
    if (reader.get<std::uint32_t>() != kRecordMagic) return std::nullopt;
    RecordHeader header;
    header.type = static_cast<RecordType>(reader.get<std::uint8_t>());
    if (reader.get<std::uint8_t>() != kRecordVersion) return std::nullopt;
    reader.get<std::uint16_t>();
    header.length = reader.get<std::uint32_t>();
    header.payload_length = reader.get<std::uint32_t>();
    header.epoch = reader.get<std::uint32_t>();
    header.epoch |= static_cast<Epoch>(reader.get<std::uint32_t>()) << 32;
    header.object.inode = reader.get<std::uint64_t>();
    header.object.generation = reader.get<std::uint32_t>();
    header.checked_length = reader.get<std::uint32_t>();
    header.synced_to = reader.get<std::uint64_t>();
    header.payload_checksum = reader.get<std::uint64_t>();
    auto sum = reader.get<std::uint64_t>();
    if (sum != header_checksum(bytes.first(kRecordHeaderSize - 8), file_sequence, offset))
        return std::nullopt;
    if (header.length % kRecordAlignment != 0 || header.length < kRecordHeaderSize ||
        header.payload_length > header.length - kRecordHeaderSize ||
        header.checked_length > header.payload_length)
        return std::nullopt;
    return header;
}

std::string encode_entry(const EntryRecord& record) {
    return ByteWriter()
        .put(record.object.inode)
        .put(record.object.generation)
        .put(record.type)
        .put_text(record.name)
        .take();
}

std::optional<EntryRecord> decode_entry(std::span<const std::byte> payload) {
    ByteReader reader(payload);
    EntryRecord record;
    record.object.inode = reader.get<std::uint64_t>();
    record.object.generation = reader.get<std::uint32_t>();
    record.type = reader.get<std::uint8_t>();
    record.name = reader.get_text();
    if (!reader.ok() || !reader.at_end()) return std::nullopt;
    return record;
}

std::string encode_content(const ContentRecord& record) {
    return ByteWriter().put(record.tail_block).take();
}

std::optional<ContentRecord> decode_content(std::span<const std::byte> payload) {
    ByteReader reader(payload);
    ContentRecord record{reader.get<std::uint64_t>()};
    if (!reader.ok() || !reader.at_end()) return std::nullopt;
    return record;
}

std::string encode_extent_head(std::uint64_t first_block, std::uint32_t count,
                               std::span<const ExtentBlock> blocks) {
    ByteWriter writer;
    writer.put(first_block).put(count);
    for (const auto& block : blocks) writer.put(block.length).put(block.checksum);
    return writer.take();
}

std::optional<DecodedExtentHead> decode_extent_head(std::span<const std::byte> payload, bool hole) {
    ByteReader reader(payload);
    DecodedExtentHead head;
    head.first_block = reader.get<std::uint64_t>();
    head.count = reader.get<std::uint32_t>();
    if (!reader.ok() || head.count == 0 || head.count > kMaxExtentBlocks) return std::nullopt;
    if (hole) return head;
    std::size_t table = head.count * kExtentPerBlockSize;
    if (reader.rest().size() < table) return std::nullopt;
    head.block_table.assign(reinterpret_cast<const char*>(reader.rest().data()), table);
    return head;
}

ExtentBlock extent_block_at(const DecodedExtentHead& head, std::uint32_t index) {
    ByteReader reader(std::string_view(head.block_table)
                          .substr(index * kExtentPerBlockSize, kExtentPerBlockSize));
    ExtentBlock block;
    block.length = reader.get<std::uint32_t>();
    block.checksum = reader.get<std::uint64_t>();
    return block;
}

std::string encode_redo_head(std::uint64_t offset) { return ByteWriter().put(offset).take(); }

std::optional<DecodedRedo> decode_redo(std::span<const std::byte> payload) {
    if (payload.size() < kRedoFixedSize) return std::nullopt;
    ByteReader reader(payload.first(kRedoFixedSize));
    return DecodedRedo{reader.get<std::uint64_t>(), payload.subspan(kRedoFixedSize)};
}

std::string encode_applied(const LogEnd& end) {
    return ByteWriter().put(end.file).put(end.offset).take();
}

std::optional<LogEnd> decode_applied(std::span<const std::byte> payload) {
    ByteReader reader(payload);
    LogEnd end{reader.get<std::uint64_t>(), 0};
    end.offset = reader.get<std::uint64_t>();
    if (!reader.ok() || !reader.at_end()) return std::nullopt;
    return end;
}

}  // namespace umbra
