// Everything about an object but its contents: what stat shows, symlink target, xattrs (which hold
// the ACLs too), and where it was found. This is what an "attributes" undo record keeps.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "snapstore/object_id.h"
#include "snapstore/result.h"

namespace umbra {

struct ExtendedAttribute {
    std::string name;
    std::string value;
    bool operator==(const ExtendedAttribute&) const = default;
};

// One name of an object, as known when its attributes were preserved; a hint that lets `diff` print
// a path. For hard-linked files it is one of the names.
struct Location {
    ObjectId parent;
    std::string name;
    bool known() const { return parent.valid(); }
};

struct Attributes {
    struct stat status {};  // st_ino is the underlying inode number; st_dev is not kept
    std::string symlink_target;
    std::vector<ExtendedAttribute> extended;  // sorted by name
    Location location;
};

// Reads everything but the location from an open descriptor (O_PATH is enough).
Result<Attributes> read_attributes(int fd);

// Names of the xattrs of an open descriptor (O_PATH is enough), and the value of one.
Result<std::vector<std::string>> list_extended_attributes(int fd);
Result<std::string> get_extended_attribute(int fd, const std::string& name);

// The bytes of an undo record's payload; docs/format.md, "attributes".
std::string encode_attributes(const Attributes& attributes);
Result<Attributes> decode_attributes(std::span<const std::byte> bytes);

}  // namespace umbra
