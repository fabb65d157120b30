#include <doctest/doctest.h>

#include <algorithm>
#include <string>
#include <tuple>
#include <vector>

#include "snapstore/keys.h"

using namespace umbra;

namespace {

const std::vector<std::uint64_t> kNumbers = {
    0,         1,     2,     127,        128,         255,        256,
    257,       65535, 65536, 0xFFFFFFFF, 0x100000000, 1ull << 63, UINT64_MAX - 1,
    UINT64_MAX};

}  // namespace

TEST_SUITE("keys") {
    TEST_CASE("keys of one thing sort by epoch, and things by their numbers") {
        std::vector<std::pair<std::tuple<std::uint64_t, std::uint32_t, std::uint64_t>, std::string>>
            attributes, contents;
        std::vector<std::pair<std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>, std::string>>
            extents;
        for (std::uint64_t inode : kNumbers)
            for (std::uint32_t generation : {0u, 1u, 255u, 256u, 0xFFFFFFFFu})
                for (std::uint64_t epoch : kNumbers) {
                    attributes.push_back(
                        {{inode, generation, epoch}, attributes_key({inode, generation}, epoch)});
                    contents.push_back(
                        {{inode, generation, epoch}, content_key({inode, generation}, epoch)});
                }
        for (std::uint64_t inode : kNumbers)
            for (std::uint64_t block : kNumbers)
                for (std::uint64_t epoch : kNumbers)
                    extents.push_back(
                        {{inode, block, epoch}, extent_key({inode, 7}, block, epoch)});
        auto sorted_alike = [](auto list) {
            std::sort(list.begin(), list.end());
            return std::is_sorted(
                       list.begin(), list.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; }) &&
                   std::adjacent_find(list.begin(), list.end(), [](const auto& a, const auto& b) {
                       return a.second == b.second;
                   }) == list.end();
        };
        CHECK(sorted_alike(attributes));
        CHECK(sorted_alike(contents));
        CHECK(sorted_alike(extents));
    }

    TEST_CASE(
        "the records of a name lie together in the order of their epochs, whatever the name") {
        const std::vector<std::string> names = {
            "a",    "ab",       "abc",      "b",     std::string(255, 'x'),
            "\x01", "\xff",     "\xff\xff", "a\x01", " ",
            "a\nb", "\xc3\xa4", "aa"};
        ObjectId directory{42, 7};
        for (const auto& name : names) {
            std::string prefix = entry_key_prefix(directory, name);
            for (const auto& other : names) {
                for (Epoch epoch : kNumbers) {
                    std::string key = entry_key(directory, other, epoch);
                    // One name being a prefix of another, or an epoch's bytes looking like a name,
                    // mixes nothing up.
                    CHECK((key.starts_with(prefix) && key.size() == prefix.size() + 8) ==
                          (name == other));
                    CHECK(entry_key_name(key) == other);
                    CHECK(key_epoch(key) == epoch);
                }
            }
            for (std::size_t i = 1; i < kNumbers.size(); ++i)
                CHECK(entry_key(directory, name, kNumbers[i - 1]) <
                      entry_key(directory, name, kNumbers[i]));
        }
    }

    TEST_CASE("a key says what it is of, and what is no such key says nothing") {
        ObjectId object{0x0102030405060708, 0x0A0B0C0D};
        CHECK(object_key_prefix(KeyKind::kAttributes, object) ==
              std::string("A\x01\x02\x03\x04\x05\x06\x07\x08\x0a\x0b\x0c\x0d"));
        CHECK(object_key_prefix(KeyKind::kBirth, object).size() == kKeyPrefixSize);
        CHECK(key_epoch(attributes_key(object, 77)) == 77);
        CHECK(extent_key_block(extent_key(object, 99, 77)) == 99);
        CHECK(key_epoch(extent_key(object, 99, 77)) == 77);
        CHECK_FALSE(key_epoch(birth_key(object)).has_value());
        CHECK_FALSE(key_epoch("").has_value());
        CHECK_FALSE(extent_key_block(attributes_key(object, 77)).has_value());
        CHECK_FALSE(extent_key_block(entry_key(object, "1234567", 77)).has_value());
        CHECK_FALSE(entry_key_name(extent_key(object, 99, 77)).has_value());
        CHECK_FALSE(entry_key_name(std::string("E") + std::string(15, 'x')).has_value());
        CHECK(meta_key("applied") != meta_key("format"));
    }
}
