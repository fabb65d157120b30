#include "snapstore/attributes.h"

#include <fcntl.h>
#include <linux/limits.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "snapstore/bytes.h"
#include "snapstore/proc_path.h"

namespace umbra {

namespace {

constexpr std::uint8_t kAttributesVersion = 1;

Result<std::string> read_target(int fd, const struct stat& status) {
    if (!S_ISLNK(status.st_mode)) return std::string();
    std::string target(PATH_MAX, '\0');
    ssize_t length = readlinkat(fd, "", target.data(), target.size());
    if (length < 0) return errno_only(errno);
    target.resize(static_cast<std::size_t>(length));
    return target;
}

void put_time(ByteWriter& writer, const struct timespec& time) {
    writer.put(static_cast<std::int64_t>(time.tv_sec))
        .put(static_cast<std::uint32_t>(time.tv_nsec));
}

struct timespec get_time(ByteReader& reader) {
    struct timespec time {};
    time.tv_sec = reader.get<std::int64_t>();
    time.tv_nsec = reader.get<std::uint32_t>();
    return time;
}

}  // namespace

Result<std::vector<std::string>> list_extended_attributes(int fd) {
    ProcPath path(fd);
    std::string names(1024, '\0');
    for (;;) {
        ssize_t length = listxattr(path.c_str(), names.data(), names.size());
        if (length >= 0) {
            names.resize(static_cast<std::size_t>(length));
            break;
        }
        if (errno == EOPNOTSUPP) return std::vector<std::string>{};
        if (errno != ERANGE || names.size() >= XATTR_LIST_MAX) return errno_only(errno);
        names.resize(XATTR_LIST_MAX);
    }
    std::vector<std::string> list;
    for (std::size_t at = 0; at < names.size(); at += list.back().size() + 1)
        list.emplace_back(names.c_str() + at);
    return list;
}

Result<std::string> get_extended_attribute(int fd, const std::string& name) {
    ProcPath path(fd);
    std::string value(512, '\0');
    for (;;) {
        ssize_t length = getxattr(path.c_str(), name.c_str(), value.data(), value.size());
        if (length >= 0) {
            value.resize(static_cast<std::size_t>(length));
            return value;
        }
        if (errno != ERANGE || value.size() >= XATTR_SIZE_MAX) return errno_only(errno);
        value.resize(XATTR_SIZE_MAX);
    }
}

Result<Attributes> read_attributes(int fd) {
    Attributes attributes;
    if (fstatat(fd, "", &attributes.status, AT_EMPTY_PATH) != 0) return errno_only(errno);
    UMBRA_ASSIGN(attributes.symlink_target, read_target(fd, attributes.status));
    UMBRA_ASSIGN(auto names, list_extended_attributes(fd));
    std::sort(names.begin(), names.end());
    for (auto& name : names) {
        auto value = get_extended_attribute(fd, name);
        if (!value && value.error().code == ENODATA) continue;  // removed in between
        if (!value) return forward_error(value);
        attributes.extended.push_back({std::move(name), std::move(*value)});
    }
    return attributes;
}

std::string encode_attributes(const Attributes& attributes) {
    const auto& status = attributes.status;
    ByteWriter writer;
    writer.put(kAttributesVersion);
    writer.put(static_cast<std::uint32_t>(status.st_mode));
    writer.put(static_cast<std::uint32_t>(status.st_uid))
        .put(static_cast<std::uint32_t>(status.st_gid));
    writer.put(static_cast<std::uint64_t>(status.st_nlink));
    writer.put(static_cast<std::uint64_t>(status.st_size))
        .put(static_cast<std::uint64_t>(status.st_blocks));
    writer.put(static_cast<std::uint32_t>(status.st_blksize))
        .put(static_cast<std::uint64_t>(status.st_rdev));
    put_time(writer, status.st_atim);
    put_time(writer, status.st_mtim);
    put_time(writer, status.st_ctim);
    writer.put_text(attributes.symlink_target);
    writer.put(attributes.location.parent.inode).put(attributes.location.parent.generation);
    writer.put_text(attributes.location.name);
    writer.put(static_cast<std::uint32_t>(attributes.extended.size()));
    for (const auto& [name, value] : attributes.extended) writer.put_text(name).put_text(value);
    return writer.take();
}

Result<Attributes> decode_attributes(std::span<const std::byte> bytes) {
    ByteReader reader(bytes);
    Attributes attributes;
    auto& status = attributes.status;
    if (reader.get<std::uint8_t>() != kAttributesVersion)
        return error_of(ErrorKind::kDiffArea, EIO, "attributes record of an unknown version");
    status.st_mode = reader.get<std::uint32_t>();
    status.st_uid = reader.get<std::uint32_t>();
    status.st_gid = reader.get<std::uint32_t>();
    status.st_nlink = reader.get<std::uint64_t>();
    status.st_size = static_cast<off_t>(reader.get<std::uint64_t>());
    status.st_blocks = static_cast<blkcnt_t>(reader.get<std::uint64_t>());
    status.st_blksize = reader.get<std::uint32_t>();
    status.st_rdev = reader.get<std::uint64_t>();
    status.st_atim = get_time(reader);
    status.st_mtim = get_time(reader);
    status.st_ctim = get_time(reader);
    attributes.symlink_target = reader.get_text();
    attributes.location.parent.inode = reader.get<std::uint64_t>();
    attributes.location.parent.generation = reader.get<std::uint32_t>();
    attributes.location.name = reader.get_text();
    auto count = reader.get<std::uint32_t>();
    for (std::uint32_t i = 0; i < count && reader.ok(); ++i) {
        std::string name = reader.get_text();
        attributes.extended.push_back({std::move(name), reader.get_text()});
    }
    if (!reader.ok() || !reader.at_end())
        return error_of(ErrorKind::kDiffArea, EIO, "attributes record of a wrong length");
    return attributes;
}

}  // namespace umbra
