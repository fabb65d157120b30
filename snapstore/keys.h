// The keys of the index, built and parsed only here (docs/format.md, "Index"). Numbers are
// big-endian, so that "as of snapshot s" is one seek to (thing, s): the first key at or after it
// holds the record with the smallest epoch >= s.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "snapstore/object_id.h"

namespace umbra {

enum class KeyKind : char {
    kAttributes = 'A',  // object, epoch
    kBirth = 'B',       // object
    kContent = 'C',     // object, epoch
    kEntry = 'E',       // directory, name, 0, epoch
    kMeta = 'M',        // name
    kExtent = 'X',      // object, block, epoch
};

// Kind and object: what all keys of one thing share; RocksDB's prefix filters work on it.
inline constexpr std::size_t kKeyPrefixSize = 1 + 8 + 4;

// The name of an entry record that speaks of a whole directory: as of its epoch, every name without
// a record of its own was absent.
inline constexpr const char* kEveryOtherName = "";

std::string object_key_prefix(KeyKind kind, ObjectId object);
std::string attributes_key(ObjectId object, Epoch epoch);
std::string birth_key(ObjectId object);
std::string content_key(ObjectId object, Epoch epoch);
std::string entry_key_prefix(ObjectId directory, std::string_view name);  // without the epoch
std::string entry_key(ObjectId directory, std::string_view name, Epoch epoch);
std::string extent_key(ObjectId object, std::uint64_t block, Epoch epoch);
std::string meta_key(std::string_view name);

// The epoch that ends every key of kinds A, C, E, X.
std::optional<Epoch> key_epoch(std::string_view key);
// The object of a key of kinds A, B, C, E, X.
std::optional<ObjectId> key_object(std::string_view key);
std::optional<std::string_view> entry_key_name(std::string_view key);
std::optional<std::uint64_t> extent_key_block(std::string_view key);

}  // namespace umbra
