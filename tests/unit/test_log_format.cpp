#include <doctest/doctest.h>

#include <random>
#include <string>
#include <vector>

#include "snapstore/attributes.h"
#include "snapstore/log_format.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace {

std::span<const std::byte> bytes_of(const std::string& text) {
    return std::as_bytes(std::span(text));
}

RecordHeader sample_header() {
    RecordHeader header;
    header.type = RecordType::kExtent;
    header.length = 192;
    header.payload_length = 100;
    header.epoch = 0x1122334455667788;
    header.object = {0xA1A2A3A4A5A6A7A8, 0xB1B2B3B4};
    header.synced_to = 0x0102030405060708;
    header.payload_checksum = 0xC1C2C3C4C5C6C7C8;
    header.checked_length = 50;
    return header;
}

Attributes sample_attributes() {
    Attributes attributes;
    auto& status = attributes.status;
    status.st_mode = S_IFREG | 06755;
    status.st_uid = 0xFFFFFFFE;
    status.st_gid = 65534;
    status.st_nlink = 70000;
    status.st_size = INT64_MAX;
    status.st_blocks = 12345678901;
    status.st_blksize = 4096;
    status.st_rdev = 0x123456789A;
    status.st_atim = {-5, 999999999};
    status.st_mtim = {1LL << 40, 1};
    status.st_ctim = {0, 0};
    attributes.symlink_target = std::string(4095, 't');
    attributes.location = {{77, 8}, std::string("na\xff\nme")};
    attributes.extended = {{"system.posix_acl_access", std::string("\0\1\2\xff", 4)},
                           {"user.empty", ""},
                           {"user.large", std::string(65536, 'v')}};
    return attributes;
}

}  // namespace

