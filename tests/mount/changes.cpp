#include "tests/mount/changes.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "tests/mount/make.h"

namespace umbra::test {

namespace {

using Path = std::filesystem::path;

constexpr int64_t kBlock = 16384;
constexpr int64_t kSize = 12 * kBlock + 1234;

void must(bool done, const std::string& what) {
    if (!done) throw std::runtime_error(what + ": " + std::strerror(errno));
}

class File {
   public:
    File(const Path& path, int flags) : fd_(::open(path.c_str(), flags | O_CLOEXEC, 0644)) {
        must(fd_ >= 0, "open " + path.string());
    }
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File() { ::close(fd_); }
    int get() const { return fd_; }

    void write(int64_t offset, const std::string& data) const {
        must(::pwrite(fd_, data.data(), data.size(), offset) == static_cast<ssize_t>(data.size()),
             "write");
    }
    void truncate(int64_t size) const { must(::ftruncate(fd_, size) == 0, "truncate"); }
    void allocate(int mode, int64_t offset, int64_t length) const {
        must(::fallocate(fd_, mode, offset, length) == 0, "fallocate");
    }

   private:
    int fd_;
};

// What stays open over snapshots, by directory.
struct Held {
    std::map<std::string, int> descriptors;
    std::map<std::string, char*> mappings;
};

Held& held() {
    static Held things;
    return things;
}

int held_descriptor(const Path& path, int flags) {
    auto& descriptors = held().descriptors;
    const auto found = descriptors.find(path.string());
    if (found != descriptors.end()) return found->second;
    const int fd = ::open(path.c_str(), flags | O_CLOEXEC, 0644);
    must(fd >= 0, "open " + path.string());
    return descriptors[path.string()] = fd;
}

char* held_mapping(const Path& path) {
    auto& mappings = held().mappings;
    const auto found = mappings.find(path.string());
    if (found != mappings.end()) return found->second;
    const File file(path, O_RDWR);
    void* memory = ::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    must(memory != MAP_FAILED, "mmap " + path.string());
    return mappings[path.string()] = static_cast<char*>(memory);
}

std::string numbered(const char* prefix, int number) { return prefix + std::to_string(number); }

void rename_one(const Path& from, const Path& to, unsigned flags = 0) {
    must(::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), flags) == 0,
         "rename " + from.string() + " to " + to.string());
}

void unlink_one(const Path& path) { must(::unlink(path.c_str()) == 0, "unlink " + path.string()); }

void one_file(const Path& directory) { make::file(directory / "file", pattern(kSize), 0644); }

void small_tree(const Path& root) {
    make::directory(root);
    make::directory(root / "sub");
    make::file(root / "sub/one", pattern(20000, 3));
    make::file(root / "two", "small");
    make::symlink("sub/one", root / "link");
    make::link(root / "two", root / "sub/two_again");
}

