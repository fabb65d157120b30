// An exact picture of a tree, taken of a plain directory or of a snapshot, and the differences of
// two.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "snapstore/attributes.h"
#include "snapstore/past_tree.h"

namespace umbra::test {

struct PictureNode {
    std::uint64_t mode = 0, uid = 0, gid = 0, links = 0, size = 0, device = 0, inode = 0;
    std::int64_t mtime = 0, ctime = 0;  // nanoseconds since 1970
    std::string target;                 // of a symlink
    std::map<std::string, std::string> extended;
    std::string content;
    std::string error;  // what could not be read; makes any comparison fail
};

// Path relative to the root ("" is the root itself) to node.
using Picture = std::map<std::string, PictureNode>;

// Of a plain directory. Umbra's own names in its root are left out, and not counted in the root's
// links.
Picture picture_of_directory(const std::string& root);
// Of a snapshot: every name, attribute, xattr and byte of it, and that lseek never calls data a
// hole.
Picture picture_of_past(PastTree past);

struct Exactness {
    bool inodes = true;          // inode numbers and ctime: of the very same objects
    bool times = true;           // mtime
    bool directory_size = true;  // size of directories
    bool directory_links = true;
};
// One line for each difference in either direction; "" when there is none.
std::string differences(const Picture& expected, const Picture& actual,
                        const Exactness& exactness = {});

// To hand a picture from one process to another.
std::string encode_picture(const Picture& picture);
Picture decode_picture(const std::string& bytes);

// "content" for a failed check: length and hash rather than the bytes.
std::string describe_content(const std::string& content);

}  // namespace umbra::test
