#include "tests/support/tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <functional>
#include <memory>
#include <optional>
#include <sstream>
#include <stdexcept>

namespace umbra::test {

namespace {

class Descriptor {
   public:
    explicit Descriptor(int fd) : fd_(fd) {}
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() {
        if (fd_ >= 0) ::close(fd_);
    }
    int get() const { return fd_; }

   private:
    int fd_;
};

std::string failed(const std::string& call) { return call + ": " + std::strerror(errno); }

// O_NOATIME is refused to those who do not own the file.
int open_quietly(int directory, const char* name, int flags) {
    const int fd = ::openat(directory, name, flags | O_NOATIME | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0 || errno != EPERM) return fd;
    return ::openat(directory, name, flags | O_CLOEXEC | O_NOFOLLOW);
}

// Works for paths of any length, and does not follow a symbolic link in the last part.
std::string path_through(int directory, const std::string& name) {
    return "/proc/self/fd/" + std::to_string(directory) + "/" + name;
}

void read_xattrs(const std::string& path, TreeNode& node) {
    static thread_local std::vector<char> names(65536), value(65536);
    const ssize_t length = ::llistxattr(path.c_str(), names.data(), names.size());
    if (length < 0) {
        if (errno != ENOTSUP) node.error += failed("llistxattr") + "; ";
        return;
    }
    for (ssize_t offset = 0; offset < length;) {
        const std::string name = names.data() + offset;
        offset += static_cast<ssize_t>(name.size()) + 1;
        const ssize_t size = ::lgetxattr(path.c_str(), name.c_str(), value.data(), value.size());
        if (size < 0) {
            node.error += failed("lgetxattr " + name) + "; ";
        } else {
            node.xattrs[name] = std::string(value.data(), static_cast<size_t>(size));
        }
    }
}

bool all_zero(const char* data, size_t size) {
    return std::all_of(data, data + size, [](char byte) { return byte == 0; });
}

void read_contents(int fd, TreeNode& node) {
    static thread_local std::vector<char> block(kPictureBlock);
    for (int64_t offset = 0;;) {
        size_t filled = 0;
        while (filled < block.size()) {
            const ssize_t count = ::pread(fd, block.data() + filled, block.size() - filled,
                                          offset + static_cast<int64_t>(filled));
            if (count < 0 && errno == EINTR) continue;
            if (count < 0) {
                node.error += failed("read at " + std::to_string(offset)) + "; ";
                return;
            }
            if (count == 0) break;
            filled += static_cast<size_t>(count);
        }
        if (filled > 0) node.blocks.push_back(XXH3_64bits(block.data(), filled));
        offset += static_cast<int64_t>(filled);
        if (filled < block.size()) {
            if (offset != node.size) {
                node.error += "stat says " + std::to_string(node.size) + " bytes, reading gives " +
                              std::to_string(offset) + "; ";
            }
            return;
        }
    }
}

void check_hole(int fd, int64_t begin, int64_t end, TreeNode& node) {
    static thread_local std::vector<char> block(65536);
    for (int64_t offset = begin; offset < end;) {
        const auto wanted = std::min<int64_t>(end - offset, static_cast<int64_t>(block.size()));
        const ssize_t count = ::pread(fd, block.data(), static_cast<size_t>(wanted), offset);
        if (count <= 0) return;
        if (!all_zero(block.data(), static_cast<size_t>(count))) {
            node.hole_lies += "data in the hole near " + std::to_string(offset) + "; ";
            return;
        }
        offset += count;
    }
}

void read_holes(int fd, TreeNode& node) {
    int64_t position = 0;
    while (position < node.size) {
        const int64_t data = ::lseek(fd, position, SEEK_DATA);
        if (data < 0 && errno != ENXIO) {
            node.error += failed("SEEK_DATA") + "; ";
            return;
        }
        const int64_t begin = data < 0 ? node.size : data;
        check_hole(fd, position, begin, node);
        if (data < 0) return;
        const int64_t end = ::lseek(fd, data, SEEK_HOLE);
        if (end < 0) {
            node.error += failed("SEEK_HOLE") + "; ";
            return;
        }
        node.data_ranges.emplace_back(data, end);
        position = end;
    }
}

class Capture {
   public:
    explicit Capture(const CaptureOptions& options) : options_(options) {}

    Tree take(const std::string& root) {
        const int fd = ::open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0) throw std::runtime_error(failed("open " + root));
        struct stat status {};
        if (::fstat(fd, &status) != 0) throw std::runtime_error(failed("stat " + root));
        device_ = status.st_dev;
        TreeNode node = node_of(status);
        if (options_.xattrs) read_xattrs("/proc/self/fd/" + std::to_string(fd) + "/.", node);
        list(fd, "", node);
        tree_.nodes["."] = node;
        name_link_groups();
        return std::move(tree_);
    }

