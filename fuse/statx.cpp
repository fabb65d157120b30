#include "fuse/statx.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <exception>
#include <optional>

#include "fuse/reply.h"
#include "fuse/shown_status.h"

namespace umbra::statx_request {

namespace {

// Protocol 7.39; the headers that Umbra is built with may be older.
constexpr std::uint32_t kOpcode = 52;

struct Input {
    std::uint32_t getattr_flags;
    std::uint32_t reserved;
    std::uint64_t handle;
    std::uint32_t flags;
    std::uint32_t mask;
};
static_assert(sizeof(Input) == 24);

struct Time {
    std::int64_t seconds = 0;
    std::uint32_t nanoseconds = 0;
    std::int32_t reserved = 0;
};

struct Output {
    fuse_out_header header{};
    std::uint64_t valid_seconds = 0;
    std::uint32_t valid_nanoseconds = 0;
    std::uint32_t flags = 0;
    std::uint64_t spare[2]{};
    std::uint32_t mask = 0;
    std::uint32_t block_size = 0;
    std::uint64_t attributes = 0;
    std::uint32_t links = 0;
    std::uint32_t uid = 0;
    std::uint32_t gid = 0;
    std::uint16_t mode = 0;
    std::uint16_t spare_0 = 0;
    std::uint64_t inode = 0;
    std::uint64_t size = 0;
    std::uint64_t blocks = 0;
    std::uint64_t attributes_mask = 0;
    Time accessed, born, changed, modified;
    std::uint32_t special_major = 0;
    std::uint32_t special_minor = 0;
    std::uint32_t device_major = 0;
    std::uint32_t device_minor = 0;
    std::uint64_t spare_2[14]{};
};
static_assert(sizeof(Output) == sizeof(fuse_out_header) + 32 + 256);

Time time_of(const struct timespec& time) {
    return {time.tv_sec, static_cast<std::uint32_t>(time.tv_nsec), 0};
}

std::optional<struct timespec> birth_time_at(int fd) {
    struct statx status {};
    if (::statx(fd, "", AT_EMPTY_PATH, STATX_BTIME, &status) != 0 ||
        (status.stx_mask & STATX_BTIME) == 0)
        return std::nullopt;
    return timespec{status.stx_btime.tv_sec, static_cast<long>(status.stx_btime.tv_nsec)};
}

// It never changes, and so is the same in every snapshot. What does not say when it was born is
// shown without.
std::optional<struct timespec> birth_time(MountContext& context, NodeId node, FileHandle* handle) {
    if (node.is_snapshots_directory()) return std::nullopt;
    std::optional<ObjectId> id;
    if (node.in_snapshot()) {
        if (const auto past = context.past_object(node)) id = past->id;
    } else if (const auto live = context.live_object(node)) {
        id = *live;
    }
    if (!id) return std::nullopt;
    const auto object = context.live().open(*id, O_PATH, {});
    if (object) return birth_time_at(object->fd.get());
    // Without a name it may be out of reach but through a descriptor.
    const auto open = context.open_files().any_of(node);
    FileHandle* file = handle != nullptr ? handle : open.get();
    if (file == nullptr || file->live() == nullptr) return std::nullopt;
    return birth_time_at(file->live()->fd.get());
}

void fill(Output& output, const struct stat& status) {
    output.valid_seconds = static_cast<std::uint64_t>(kForeverSeconds);
    output.mask = STATX_BASIC_STATS;
    output.block_size = static_cast<std::uint32_t>(status.st_blksize);
    output.links = static_cast<std::uint32_t>(status.st_nlink);
    output.uid = status.st_uid;
    output.gid = status.st_gid;
    output.mode = static_cast<std::uint16_t>(status.st_mode);
    output.inode = status.st_ino;
    output.size = static_cast<std::uint64_t>(status.st_size);
    output.blocks = static_cast<std::uint64_t>(status.st_blocks);
    output.accessed = time_of(status.st_atim);
    output.changed = time_of(status.st_ctim);
    output.modified = time_of(status.st_mtim);
    output.special_major = major(status.st_rdev);
    output.special_minor = minor(status.st_rdev);
}

// An errno, or 0.
int fill_for(MountContext& context, NodeId node, const Input& input, Output& output) {
    if (!context.volume().check_owner()) return EIO;
    const auto handle = (input.getattr_flags & FUSE_GETATTR_FH) != 0
                            ? context.open_files().find(input.handle)
                            : nullptr;
    const auto status = shown_status(context, node, handle.get());
    if (!status) return reply_code(status.error().code);
    fill(output, *status);
    if (const auto born = birth_time(context, node, handle.get())) {
        output.mask |= STATX_BTIME;
        output.born = time_of(*born);
    }
    return 0;
}

int guarded_fill_for(MountContext& context, NodeId node, const Input& input,
                     Output& output) noexcept {
    try {
        return fill_for(context, node, input, output);
    } catch (const std::exception&) {
        return EIO;
    }
}

}  // namespace

bool answered(MountContext& context, int device, const char* buffer, std::size_t size) noexcept {
    fuse_in_header header{};
    if (size < sizeof header) return false;
    std::memcpy(&header, buffer, sizeof header);
    Input input{};
    if (header.opcode != kOpcode || size < sizeof header + sizeof input) return false;
    std::memcpy(&input, buffer + sizeof header, sizeof input);
    context.counters().count(Operation::kGetattr);
    Output output;
    const int code = guarded_fill_for(context, NodeId(header.nodeid), input, output);
    output.header.unique = header.unique;
    output.header.error = -code;
    output.header.len = code == 0 ? sizeof output : sizeof output.header;
    // ENOENT: whoever asked waits no more.
    static_cast<void>(!::write(device, &output, output.header.len));
    return true;
}

}  // namespace umbra::statx_request
