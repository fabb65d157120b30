#include "tests/unit/picture.h"

#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <memory>

#include "snapstore/bytes.h"
#include "snapstore/log_format.h"
#include "snapstore/unique_fd.h"

namespace umbra::test {

namespace {

std::int64_t nanoseconds(const struct timespec& time) {
    return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}

PictureNode node_of(const Attributes& attributes) {
    const auto& status = attributes.status;
    PictureNode node;
    node.mode = status.st_mode;
    node.uid = status.st_uid;
    node.gid = status.st_gid;
    node.links = status.st_nlink;
    node.size = static_cast<std::uint64_t>(status.st_size);
    node.device = S_ISCHR(status.st_mode) || S_ISBLK(status.st_mode) ? status.st_rdev : 0;
    node.inode = status.st_ino;
    node.mtime = nanoseconds(status.st_mtim);
    node.ctime = nanoseconds(status.st_ctim);
    node.target = attributes.symlink_target;
    for (const auto& [name, value] : attributes.extended) node.extended[name] = value;
    return node;
}

std::string read_whole(int fd) {
    std::string content;
    char buffer[65536];
    for (;;) {
        ssize_t count = ::read(fd, buffer, sizeof buffer);
        if (count < 0) return content + "(read failed)";
        if (count == 0) return content;
        content.append(buffer, static_cast<std::size_t>(count));
    }
}

void add_directory(Picture& picture, int fd, const std::string& path, bool root) {
    int copy = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOATIME);
    std::unique_ptr<DIR, int (*)(DIR*)> stream(fdopendir(copy), closedir);
    while (const struct dirent* entry = readdir(stream.get())) {
        std::string name = entry->d_name;
        if (name == "." || name == ".." || (root && (name == ".umbra" || name == ".snapshots")))
            continue;
        std::string child_path = path.empty() ? name : path + "/" + name;
        UniqueFd child(openat(fd, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
        PictureNode& node = picture[child_path];
        auto attributes =
            child.valid() ? read_attributes(child.get()) : Result<Attributes>(errno_only(errno));
        if (!attributes) {
            node.error = attributes.error().text();
            continue;
        }
        node = node_of(*attributes);
        if (S_ISREG(node.mode)) {
            UniqueFd file(openat(fd, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NOATIME));
            node.content = read_whole(file.get());
        } else if (S_ISDIR(node.mode)) {
            UniqueFd directory(
                openat(fd, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
            add_directory(picture, directory.get(), child_path, false);
        }
    }
}

// Walks data and holes with lseek; a byte that is not zero must lie in data.
std::string check_holes(PastTree& past, const PastFile& file, const std::string& content) {
    std::uint64_t at = 0;
    while (at < file.size) {
        auto data = past.seek(file, at, SEEK_DATA);
        if (!data && data.error().code != ENXIO) return "SEEK_DATA: " + data.error().text();
        std::uint64_t data_start = data ? *data : file.size;
        if (data_start < at || data_start > file.size) return "SEEK_DATA left the file";
        for (std::uint64_t i = at; i < data_start; ++i)
            if (content[i] != 0)
                return "lseek calls byte " + std::to_string(i) + " a hole, but it is data";
        if (data_start == file.size) return {};
        auto hole = past.seek(file, data_start, SEEK_HOLE);
        if (!hole) return "SEEK_HOLE: " + hole.error().text();
        if (*hole <= data_start || *hole > file.size) return "SEEK_HOLE did not advance";
        at = *hole;
    }
    return {};
}

void read_past_file(PastTree& past, ObjectId id, PictureNode& node) {
    auto file = past.open(id);
    if (!file) {
        node.error = "open: " + file.error().text();
        return;
    }
    if (file->size != node.size) node.error = "open says another size than stat";
    node.content.resize(file->size);
    std::size_t at = 0;
    // Steps that do not fall on blocks, so that parts of blocks are read too.
    while (at < node.content.size()) {
        std::size_t step = std::min<std::size_t>(node.content.size() - at, 50'001);
        auto count =
            past.read(*file, at, std::as_writable_bytes(std::span(node.content.data() + at, step)));
        if (!count || *count != step) {
            node.error = count ? "short read" : "read: " + count.error().text();
            return;
        }
        at += step;
    }
    node.error = check_holes(past, *file, node.content);
}

void add_past(Picture& picture, PastTree& past, ObjectId id, const std::string& path) {
    PictureNode& node = picture[path];
    auto attributes = past.attributes(id);
    if (!attributes) {
        node.error = "attributes: " + attributes.error().text();
        return;
    }
    node = node_of(*attributes);
    if (S_ISREG(node.mode)) read_past_file(past, id, node);
    if (!S_ISDIR(node.mode)) return;
    auto entries = past.list(id);
    if (!entries) {
        node.error = "list: " + entries.error().text();
        return;
    }
    for (const auto& entry : *entries) {
        std::string child = path.empty() ? entry.name : path + "/" + entry.name;
        if (picture.count(child) != 0) node.error = "listed twice: " + entry.name;
        auto found = past.lookup(id, entry.name);
        if (!found) {
            picture[child].error = "lookup: " + found.error().text();
            continue;
        }
        if (found->id != entry.id || IFTODT(found->status.st_mode) != entry.type) {
            picture[child].error = "list and lookup disagree";
            continue;
        }
        add_past(picture, past, entry.id, child);
    }
}

}  // namespace

Picture picture_of_directory(const std::string& root) {
    Picture picture;
    UniqueFd fd(open(root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOATIME));
    auto attributes =
        fd.valid() ? read_attributes(fd.get()) : Result<Attributes>(errno_only(errno));
    if (!attributes) {
        picture[""].error = attributes.error().text();
        return picture;
    }
    struct stat own {};
    bool has_control = fstatat(fd.get(), ".umbra", &own, AT_SYMLINK_NOFOLLOW) == 0;
    picture[""] = node_of(*attributes);
    if (has_control && picture[""].links > 2) --picture[""].links;
    add_directory(picture, fd.get(), "", true);
    return picture;
}

Picture picture_of_past(PastTree past) {
    Picture picture;
    add_past(picture, past, past.root(), "");
    return picture;
}

std::string describe_content(const std::string& content) {
    return std::to_string(content.size()) + " bytes, hash " +
           std::to_string(checksum(std::as_bytes(std::span(content))) % 100'000'000);
}

std::string differences(const Picture& expected, const Picture& actual,
                        const Exactness& exactness) {
    std::string out;
    int lines = 0;
    auto line = [&](const std::string& path, const std::string& text) {
        if (++lines <= 20) out += "'" + path + "': " + text + "\n";
    };
    for (const auto& [path, node] : actual)
        if (expected.count(path) == 0)
            line(path, "is there and should not be" +
                           (node.error.empty() ? "" : " (" + node.error + ")"));
    for (const auto& item : expected) {  // no structured binding: lambdas below use both
        const std::string& path = item.first;
        const PictureNode& wanted = item.second;
        auto found = actual.find(path);
        if (found == actual.end()) {
            line(path, "is missing");
            continue;
        }
        const PictureNode& got = found->second;
        if (!wanted.error.empty() || !got.error.empty())
            line(path, "error: " + wanted.error + " " + got.error);
        auto compare = [&](const char* what, auto a, auto b) {
            if (a != b)
                line(path,
                     std::string(what) + " " + std::to_string(a) + " became " + std::to_string(b));
        };
        bool directory = S_ISDIR(wanted.mode) && S_ISDIR(got.mode);
        compare("mode", wanted.mode, got.mode);
        compare("uid", wanted.uid, got.uid);
        compare("gid", wanted.gid, got.gid);
        if (!directory || exactness.directory_links) compare("links", wanted.links, got.links);
        if (!directory || exactness.directory_size) compare("size", wanted.size, got.size);
        compare("device", wanted.device, got.device);
        if (exactness.times) compare("mtime", wanted.mtime, got.mtime);
        if (exactness.inodes) {
            compare("inode", wanted.inode, got.inode);
            compare("ctime", wanted.ctime, got.ctime);
        }
        if (wanted.target != got.target)
            line(path, "target '" + wanted.target + "' became '" + got.target + "'");
        if (wanted.extended != got.extended) line(path, "xattrs differ");
        if (wanted.content == got.content) continue;
        std::size_t at = 0;
        while (at < std::min(wanted.content.size(), got.content.size()) &&
               wanted.content[at] == got.content[at])
            ++at;
        line(path, "content differs from byte " + std::to_string(at) + ": " +
                       describe_content(wanted.content) + " became " +
                       describe_content(got.content));
    }
    if (lines > 20) out += "... " + std::to_string(lines) + " differences\n";
    return out;
}

std::string encode_picture(const Picture& picture) {
    ByteWriter writer;
    writer.put(static_cast<std::uint32_t>(picture.size()));
    for (const auto& [path, node] : picture) {
        writer.put_text(path)
            .put(node.mode)
            .put(node.uid)
            .put(node.gid)
            .put(node.links)
            .put(node.size);
        writer.put(node.device)
            .put(node.inode)
            .put(node.mtime)
            .put(node.ctime)
            .put_text(node.target);
        writer.put(static_cast<std::uint32_t>(node.extended.size()));
        for (const auto& [name, value] : node.extended) writer.put_text(name).put_text(value);
        writer.put_text(node.content).put_text(node.error);
    }
    return writer.take();
}

Picture decode_picture(const std::string& bytes) {
    ByteReader reader{std::string_view(bytes)};
    Picture picture;
    auto count = reader.get<std::uint32_t>();
    for (std::uint32_t i = 0; i < count && reader.ok(); ++i) {
        std::string path = reader.get_text();
        PictureNode& node = picture[path];
        for (auto* member :
             {&node.mode, &node.uid, &node.gid, &node.links, &node.size, &node.device, &node.inode})
            *member = reader.get<std::uint64_t>();
        node.mtime = reader.get<std::int64_t>();
        node.ctime = reader.get<std::int64_t>();
        node.target = reader.get_text();
        auto attributes = reader.get<std::uint32_t>();
        for (std::uint32_t j = 0; j < attributes && reader.ok(); ++j) {
            std::string name = reader.get_text();
            node.extended[name] = reader.get_text();
        }
        node.content = reader.get_text();
        node.error = reader.get_text();
    }
    if (!reader.ok() || !reader.at_end()) picture[""].error = "the picture is damaged";
    return picture;
}

}  // namespace umbra::test