   private:
    static TreeNode node_of(const struct stat& status) {
        TreeNode node;
        node.mode = status.st_mode;
        node.uid = status.st_uid;
        node.gid = status.st_gid;
        node.nlink = status.st_nlink;
        node.size = status.st_size;
        node.inode = status.st_ino;
        node.device = status.st_dev;
        node.rdev = S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode) ? status.st_rdev : 0;
        node.atime = status.st_atim;
        node.mtime = status.st_mtim;
        node.ctime = status.st_ctim;
        return node;
    }

    // Takes ownership of the descriptor.
    void list(int fd, const std::string& prefix, TreeNode& node) {
        const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd), ::closedir);
        std::vector<std::pair<std::string, unsigned char>> names;
        errno = 0;
        while (const dirent* entry = ::readdir(stream.get())) {
            const std::string name = entry->d_name;
            if (name != "." && name != "..") names.emplace_back(name, entry->d_type);
            errno = 0;
        }
        if (errno != 0) node.error += failed("readdir") + "; ";
        std::sort(names.begin(), names.end());
        for (const auto& [name, type] : names) {
            if (options_.without.count(prefix + name) == 0) visit(fd, prefix, name, type);
        }
    }

    void visit(int directory, const std::string& prefix, const std::string& name,
               unsigned char type) {
        const std::string path = prefix + name;
        struct stat status {};
        TreeNode node;
        if (tree_.nodes.count(path) != 0) node.error += "listed twice; ";
        if (::fstatat(directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
            node.error += failed("listed, but stat") + "; ";
            tree_.nodes[path] = node;
            return;
        }
        const std::string earlier_error = node.error;
        node = node_of(status);
        node.error = earlier_error;
        if (type != DT_UNKNOWN && type != IFTODT(status.st_mode)) {
            node.error += "readdir and stat disagree on the type; ";
        }
        if (options_.xattrs) read_xattrs(path_through(directory, name), node);
        if (S_ISLNK(node.mode)) read_target(directory, name, node);
        if (S_ISREG(node.mode)) read_file(directory, name, node);
        if (S_ISDIR(node.mode) && status.st_dev == device_) {
            const int fd = open_quietly(directory, name.c_str(), O_RDONLY | O_DIRECTORY);
            if (fd < 0) {
                node.error += failed("open directory") + "; ";
            } else {
                list(fd, path + "/", node);
            }
        }
        tree_.nodes[path] = node;
    }

    static void read_target(int directory, const std::string& name, TreeNode& node) {
        char target[8192];
        const ssize_t length = ::readlinkat(directory, name.c_str(), target, sizeof target);
        if (length < 0) {
            node.error += failed("readlink") + "; ";
        } else {
            node.target.assign(target, static_cast<size_t>(length));
        }
    }

    void read_file(int directory, const std::string& name, TreeNode& node) const {
        if (!options_.contents && !options_.holes) return;
        const Descriptor file(open_quietly(directory, name.c_str(), O_RDONLY));
        if (file.get() < 0) {
            node.error += failed("open") + "; ";
            return;
        }
        if (options_.contents) read_contents(file.get(), node);
        if (options_.holes) read_holes(file.get(), node);
    }

    void name_link_groups() {
        std::map<std::pair<uint64_t, uint64_t>, std::string> first;
        for (auto& [path, node] : tree_.nodes) {
            if (S_ISDIR(node.mode)) continue;
            node.first_link = first.emplace(std::pair(node.device, node.inode), path).first->second;
        }
    }

    CaptureOptions options_;
    Tree tree_;
    dev_t device_ = 0;
};

std::string octal(mode_t mode) {
    char text[16];
    std::snprintf(text, sizeof text, "%06o", mode);
    return text;
}

std::string time_text(const timespec& time) {
    char text[48];
    std::snprintf(text, sizeof text, "%lld.%09ld", static_cast<long long>(time.tv_sec),
                  time.tv_nsec);
    return text;
}

std::string ranges_text(const std::vector<std::pair<int64_t, int64_t>>& ranges) {
    std::string text;
    for (const auto& [begin, end] : ranges) {
        text += "[" + std::to_string(begin) + "," + std::to_string(end) + ")";
    }
    return text.empty() ? "no data" : text;
}

std::string hex(const std::string& bytes) {
    static const char* digits = "0123456789abcdef";
    std::string text;
    for (const unsigned char byte : bytes.substr(0, 64)) {
        text += digits[byte >> 4];
        text += digits[byte & 15];
    }
    return bytes.size() > 64 ? text + "..." : text;
}

class Comparison {
   public:
    explicit Comparison(const CompareOptions& options) : options_(options) {}

    std::vector<std::string> run(const Tree& expected, const Tree& actual) {
        for (const auto& [path, node] : expected.nodes) {
            if (path == "." && !options_.root) continue;
            const auto found = actual.nodes.find(path);
            if (found == actual.nodes.end()) {
                lines_.push_back(path + ": only in expected (mode " + octal(node.mode) + ")");
            } else {
                compare_nodes(path, node, found->second);
            }
        }
        for (const auto& [path, node] : actual.nodes) {
            if (path == "." && !options_.root) continue;
            if (expected.nodes.count(path) == 0) {
                lines_.push_back(path + ": only in actual (mode " + octal(node.mode) + ")");
            }
        }
        return std::move(lines_);
    }

