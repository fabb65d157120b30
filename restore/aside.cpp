#include "restore/aside.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "restore/apply_metadata.h"
#include "restore/beneath.h"
#include "restore/contents.h"
#include "restore/path_names.h"
#include "snapstore/proc_path.h"
#include "snapstore/write_whole.h"

namespace umbra {

namespace {

constexpr mode_t kPrivateFile = 0600;
constexpr mode_t kPrivateFolder = 0700;
constexpr std::size_t kBlock = 16 << 10;
constexpr std::size_t kChunk = 1 << 20;

Result<UniqueFd> make_object(const Attributes& wanted, int folder, const std::string& name) {
    const mode_t mode = wanted.status.st_mode;
    if (S_ISREG(mode)) {
        UniqueFd made(::openat(folder, name.c_str(),
                               O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kPrivateFile));
        if (!made.valid()) return errno_error(errno, "cannot create a file in its folder");
        return made;
    }
    if (S_ISDIR(mode) && ::mkdirat(folder, name.c_str(), kPrivateFolder) != 0)
        return errno_error(errno, "cannot create the folder");
    if (S_ISLNK(mode) && ::symlinkat(wanted.symlink_target.c_str(), folder, name.c_str()) != 0)
        return errno_error(errno, "cannot create a symbolic link");
    if (!S_ISDIR(mode) && !S_ISLNK(mode) &&
        ::mknodat(folder, name.c_str(), (mode & S_IFMT) | kPrivateFile, wanted.status.st_rdev) != 0)
        return errno_error(errno, "cannot create a special file");
    return open_beneath(folder, name, O_PATH);
}

Result<std::size_t> read_chunk(int fd, std::vector<char>& buffer, std::size_t size,
                               std::uint64_t offset) {
    std::size_t done = 0;
    while (done < size) {
        const ssize_t count =
            ::pread(fd, buffer.data() + done, size - done, static_cast<off_t>(offset + done));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return errno_error(errno, "cannot read it");
        if (count == 0) break;
        done += static_cast<std::size_t>(count);
    }
    return done;
}

bool is_hole(int fd, std::uint64_t offset, std::size_t size) {
    const off_t data = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
    if (data < 0) return errno == ENXIO;
    return static_cast<std::uint64_t>(data) >= offset + size;
}

}  // namespace

std::string aside_name(const std::string& job, std::uint32_t run, std::uint32_t number) {
    return fmt::format("{}{}.{}.{}", kAsidePrefix, job, run, number);
}

Result<ObjectIdentity> identity_of(int folder, const std::string& name) {
    ObjectIdentity identity;
    struct stat status {};
    if (::fstatat(folder, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) return identity;
        return errno_error(errno, "cannot look at it");
    }
    identity.inode = status.st_ino;
    struct {
        struct file_handle head;
        unsigned char bytes[MAX_HANDLE_SZ];
    } handle{};
    handle.head.handle_bytes = MAX_HANDLE_SZ;
    int mount = 0;
    if (::name_to_handle_at(folder, name.c_str(), &handle.head, &mount, 0) == 0)
        identity.handle.assign(reinterpret_cast<const char*>(handle.head.f_handle),
                               handle.head.handle_bytes);
    return identity;
}

Result<StagedMetadata> stage_copy(int source, const Attributes& wanted, int folder,
                                  const std::string& name,
                                  const std::function<bool()>& interrupted) {
    UMBRA_ASSIGN(const UniqueFd made, make_object(wanted, folder, name));
    StagedMetadata staged;
    const mode_t mode = wanted.status.st_mode;
    if (S_ISDIR(mode)) return staged;
    if (S_ISREG(mode)) {
        const UniqueFd from(::open(ProcPath(source).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
        if (!from.valid()) return errno_error(errno, "cannot read it in the snapshot");
        UMBRA_TRY(copy_contents(from.get(), made.get(),
                                static_cast<std::uint64_t>(wanted.status.st_size), interrupted));
    }
    UMBRA_ASSIGN(const Attributes fresh, read_attributes(made.get()));
    UMBRA_ASSIGN(const MetadataOutcome outcome, apply_metadata(made.get(), wanted, fresh));
    staged.owner_left = outcome.owner_left;
    staged.extended_left = outcome.extended_left;
    return staged;
}

Result<void> stage_link(int object, int folder, const std::string& name) {
    if (::linkat(AT_FDCWD, ProcPath(object).c_str(), folder, name.c_str(), AT_SYMLINK_FOLLOW) != 0)
        return errno_error(errno, "cannot create a hard link");
    return {};
}

Result<void> rename_aside(int folder, const std::string& from, const std::string& to,
                          unsigned flags) {
    if (::renameat2(folder, from.c_str(), folder, to.c_str(), flags) != 0)
        return errno_error(errno, "cannot give it its name");
    return {};
}

Result<ObjectIdentity> give_back(int folder, const std::string& name, const std::string& aside,
                                 ObjectIdentity ours) {
    constexpr int kTries = 1000;
    for (int i = 0; i < kTries; ++i) {
        UMBRA_ASSIGN(const ObjectIdentity given, identity_of(folder, aside));
        auto exchanged = rename_aside(folder, name, aside, RENAME_EXCHANGE);
        // Somebody has removed it meanwhile: so it stays.
        if (!exchanged && exchanged.error().code == ENOENT) return given;
        if (!exchanged) return forward_error(exchanged);
        UMBRA_ASSIGN(const ObjectIdentity got, identity_of(folder, aside));
        if (got == ours) return got;
        ours = given;
    }
    return errno_error(EBUSY, "somebody replaces it all the time");
}

Result<void> remove_whole(int folder, const std::string& name) {
    if (::unlinkat(folder, name.c_str(), 0) == 0 || errno == ENOENT) return {};
    if (errno != EISDIR && errno != EPERM)
        return errno_error(errno, "cannot remove '" + name + "'");
    const int code = errno;
    auto inside = open_beneath(folder, name, O_RDONLY | O_DIRECTORY);
    if (!inside && inside.error().code == EACCES) {
        // A folder that forbids it to its owner.
        auto closed = open_beneath(folder, name, O_PATH | O_DIRECTORY);
        if (closed) ::chmod(ProcPath(closed->get()).c_str(), kPrivateFolder);
        inside = open_beneath(folder, name, O_RDONLY | O_DIRECTORY);
    }
    if (!inside && inside.error().code == ENOTDIR)
        return errno_error(code, "cannot remove '" + name + "'");
    if (!inside) return errno_error(inside.error().code, "cannot empty '" + name + "'");
    if (::faccessat(AT_FDCWD, ProcPath(inside->get()).c_str(), W_OK | X_OK, AT_EACCESS) != 0)
        ::fchmod(inside->get(), kPrivateFolder);
    UMBRA_ASSIGN(const std::vector<std::string> names, list_names(inside->get()));
    for (const auto& child : names) UMBRA_TRY(remove_whole(inside->get(), child));
    if (::unlinkat(folder, name.c_str(), AT_REMOVEDIR) != 0 && errno != ENOENT)
        return errno_error(errno, "cannot remove the folder '" + name + "'");
    return {};
}

namespace {

// The part of write_differences in one range.
class DifferenceWriter {
   public:
    DifferenceWriter(int from, int to, const std::function<bool()>& interrupted)
        : from_(from), to_(to), interrupted_(interrupted), wanted_(kChunk), present_(kChunk) {}

    std::uint64_t written() const { return written_; }

    Result<void> write(std::uint64_t begin, std::uint64_t end) {
        for (std::uint64_t offset = begin; offset < end; offset += kChunk) {
            if (interrupted_ && interrupted_()) return errno_error(EINTR, "stopped");
            UMBRA_TRY(write_chunk(
                offset, static_cast<std::size_t>(std::min<std::uint64_t>(kChunk, end - offset))));
        }
        return {};
    }

   private:
    Result<void> write_chunk(std::uint64_t offset, std::size_t length) {
        if (is_hole(from_, offset, length)) {
            if (is_hole(to_, offset, length)) return {};
            if (::fallocate(to_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                            static_cast<off_t>(offset), static_cast<off_t>(length)) == 0)
                return {};
        }
        UMBRA_ASSIGN(const std::size_t count, read_chunk(from_, wanted_, length, offset));
        if (count < length) return errno_error(EIO, "it is shorter in the snapshot than it was");
        UMBRA_ASSIGN(const std::size_t there, read_chunk(to_, present_, length, offset));
        for (std::size_t at = 0; at < length; at += kBlock) {
            const std::size_t block = std::min(kBlock, length - at);
            const bool same = at + block <= there &&
                              std::memcmp(wanted_.data() + at, present_.data() + at, block) == 0;
            if (same) continue;
            const int code =
                write_whole(to_, std::as_bytes(std::span(wanted_.data() + at, block)), offset + at);
            if (code != 0) return errno_error(code, "cannot write it");
            written_ += block;
        }
        return {};
    }

    int from_, to_;
    const std::function<bool()>& interrupted_;
    std::vector<char> wanted_, present_;
    std::uint64_t written_ = 0;
};

}  // namespace

Result<std::uint64_t> write_differences(int from, int to, std::uint64_t size,
                                        const std::function<bool()>& interrupted,
                                        const KnownRanges& ranges) {
    DifferenceWriter writer(from, to, interrupted);
    if (!ranges) UMBRA_TRY(writer.write(0, size));
    for (const auto& range : ranges.value_or(std::vector<ByteRange>{})) {
        const std::uint64_t begin = std::min(range.offset, size);
        UMBRA_TRY(writer.write(begin, begin + std::min(range.length, size - begin)));
    }
    if (::ftruncate(to, static_cast<off_t>(size)) != 0)
        return errno_error(errno, "cannot give it its size");
    return writer.written();
}

}  // namespace umbra
