#include "restore/contents.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <vector>

#include "snapstore/write_whole.h"

namespace umbra {

namespace {

constexpr std::size_t kChunkBytes = 1 << 20;
// Between two looks at whether to stop.
constexpr std::size_t kCopyAtOnceBytes = 64 << 20;

// Where data begins at or after `offset`; `size` when there is only a hole. A filesystem that
// cannot tell has data everywhere.
std::uint64_t next_data(int fd, std::uint64_t offset, std::uint64_t size) {
    const off_t found = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
    if (found < 0) return errno == ENXIO ? size : offset;
    return std::min(static_cast<std::uint64_t>(found), size);
}

std::uint64_t next_hole(int fd, std::uint64_t offset, std::uint64_t size) {
    const off_t found = ::lseek(fd, static_cast<off_t>(offset), SEEK_HOLE);
    if (found < 0) return size;
    return std::clamp(static_cast<std::uint64_t>(found), offset, size);
}

// Reads as much as asked for, less only at the end of the file.
Result<std::size_t> read_full(int fd, char* buffer, std::size_t size, std::uint64_t offset) {
    std::size_t done = 0;
    while (done < size) {
        const ssize_t count =
            ::pread(fd, buffer + done, size - done, static_cast<off_t>(offset + done));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return errno_error(errno, "cannot read it");
        if (count == 0) break;
        done += static_cast<std::size_t>(count);
    }
    return done;
}

Result<void> write_full(int fd, const char* buffer, std::size_t size, std::uint64_t offset) {
    const int code = write_whole(fd, std::as_bytes(std::span(buffer, size)), offset);
    if (code != 0) return errno_error(code, "cannot write it");
    return {};
}

Result<void> copy_by_hand(int from, int to, std::uint64_t begin, std::uint64_t end) {
    std::vector<char> buffer(kChunkBytes);
    while (begin < end) {
        const std::size_t wanted = std::min<std::uint64_t>(buffer.size(), end - begin);
        UMBRA_ASSIGN(const std::size_t count, read_full(from, buffer.data(), wanted, begin));
        if (count == 0) return errno_error(EIO, "it is shorter than it was");
        UMBRA_TRY(write_full(to, buffer.data(), count, begin));
        begin += count;
    }
    return {};
}

// Inside the kernel as far as it goes; where it does not, by hand.
Result<void> copy_data(int from, int to, std::uint64_t begin, std::uint64_t end,
                       const std::function<bool()>& interrupted) {
    while (begin < end) {
        if (interrupted && interrupted()) return errno_error(EINTR, "stopped");
        off_t in = static_cast<off_t>(begin), out = in;
        const std::size_t wanted = std::min<std::uint64_t>(kCopyAtOnceBytes, end - begin);
        const ssize_t count = ::copy_file_range(from, &in, to, &out, wanted, 0);
        if (count > 0) {
            begin += static_cast<std::uint64_t>(count);
            continue;
        }
        // Whatever the reason, plain reading and writing finds out whether it is a real one.
        UMBRA_TRY(copy_by_hand(from, to, begin, begin + wanted));
        begin += wanted;
    }
    return {};
}

}  // namespace

namespace {

Result<bool> same_range(int a, int b, std::uint64_t offset, std::uint64_t end) {
    std::vector<char> left(kChunkBytes), right(kChunkBytes);
    while (offset < end) {
        offset = std::min(next_data(a, offset, end), next_data(b, offset, end));
        const std::size_t wanted = std::min<std::uint64_t>(kChunkBytes, end - offset);
        UMBRA_ASSIGN(const std::size_t left_count, read_full(a, left.data(), wanted, offset));
        UMBRA_ASSIGN(const std::size_t right_count, read_full(b, right.data(), wanted, offset));
        if (left_count != wanted || right_count != wanted) return false;
        if (std::memcmp(left.data(), right.data(), wanted) != 0) return false;
        offset += wanted;
    }
    return true;
}

}  // namespace

Result<bool> same_contents(int a, int b, std::uint64_t size, const KnownRanges& may_differ) {
    if (!may_differ) return same_range(a, b, 0, size);
    for (const auto& range : *may_differ) {
        const std::uint64_t begin = std::min(range.offset, size);
        UMBRA_ASSIGN(const bool same,
                     same_range(a, b, begin, begin + std::min(range.length, size - begin)));
        if (!same) return false;
    }
    return true;
}

Result<void> copy_contents(int from, int to, std::uint64_t size,
                           const std::function<bool()>& interrupted) {
    for (std::uint64_t offset = next_data(from, 0, size); offset < size;) {
        const std::uint64_t end = next_hole(from, offset, size);
        // A hole at a place that has data: somebody changes it, or the filesystem lies. Copy all
        // the rest.
        const std::uint64_t until = end > offset ? end : size;
        UMBRA_TRY(copy_data(from, to, offset, until, interrupted));
        offset = next_data(from, until, size);
    }
    if (::ftruncate(to, static_cast<off_t>(size)) != 0)
        return errno_error(errno, "cannot give it its size");
    return {};
}

}  // namespace umbra
