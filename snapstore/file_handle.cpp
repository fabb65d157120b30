#include "snapstore/file_handle.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstring>
#include <vector>

#include "snapstore/xfs_generation.h"

namespace umbra {

namespace {

// struct file_handle with room for its bytes; the kernel's limit is MAX_HANDLE_SZ (128).
struct HandleBuffer {
    alignas(struct file_handle) unsigned char storage[sizeof(struct file_handle) + 128] = {};
    struct file_handle* get() {
        return reinterpret_cast<struct file_handle*>(storage);
    }
    unsigned char* bytes() { return storage + sizeof(struct file_handle); }
};

template <typename Integer>
Integer load(const unsigned char* from) {
    Integer value;
    std::memcpy(&value, from, sizeof value);
    return value;
}
template <typename Integer>
void store(unsigned char* to, Integer value) {
    std::memcpy(to, &value, sizeof value);
}

// Types and layouts: include/linux/exportfs.h (enum fid_type), fs/xfs/xfs_export.h,
// fs/btrfs/export.h, mm/shmem.c (shmem_encode_fh).
constexpr int kTypeInode32Generation = 1;
constexpr int kTypeXfsInode64 = 0x81;
constexpr int kTypeBtrfs = 0x4d;

}  // namespace

Result<HandleCodec> HandleCodec::learn(int directory_fd, const std::string& path) {
    HandleBuffer buffer;
    HandleCodec codec;
    buffer.get()->handle_bytes = kMaxBytes;
    struct statfs filesystem {};
    if (fstatfs(directory_fd, &filesystem) != 0)
        return errno_error(errno, "reading the filesystem type of " + path);
    auto refused = [&] {
        return error_of(ErrorKind::kRefused, EOPNOTSUPP,
                        "'" + path +
                            "' is on a filesystem whose file handles Umbra cannot use; "
                            "put the share on ext4, XFS, btrfs or tmpfs");
    };
    if (name_to_handle_at(directory_fd, "", buffer.get(), &codec.mount_id_, AT_EMPTY_PATH) != 0) {
        if (errno == EOPNOTSUPP) return refused();
        return errno_error(errno, "reading the file handle of " + path);
    }
    codec.is_xfs_ = filesystem.f_type == XFS_SUPER_MAGIC;
    codec.type_ = buffer.get()->handle_type;
    codec.bytes_ = buffer.get()->handle_bytes;
    if (filesystem.f_type == TMPFS_MAGIC && codec.bytes_ == 12)
        codec.layout_ = Layout::kTmpfs;
    else if (codec.type_ == kTypeInode32Generation && codec.bytes_ == 8)
        codec.layout_ = Layout::kInode32;
    else if (codec.type_ == kTypeXfsInode64 && codec.bytes_ == 12)
        codec.layout_ = Layout::kInode64;
    else if (codec.type_ == kTypeBtrfs && codec.bytes_ == 20)
        codec.layout_ = Layout::kBtrfs, codec.subvolume_ = load<std::uint64_t>(buffer.bytes() + 8);
    else
        return refused();
    return codec;
}

Result<ObjectId> HandleCodec::identify(int directory_fd, const char* name) const {
    return identify_at(directory_fd, name, 0);
}

Result<ObjectId> HandleCodec::identify(int fd) const { return identify_at(fd, "", AT_EMPTY_PATH); }

Result<ObjectId> HandleCodec::identify_at(int directory_fd, const char* name, int flags) const {
    HandleBuffer buffer;
    buffer.get()->handle_bytes = kMaxBytes;
    int mount_id = 0;
    if (name_to_handle_at(directory_fd, name, buffer.get(), &mount_id, flags) != 0)
        return errno_only(errno);
    if (buffer.get()->handle_type != type_ || buffer.get()->handle_bytes != bytes_)
        return errno_only(EXDEV);
    const unsigned char* bytes = buffer.bytes();
    switch (layout_) {
        case Layout::kInode32:
            return ObjectId{load<std::uint32_t>(bytes), load<std::uint32_t>(bytes + 4)};
        case Layout::kInode64:
            return ObjectId{load<std::uint64_t>(bytes), load<std::uint32_t>(bytes + 8)};
        case Layout::kTmpfs:
            return ObjectId{load<std::uint64_t>(bytes + 4), load<std::uint32_t>(bytes)};
        case Layout::kBtrfs:
            if (load<std::uint64_t>(bytes + 8) != subvolume_) return errno_only(EXDEV);
            return ObjectId{load<std::uint64_t>(bytes), load<std::uint32_t>(bytes + 16)};
    }
    return errno_only(EXDEV);
}

Result<ObjectId> HandleCodec::find_inode(int filesystem_fd, std::uint64_t inode) const {
    if (layout_ == Layout::kTmpfs) return errno_only(ESTALE);
    if (layout_ == Layout::kInode32 && inode > UINT32_MAX) return errno_only(ESTALE);
    ObjectId id{inode, 0};  // on ext4 and btrfs generation 0 fits any
    if (is_xfs_) {
        UMBRA_ASSIGN(id.generation, xfs_generation(filesystem_fd, inode));
    }
    UMBRA_ASSIGN(const UniqueFd fd, open(filesystem_fd, id, O_PATH | O_NOFOLLOW));
    UMBRA_ASSIGN(id, identify(fd.get()));
    if (id.inode != inode) return errno_only(ESTALE);
    return id;
}

Result<UniqueFd> HandleCodec::open(int mount_fd, ObjectId id, int flags) const {
    HandleBuffer buffer;
    buffer.get()->handle_bytes = bytes_;
    buffer.get()->handle_type = type_;
    unsigned char* bytes = buffer.bytes();
    switch (layout_) {
        case Layout::kInode32:
            store(bytes, static_cast<std::uint32_t>(id.inode));
            store(bytes + 4, id.generation);
            break;
        case Layout::kInode64:
            store(bytes, id.inode);
            store(bytes + 8, id.generation);
            break;
        case Layout::kTmpfs:
            store(bytes, id.generation);
            store(bytes + 4, id.inode);
            break;
        case Layout::kBtrfs:
            store(bytes, id.inode);
            store(bytes + 8, subvolume_);
            store(bytes + 16, id.generation);
            break;
    }
    int fd = open_by_handle_at(mount_fd, buffer.get(), flags | O_CLOEXEC);
    if (fd < 0) return errno_only(errno);
    return UniqueFd(fd);
}

}  // namespace umbra
