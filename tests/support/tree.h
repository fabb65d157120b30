// An exact picture of a directory tree, and the differences of two pictures.
#pragma once

#include <sys/stat.h>
#include <time.h>

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace umbra::test {

// Contents are remembered as one checksum for each block of this many bytes.
constexpr int64_t kPictureBlock = 16384;

struct TreeNode {
    mode_t mode = 0;  // with the type
    uid_t uid = 0;
    gid_t gid = 0;
    uint64_t nlink = 0;
    int64_t size = 0;
    uint64_t inode = 0;
    uint64_t device = 0;
    uint64_t rdev = 0;
    timespec atime{}, mtime{}, ctime{};
    std::string target;  // of a symbolic link
    std::map<std::string, std::string>
        xattrs;                    // all of them, ACLs in their system.posix_acl_* form
    std::vector<uint64_t> blocks;  // checksums of a regular file's contents
    // The first path, in order, that is the same file: the hard-link group it belongs to.
    std::string first_link;
    // Where lseek says data is. Only with CaptureOptions::holes.
    std::vector<std::pair<int64_t, int64_t>> data_ranges;
    // Bytes that are not zero though lseek calls them a hole: must be empty.
    std::string hole_lies;
    // What could not be read, and why; compared like everything else.
    std::string error;
};

struct CaptureOptions {
    bool contents = true;
    bool xattrs = true;
    bool holes = false;
    // Paths relative to the root that are left out with all below them.
    std::set<std::string> without;
};

// Relative path to node; the root itself is ".".
struct Tree {
    std::map<std::string, TreeNode> nodes;
};

// Takes the picture without changing access times where it may (O_NOATIME). Never crosses into
// another filesystem unless that is the root's own. Throws std::runtime_error if the root cannot be
// opened.
Tree capture(const std::filesystem::path& root, const CaptureOptions& options = {});

struct CompareOptions {
    bool mode = true;
    bool owner = true;
    bool nlink = true;
    bool directory_nlink = true;
    bool mtime = true;
    bool ctime = true;
    bool atime = false;
    bool xattrs = true;
    bool contents = true;
    bool links = true;
    bool inode = false;
    // Sizes of directories mean nothing across filesystems.
    bool directory_size = false;
    // Exact equality of the hole maps; without it a hole may be data, but must not lie.
    bool holes = false;
    // Leave out the root itself.
    bool root = true;
    // Only names and types.
    bool only_names = false;
};

// One line for each difference, in both directions ("only in expected", "only in actual"); empty
// when the trees are equal.
std::vector<std::string> compare(const Tree& expected, const Tree& actual,
                                 const CompareOptions& options = {});

// The first `limit` lines as one text, to show in a failed check.
std::string join_lines(const std::vector<std::string>& lines, size_t limit = 40);

// "no differences" or the lines: `CHECK(differences(a, b) == kNoDifferences)`.
inline const std::string kNoDifferences = "no differences";
std::string differences(const Tree& expected, const Tree& actual,
                        const CompareOptions& options = {});

}  // namespace umbra::test
