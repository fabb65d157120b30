#include "snapstore/keys.h"

namespace umbra {

namespace {

void put_big_endian(std::string& key, std::uint64_t value, int bytes) {
    for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8)
        key += static_cast<char>((value >> shift) & 0xFF);
}

std::uint64_t get_big_endian(std::string_view bytes) {
    std::uint64_t value = 0;
    for (char c : bytes) value = value << 8 | static_cast<unsigned char>(c);
    return value;
}

}  // namespace

std::string object_key_prefix(KeyKind kind, ObjectId object) {
    std::string key;
    key.reserve(64);
    key += static_cast<char>(kind);
    put_big_endian(key, object.inode, 8);
    put_big_endian(key, object.generation, 4);
    return key;
}

std::string attributes_key(ObjectId object, Epoch epoch) {
    std::string key = object_key_prefix(KeyKind::kAttributes, object);
    put_big_endian(key, epoch, 8);
    return key;
}

std::string birth_key(ObjectId object) { return object_key_prefix(KeyKind::kBirth, object); }

std::string content_key(ObjectId object, Epoch epoch) {
    std::string key = object_key_prefix(KeyKind::kContent, object);
    put_big_endian(key, epoch, 8);
    return key;
}

std::string entry_key_prefix(ObjectId directory, std::string_view name) {
    std::string key = object_key_prefix(KeyKind::kEntry, directory);
    key += name;
    key += '\0';
    return key;
}

std::string entry_key(ObjectId directory, std::string_view name, Epoch epoch) {
    std::string key = entry_key_prefix(directory, name);
    put_big_endian(key, epoch, 8);
    return key;
}

std::string extent_key(ObjectId object, std::uint64_t block, Epoch epoch) {
    std::string key = object_key_prefix(KeyKind::kExtent, object);
    put_big_endian(key, block, 8);
    put_big_endian(key, epoch, 8);
    return key;
}

std::string meta_key(std::string_view name) {
    return static_cast<char>(KeyKind::kMeta) + std::string(name);
}

std::optional<Epoch> key_epoch(std::string_view key) {
    if (key.size() < kKeyPrefixSize + 8) return std::nullopt;
    return get_big_endian(key.substr(key.size() - 8));
}

std::optional<ObjectId> key_object(std::string_view key) {
    if (key.size() < kKeyPrefixSize) return std::nullopt;
    return ObjectId{get_big_endian(key.substr(1, 8)),
                    static_cast<std::uint32_t>(get_big_endian(key.substr(9, 4)))};
}

std::optional<std::string_view> entry_key_name(std::string_view key) {
    if (key.size() < kKeyPrefixSize + 1 + 8 || key[0] != static_cast<char>(KeyKind::kEntry))
        return std::nullopt;
    return key.substr(kKeyPrefixSize, key.size() - kKeyPrefixSize - 1 - 8);
}

std::optional<std::uint64_t> extent_key_block(std::string_view key) {
    if (key.size() != kKeyPrefixSize + 16 || key[0] != static_cast<char>(KeyKind::kExtent))
        return std::nullopt;
    return get_big_endian(key.substr(kKeyPrefixSize, 8));
}

}  // namespace umbra