void add_data_changes(std::vector<Change>& changes) {
    changes.push_back({"overwrite", one_file, [](const Path& directory, int round) {
                           const File file(directory / "file", O_WRONLY);
                           for (const int64_t offset : {int64_t{0}, kBlock - 7, 5 * kBlock + 100}) {
                               file.write(offset + round * 10, pattern(3000, round));
                           }
                       }});
    changes.push_back({"overwrite all", one_file, [](const Path& directory, int round) {
                           File(directory / "file", O_WRONLY).write(0, pattern(kSize, 50 + round));
                       }});
    changes.push_back({"append", one_file, [](const Path& directory, int round) {
                           const File file(directory / "file", O_WRONLY | O_APPEND);
                           file.write(0, pattern(7000, round));
                       }});
    changes.push_back({"shrink", one_file, [](const Path& directory, int round) {
                           File(directory / "file", O_WRONLY).truncate(kSize - round * 40000);
                       }});
    changes.push_back({"shrink and grow", one_file, [](const Path& directory, int round) {
                           const File file(directory / "file", O_WRONLY);
                           file.truncate(1000 * round);
                           file.truncate(kSize + round);
                           file.write(3 * kBlock, "island");
                       }});
    changes.push_back(
        {"empty by O_TRUNC and write", one_file, [](const Path& directory, int round) {
             File(directory / "file", O_WRONLY | O_TRUNC).write(0, pattern(9000, round));
         }});
    changes.push_back({"write past the end", one_file, [](const Path& directory, int round) {
                           File(directory / "file", O_WRONLY).write(kSize + round * 100000, "far");
                       }});
    changes.push_back({"punch holes", one_file, [](const Path& directory, int round) {
                           File(directory / "file", O_WRONLY)
                               .allocate(FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                         round * 2 * kBlock + 100, kBlock + 5000);
                       }});
    changes.push_back(
        {"zero ranges", one_file, [](const Path& directory, int round) {
             const File file(directory / "file", O_WRONLY);
             file.write(round * kBlock, "first something else");
             if (::fallocate(file.get(), FALLOC_FL_ZERO_RANGE, round * 2 * kBlock, 30000) != 0) {
                 must(errno == EOPNOTSUPP, "zero range");
             }
         }});
    changes.push_back(
        {"fill holes",
         [](const Path& directory) {
             make::sparse(directory / "file", 100 * kBlock, 50 * kBlock, "middle");
         },
         [](const Path& directory, int round) {
             File(directory / "file", O_WRONLY).write(round * 9 * kBlock + 5, "filled");
         }});
    changes.push_back({"allocate", one_file, [](const Path& directory, int round) {
                           const File file(directory / "file", O_WRONLY);
                           file.allocate(FALLOC_FL_KEEP_SIZE, kSize, 50000);
                           file.allocate(0, kSize, round * 1000);
                       }});
    changes.push_back({"copy_file_range",
                       [](const Path& directory) {
                           one_file(directory);
                           make::file(directory / "source", pattern(90000, 77));
                       },
                       [](const Path& directory, int round) {
                           const File from(directory / "source", O_RDONLY),
                               to(directory / "file", O_WRONLY);
                           loff_t in = 1000 * round, out = round * 2 * kBlock + 3;
                           must(::copy_file_range(from.get(), &in, to.get(), &out, 40000, 0) > 0,
                                "copy_file_range");
                       }});
    changes.push_back({"O_DIRECT", one_file, [](const Path& directory, int round) {
                           const File file(directory / "file", O_WRONLY | O_DIRECT);
                           void* memory = ::mmap(nullptr, kBlock, PROT_READ | PROT_WRITE,
                                                 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                           must(memory != MAP_FAILED, "mmap");
                           std::memset(memory, 'a' + round, kBlock);
                           const ssize_t count = ::pwrite(file.get(), memory, kBlock, round * 4096);
                           ::munmap(memory, kBlock);
                           must(count == kBlock, "direct write");
                       }});
}

void add_open_file_changes(std::vector<Change>& changes) {
    changes.push_back({"write through a descriptor held over snapshots", one_file,
                       [](const Path& directory, int round) {
                           const int fd = held_descriptor(directory / "file", O_RDWR);
                           const std::string data = pattern(5000, 90 + round);
                           must(::pwrite(fd, data.data(), data.size(), round * kBlock) == 5000,
                                "write");
                       }});
    changes.push_back({"append through a descriptor held over snapshots", one_file,
                       [](const Path& directory, int round) {
                           const int fd = held_descriptor(directory / "file", O_WRONLY | O_APPEND);
                           const std::string data = pattern(5000, 90 + round);
                           must(::write(fd, data.data(), data.size()) == 5000, "append");
                       }});
    changes.push_back({"store through a mapping held over snapshots", one_file,
                       [](const Path& directory, int round) {
                           char* memory = held_mapping(directory / "file");
                           std::memset(memory + 2 * kBlock - 50, 'A' + round, 100);
                           memory[9 * kBlock + round] = 'm';
                       }});
    changes.push_back(
        {"store through a mapping, then msync", one_file, [](const Path& directory, int round) {
             char* memory = held_mapping(directory / "file");
             std::memset(memory + round * kBlock, 'B', 4096);
             must(::msync(memory, kSize, MS_SYNC) == 0, "msync");
         }});
    changes.push_back({"write to an unlinked file", one_file, [](const Path& directory, int round) {
                           const int fd = held_descriptor(directory / "file", O_RDWR);
                           if (round == 1) unlink_one(directory / "file");
                           must(::pwrite(fd, "unlinked", 8, round * kBlock) == 8, "write");
                           must(::ftruncate(fd, kSize - round * 100) == 0, "truncate");
                       }});
}

void add_name_changes(std::vector<Change>& changes) {
    changes.push_back({"unlink and create again", one_file, [](const Path& directory, int round) {
                           unlink_one(directory / "file");
                           make::file(directory / "file", pattern(round * 5000, round), 0600);
                       }});
    changes.push_back({"unlink for good",
                       [](const Path& directory) {
                           for (int i = 1; i <= 5; ++i) {
                               make::file(directory / numbered("file", i), pattern(i * 10000, i));
                           }
                       },
                       [](const Path& directory, int round) {
                           unlink_one(directory / numbered("file", round));
                       }});
    changes.push_back({"rename a file",
                       [](const Path& directory) { make::file(directory / "name0", "x"); },
                       [](const Path& directory, int round) {
                           rename_one(directory / numbered("name", round - 1),
                                      directory / numbered("name", round));
                       }});
    changes.push_back({"rename a directory and change below it",
                       [](const Path& directory) { small_tree(directory / "tree0"); },
                       [](const Path& directory, int round) {
                           const Path tree = directory / numbered("tree", round);
                           rename_one(directory / numbered("tree", round - 1), tree);
                           File(tree / "sub/one", O_WRONLY).write(round * 100, "changed below");
                           make::file(tree / "sub" / numbered("new", round), "new");
                       }});
    changes.push_back({"move a directory to another parent",
                       [](const Path& directory) {
                           make::directory(directory / "odd");
                           make::directory(directory / "even");
                           small_tree(directory / "even/tree");
                       },
                       [](const Path& directory, int round) {
                           const bool odd = round % 2 == 1;
                           rename_one(directory / (odd ? "even/tree" : "odd/tree"),
                                      directory / (odd ? "odd/tree" : "even/tree"));
                       }});
    changes.push_back({"rename over a file", one_file, [](const Path& directory, int round) {
                           make::file(directory / "next", pattern(3000 * round, 30 + round));
                           rename_one(directory / "next", directory / "file");
                       }});
    changes.push_back({"rename over an empty directory",
                       [](const Path& directory) { make::directory(directory / "dir", 0700); },
                       [](const Path& directory, int round) {
                           make::directory(directory / "next", 0750);
                           make::xattr(directory / "next", "user.round", std::to_string(round));
                           rename_one(directory / "next", directory / "dir");
                       }});
    changes.push_back({"exchange a file and a tree",
                       [](const Path& directory) {
                           make::file(directory / "a", pattern(30000, 4));
                           small_tree(directory / "b");
                       },
                       [](const Path& directory, int) {
                           rename_one(directory / "a", directory / "b", RENAME_EXCHANGE);
                       }});
    changes.push_back(
        {"change the type behind a name", one_file, [](const Path& directory, int round) {
             const Path name = directory / "file";
             must(::remove(name.c_str()) == 0, "remove");
             if (round % 4 == 1) make::directory(name);
             if (round % 4 == 2) make::symlink("somewhere", name);
             if (round % 4 == 3) make::node(name, S_IFIFO | 0640);
             if (round % 4 == 0) make::file(name, "a file again");
         }});
    changes.push_back(
        {"hard links come and go",
         [](const Path& directory) {
             make::file(directory / "a", pattern(20000, 6));
             make::link(directory / "a", directory / "b");
             make::directory(directory / "sub");
             make::link(directory / "a", directory / "sub/c");
         },
         [](const Path& directory, int round) {
             make::link(directory / "a", directory / numbered("link", round));
             if (round == 1) unlink_one(directory / "b");
             if (round == 2) unlink_one(directory / "sub/c");
             File(directory / "a", O_WRONLY).write(round * 3000, "through one of the names");
         }});
    changes.push_back({"retarget a symbolic link",
                       [](const Path& directory) { make::symlink("target0", directory / "link"); },
                       [](const Path& directory, int round) {
                           unlink_one(directory / "link");
                           make::symlink(std::string(static_cast<size_t>(round) * 40, 't'),
                                         directory / "link");
                       }});
    changes.push_back({"special files",
                       [](const Path& directory) {
                           make::node(directory / "fifo", S_IFIFO | 0600);
                           make::node(directory / "null", S_IFCHR | 0666, 1, 3);
                           make::node(directory / "socket", S_IFSOCK | 0600);
                       },
                       [](const Path& directory, int round) {
                           if (round == 1) unlink_one(directory / "null");
                           if (round == 2) unlink_one(directory / "fifo");
                           make::node(directory / numbered("block", round), S_IFBLK | 0600, 7,
                                      static_cast<unsigned>(round));
                       }});
}

void remove_whole(const Path& path) {
    if (std::filesystem::remove_all(path) == 0) {
        throw std::runtime_error("nothing to remove: " + path.string());
    }
}

void add_tree_changes(std::vector<Change>& changes) {
    changes.push_back({"remove trees",
                       [](const Path& directory) {
                           for (int i = 1; i <= 5; ++i) small_tree(directory / numbered("tree", i));
                       },
                       [](const Path& directory, int round) {
                           remove_whole(directory / numbered("tree", round));
                       }});
    changes.push_back({"remove and build again",
                       [](const Path& directory) { small_tree(directory / "tree"); },
                       [](const Path& directory, int) {
                           remove_whole(directory / "tree");
                           small_tree(directory / "tree");
                       }});
    changes.push_back({"new trees", [](const Path&) {},
                       [](const Path& directory, int round) {
                           small_tree(directory / numbered("tree", round));
                       }});
    changes.push_back(
        {"a directory of many names",
         [](const Path& directory) {
             for (int i = 0; i < 300; ++i) {
                 make::file(directory / numbered("a_rather_long_name_number_", i), "x");
             }
         },
         [](const Path& directory, int round) {
             for (int i = round; i < 300; i += 7) {
                 const Path name = directory / numbered("a_rather_long_name_number_", i);
                 if (::unlink(name.c_str()) != 0) must(errno == ENOENT, "unlink");
                 make::file(directory / numbered("new", round * 1000 + i), "y");
             }
         }});
    changes.push_back(
        {"names of all kinds of bytes",
         [](const Path& directory) {
             make::file(directory / std::string(255, 'n'), "long");
             make::file(directory / "\xff\xfe", "no UTF-8");
             make::file(directory / "line\nbreak", "x");
             make::file(directory / "@GMT-2020.01.01-00.00.00", "like a token");
             make::directory(directory / ".snapshots");
             make::directory(directory / ".umbra");
         },
         [](const Path& directory, int round) {
             if (round == 1)
                 rename_one(directory / std::string(255, 'n'), directory / std::string(255, 'm'));
             if (round == 2) unlink_one(directory / "\xff\xfe");
             make::file(directory / ".umbra" / numbered("file", round), "ordinary here");
         }});
    changes.push_back({"an unnamed file is named", [](const Path&) {},
                       [](const Path& directory, int round) {
                           const File file(directory, O_TMPFILE | O_RDWR);
                           file.write(0, "unnamed at first");
                           const std::string source = "/proc/self/fd/" + std::to_string(file.get());
                           must(::linkat(AT_FDCWD, source.c_str(), AT_FDCWD,
                                         (directory / numbered("named", round)).c_str(),
                                         AT_SYMLINK_FOLLOW) == 0,
                                "linkat");
                       }});
}

void all_kinds(const Path& directory) {
    make::file(directory / "file", "contents", 0644);
    make::directory(directory / "dir", 0755);
    make::symlink("target", directory / "link");
    make::node(directory / "fifo", S_IFIFO | 0644);
}

void add_attribute_changes(std::vector<Change>& changes) {
    changes.push_back({"chmod", all_kinds, [](const Path& directory, int round) {
                           const mode_t mode = round == 1 ? 04711 : round == 2 ? 0600 : 02775;
                           for (const char* name : {"file", "dir", "fifo"})
                               make::mode(directory / name, mode);
                       }});
    changes.push_back({"chown", all_kinds, [](const Path& directory, int round) {
                           for (const char* name : {"file", "dir", "link", "fifo"}) {
                               make::own(directory / name, kOwnerId + static_cast<uid_t>(round),
                                         kForeignGroup + static_cast<gid_t>(round));
                           }
                       }});
    changes.push_back({"times", all_kinds, [](const Path& directory, int round) {
                           const timespec times[2] = {{round * 1000, 1}, {round * 2000, 999999999}};
                           for (const char* name : {"file", "dir", "link", "fifo"}) {
                               must(::utimensat(AT_FDCWD, (directory / name).c_str(), times,
                                                AT_SYMLINK_NOFOLLOW) == 0,
                                    "utimensat");
                           }
                       }});
    changes.push_back(
        {"xattrs",
         [](const Path& directory) {
             all_kinds(directory);
             for (const char* name : {"file", "dir"}) {
                 make::xattr(directory / name, "user.kept", "kept");
                 make::xattr(directory / name, "user.changed", "old");
                 make::xattr(directory / name, "user.removed", std::string("\0\1", 2));
             }
             make::xattr(directory / "link", "trusted.t", "of the link");
         },
         [](const Path& directory, int round) {
             for (const char* name : {"file", "dir"}) {
                 make::xattr(directory / name, "user.changed", std::to_string(round));
                 make::xattr(directory / name, "user.added" + std::to_string(round), "");
                 if (round > 1) continue;
                 must(::removexattr((directory / name).c_str(), "user.removed") == 0,
                      "removexattr");
             }
             make::xattr(directory / "link", "trusted.t", numbered("changed ", round));
         }});
    changes.push_back(
        {"ACLs",
         [](const Path& directory) {
             all_kinds(directory);
             make::acl(directory / "file", "u::rw-,u:1001:r--,g::r--,m::r--,o::---");
             make::default_acl(directory / "dir", "u::rwx,u:1001:rwx,g::r-x,m::rwx,o::---");
         },
         [](const Path& directory, int round) {
             const std::string user = std::to_string(1001 + round);
             make::acl(directory / "file", "u::rw-,u:" + user + ":rw-,g::r--,m::rw-,o::---");
             make::acl(directory / "dir", "u::rwx,u:" + user + ":r-x,g::r-x,m::r-x,o::---");
             make::file(directory / "dir" / numbered("inheriting", round), "x");
             if (round == 2) {
                 must(::removexattr((directory / "dir").c_str(), "system.posix_acl_default") == 0,
                      "remove the default ACL");
             }
         }});
}

std::vector<Change> made_changes() {
    std::vector<Change> changes;
    add_data_changes(changes);
    add_open_file_changes(changes);
    add_name_changes(changes);
    add_tree_changes(changes);
    add_attribute_changes(changes);
    return changes;
}

}  // namespace

const std::vector<Change>& all_changes() {
    static const std::vector<Change> changes = made_changes();
    return changes;
}

void release_held() {
    for (const auto& [path, fd] : held().descriptors) ::close(fd);
    for (const auto& [path, memory] : held().mappings) ::munmap(memory, kSize);
    held() = {};
}

}  // namespace umbra::test