TEST_SUITE("log format") {
    TEST_CASE("a record header is read back, and only in its own place") {
        RecordHeader header = sample_header();
        std::string bytes = encode_record_header(header, 7, 6400);
        REQUIRE(bytes.size() == kRecordHeaderSize);
        auto decoded = decode_record_header(bytes_of(bytes), 7, 6400);
        REQUIRE(decoded.has_value());
        CHECK(decoded->type == header.type);
        CHECK(decoded->length == header.length);
        CHECK(decoded->payload_length == header.payload_length);
        CHECK(decoded->epoch == header.epoch);
        CHECK(decoded->object == header.object);
        CHECK(decoded->synced_to == header.synced_to);
        CHECK(decoded->payload_checksum == header.payload_checksum);
        CHECK(decoded->checked_length == header.checked_length);
        CHECK_FALSE(decode_record_header(bytes_of(bytes), 8, 6400).has_value());
        CHECK_FALSE(decode_record_header(bytes_of(bytes), 7, 6464).has_value());
        CHECK_FALSE(decode_record_header(bytes_of(bytes), 6400, 7).has_value());
    }

    TEST_CASE("any flipped bit and any truncation of a header is noticed") {
        std::string bytes = encode_record_header(sample_header(), 7, 6400);
        for (std::size_t bit = 0; bit < bytes.size() * 8; ++bit) {
            std::string flipped = bytes;
            flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
            CHECK_FALSE(decode_record_header(bytes_of(flipped), 7, 6400).has_value());
        }
        for (std::size_t length = 0; length < bytes.size(); ++length)
            CHECK_FALSE(
                decode_record_header(bytes_of(bytes.substr(0, length)), 7, 6400).has_value());
        CHECK_FALSE(decode_record_header(bytes_of(std::string(64, '\0')), 7, 6400).has_value());
    }

    TEST_CASE("lengths that contradict each other are refused though the checksum is right") {
        auto decodes = [](auto change) {
            RecordHeader header = sample_header();
            change(header);
            return decode_record_header(bytes_of(encode_record_header(header, 7, 6400)), 7, 6400)
                .has_value();
        };
        CHECK(decodes([](RecordHeader&) {}));
        CHECK_FALSE(decodes([](RecordHeader& header) { header.length = 0; }));
        CHECK_FALSE(decodes([](RecordHeader& header) { header.length = 190; }));
        CHECK_FALSE(decodes([](RecordHeader& header) { header.payload_length = 129; }));
        CHECK_FALSE(decodes([](RecordHeader& header) { header.payload_length = UINT32_MAX; }));
        CHECK_FALSE(decodes([](RecordHeader& header) { header.checked_length = 101; }));
    }

    TEST_CASE("a header never straddles a disk sector") {
        CHECK(kRecordHeaderSize <= kRecordAlignment);
        CHECK(512 % kRecordAlignment == 0);
        CHECK(align_record(0) == 0);
        CHECK(align_record(1) == kRecordAlignment);
        CHECK(align_record(kRecordAlignment) == kRecordAlignment);
        CHECK(align_record(kRecordAlignment + 1) == 2 * kRecordAlignment);
    }

    TEST_CASE("entries are read back whatever the name; every truncation and surplus is refused") {
        for (const std::string& name : {std::string("a"), std::string(255, '\xff'),
                                        std::string("a\nb"), std::string("\x01")}) {
            std::string bytes = encode_entry({name, {UINT64_MAX, 5}, 8});
            auto decoded = decode_entry(bytes_of(bytes));
            REQUIRE(decoded.has_value());
            CHECK(decoded->name == name);
            CHECK(decoded->object == ObjectId{UINT64_MAX, 5});
            CHECK(decoded->type == 8);
            for (std::size_t length = 0; length < bytes.size(); ++length)
                CHECK_FALSE(decode_entry(bytes_of(bytes.substr(0, length))).has_value());
            CHECK_FALSE(decode_entry(bytes_of(bytes + "x")).has_value());
        }
        CHECK_FALSE(decode_entry(bytes_of(encode_entry({"gone", {}, 0})))->object.valid());
    }

    TEST_CASE("content records are read back; every truncation and surplus is refused") {
        for (std::uint64_t tail : {std::uint64_t{0}, std::uint64_t{1} << 40, UINT64_MAX}) {
            std::string bytes = encode_content({tail});
            CHECK(decode_content(bytes_of(bytes))->tail_block == tail);
            for (std::size_t length = 0; length < bytes.size(); ++length)
                CHECK_FALSE(decode_content(bytes_of(bytes.substr(0, length))).has_value());
            CHECK_FALSE(decode_content(bytes_of(bytes + "x")).has_value());
        }
    }

    TEST_CASE("extent heads are read back; truncations and impossible counts are refused") {
        for (std::uint32_t count : {1u, 2u, static_cast<std::uint32_t>(kMaxExtentBlocks)}) {
            std::vector<ExtentBlock> table;
            for (std::uint32_t i = 0; i < count; ++i)
                table.push_back({i == count - 1 ? 5u : 16384u, 0x1234567890ABCDEFull * (i + 1)});
            std::string bytes = encode_extent_head(99, count, table);
            CHECK(bytes.size() == kExtentFixedSize + count * kExtentPerBlockSize);
            auto head = decode_extent_head(bytes_of(bytes + "data"), false);
            REQUIRE(head.has_value());
            CHECK(head->first_block == 99);
            CHECK(head->count == count);
            for (std::uint32_t i = 0; i < count; ++i) {
                CHECK(extent_block_at(*head, i).length == table[i].length);
                CHECK(extent_block_at(*head, i).checksum == table[i].checksum);
            }
            for (std::size_t length = 0; length < bytes.size(); ++length)
                CHECK_FALSE(
                    decode_extent_head(bytes_of(bytes.substr(0, length)), false).has_value());
            auto hole = decode_extent_head(bytes_of(encode_extent_head(99, count, {})), true);
            REQUIRE(hole.has_value());
            CHECK(hole->count == count);
        }
        for (std::uint32_t count :
             {0u, static_cast<std::uint32_t>(kMaxExtentBlocks) + 1, UINT32_MAX}) {
            CHECK_FALSE(
                decode_extent_head(
                    bytes_of(encode_extent_head(0, count, {}) + std::string(4096, 'x')), false)
                    .has_value());
            CHECK_FALSE(
                decode_extent_head(bytes_of(encode_extent_head(0, count, {})), true).has_value());
        }
    }

    TEST_CASE("attributes are read back; every truncation and surplus is refused") {
        Attributes attributes = sample_attributes();
        std::string bytes = encode_attributes(attributes);
        auto decoded = decode_attributes(bytes_of(bytes));
        REQUIRE(decoded.has_value());
        const auto& a = attributes.status;
        const auto& b = decoded->status;
        CHECK(a.st_mode == b.st_mode);
        CHECK(a.st_uid == b.st_uid);
        CHECK(a.st_gid == b.st_gid);
        CHECK(a.st_nlink == b.st_nlink);
        CHECK(a.st_size == b.st_size);
        CHECK(a.st_blocks == b.st_blocks);
        CHECK(a.st_blksize == b.st_blksize);
        CHECK(a.st_rdev == b.st_rdev);
        CHECK(a.st_atim.tv_sec == b.st_atim.tv_sec);
        CHECK(a.st_atim.tv_nsec == b.st_atim.tv_nsec);
        CHECK(a.st_mtim.tv_sec == b.st_mtim.tv_sec);
        CHECK(a.st_mtim.tv_nsec == b.st_mtim.tv_nsec);
        CHECK(a.st_ctim.tv_sec == b.st_ctim.tv_sec);
        CHECK(attributes.symlink_target == decoded->symlink_target);
        CHECK(attributes.location.parent == decoded->location.parent);
        CHECK(attributes.location.name == decoded->location.name);
        CHECK(attributes.extended == decoded->extended);
        for (std::size_t length = 0; length < bytes.size(); length += length < 5000 ? 1 : 997) {
            auto cut = decode_attributes(bytes_of(bytes.substr(0, length)));
            REQUIRE_FALSE(cut.has_value());
            CHECK(cut.error().code == EIO);
        }
        CHECK_FALSE(decode_attributes(bytes_of(bytes + "x")).has_value());
        std::string newer = bytes;
        newer[0] = 2;
        CHECK_FALSE(decode_attributes(bytes_of(newer)).has_value());
    }

    TEST_CASE("random bytes crash no decoder") {
        std::mt19937_64 random(1);
        int accepted = 0;
        for (int i = 0; i < 20000; ++i) {
            std::string bytes(random() % 200, '\0');
            for (auto& c : bytes)
                c = static_cast<char>(random() % 4 == 0 ? random() : random() % 3);
            if (auto entry = decode_entry(bytes_of(bytes)))
                accepted += entry->name.size() > bytes.size();
            static_cast<void>(decode_content(bytes_of(bytes)));
            if (auto head = decode_extent_head(bytes_of(bytes), false))
                accepted += head->block_table.size() > bytes.size();
            if (auto attributes = decode_attributes(bytes_of(bytes)))
                accepted += attributes->symlink_target.size() > bytes.size();
            accepted += decode_record_header(bytes_of(bytes), 1, 0).has_value();
        }
        CHECK(accepted == 0);
    }
}