   private:
    void expect(const std::string& path, const std::string& what, const std::string& expected,
                const std::string& actual) {
        if (expected != actual) {
            lines_.push_back(path + ": " + what + ": expected " + expected + ", actual " + actual);
        }
    }

    void compare_nodes(const std::string& path, const TreeNode& a, const TreeNode& b) {
        expect(path, "type", octal(a.mode & S_IFMT), octal(b.mode & S_IFMT));
        expect(path, "error", a.error.empty() ? "none" : a.error,
               b.error.empty() ? "none" : b.error);
        if (options_.only_names || (a.mode & S_IFMT) != (b.mode & S_IFMT)) return;
        const bool directory = S_ISDIR(a.mode);
        if (options_.mode) expect(path, "mode", octal(a.mode), octal(b.mode));
        if (options_.owner) {
            expect(path, "uid", std::to_string(a.uid), std::to_string(b.uid));
            expect(path, "gid", std::to_string(a.gid), std::to_string(b.gid));
        }
        if (options_.nlink && (!directory || options_.directory_nlink)) {
            expect(path, "nlink", std::to_string(a.nlink), std::to_string(b.nlink));
        }
        if (!directory || options_.directory_size) {
            expect(path, "size", std::to_string(a.size), std::to_string(b.size));
        }
        if (options_.inode) expect(path, "inode", std::to_string(a.inode), std::to_string(b.inode));
        expect(path, "device number", std::to_string(a.rdev), std::to_string(b.rdev));
        expect(path, "target", a.target, b.target);
        if (options_.atime) expect(path, "atime", time_text(a.atime), time_text(b.atime));
        if (options_.mtime) expect(path, "mtime", time_text(a.mtime), time_text(b.mtime));
        if (options_.ctime) expect(path, "ctime", time_text(a.ctime), time_text(b.ctime));
        if (options_.links) expect(path, "hard link group", a.first_link, b.first_link);
        if (options_.xattrs) compare_xattrs(path, a, b);
        if (options_.contents) compare_contents(path, a, b);
        if (options_.holes) {
            expect(path, "holes", ranges_text(a.data_ranges), ranges_text(b.data_ranges));
        }
        // btrfs itself does it now and then (stores through a mapping into a hole).
        if (a.hole_lies.empty() && !b.hole_lies.empty())
            lines_.push_back(path + ": actual: " + b.hole_lies);
    }

    void compare_xattrs(const std::string& path, const TreeNode& a, const TreeNode& b) {
        for (const auto& [name, value] : a.xattrs) {
            const auto found = b.xattrs.find(name);
            expect(path, "xattr " + name, hex(value),
                   found == b.xattrs.end() ? "absent" : hex(found->second));
        }
        for (const auto& [name, value] : b.xattrs) {
            if (a.xattrs.count(name) == 0) expect(path, "xattr " + name, "absent", hex(value));
        }
    }

    void compare_contents(const std::string& path, const TreeNode& a, const TreeNode& b) {
        const size_t common = std::min(a.blocks.size(), b.blocks.size());
        size_t different = 0, first = 0;
        for (size_t i = 0; i < common; ++i) {
            if (a.blocks[i] != b.blocks[i] && different++ == 0) first = i;
        }
        if (different > 0) {
            lines_.push_back(path + ": contents: " + std::to_string(different) + " of " +
                             std::to_string(common) +
                             " blocks of 16 KiB differ, the first is block " +
                             std::to_string(first));
        }
        if (a.blocks.size() != b.blocks.size()) {
            expect(path, "blocks read", std::to_string(a.blocks.size()),
                   std::to_string(b.blocks.size()));
        }
    }

    CompareOptions options_;
    std::vector<std::string> lines_;
};

}  // namespace

Tree capture(const std::filesystem::path& root, const CaptureOptions& options) {
    return Capture(options).take(root.string());
}

std::vector<std::string> compare(const Tree& expected, const Tree& actual,
                                 const CompareOptions& options) {
    return Comparison(options).run(expected, actual);
}

std::string join_lines(const std::vector<std::string>& lines, size_t limit) {
    std::string text;
    for (size_t i = 0; i < lines.size() && i < limit; ++i) text += lines[i] + "\n";
    if (lines.size() > limit) {
        text += "... and " + std::to_string(lines.size() - limit) + " more\n";
    }
    return text;
}

std::string differences(const Tree& expected, const Tree& actual, const CompareOptions& options) {
    const auto lines = compare(expected, actual, options);
    return lines.empty() ? kNoDifferences : "\n" + join_lines(lines);
}

}  // namespace umbra::test
