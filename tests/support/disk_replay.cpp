#include "tests/support/disk_replay.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>
#include <stdexcept>

#include "snapstore/write_whole.h"

namespace umbra::test {

namespace {

[[noreturn]] void fail(const std::string& what) {
    throw std::runtime_error(what + ": " + std::strerror(errno));
}

void copy_bytes(int from, uint64_t from_offset, int to, uint64_t to_offset, uint64_t length) {
    static thread_local std::vector<char> buffer(1 << 20);
    while (length > 0) {
        const auto wanted = std::min<uint64_t>(length, buffer.size());
        const ssize_t count = ::pread(from, buffer.data(), wanted, static_cast<off_t>(from_offset));
        if (count <= 0) fail("read an image");
        const auto bytes = std::as_bytes(std::span(buffer.data(), static_cast<size_t>(count)));
        errno = write_whole(to, bytes, to_offset);
        if (errno != 0) fail("write an image");
        from_offset += bytes.size();
        to_offset += bytes.size();
        length -= bytes.size();
    }
}

// Holes stay holes.
void copy_file(int from, int to) {
    struct stat status {};
    if (::fstat(from, &status) != 0 || ::ftruncate(to, status.st_size) != 0) fail("copy an image");
    for (off_t end = 0;;) {
        const off_t begin = ::lseek(from, end, SEEK_DATA);
        if (begin < 0) return;
        end = ::lseek(from, begin, SEEK_HOLE);
        copy_bytes(from, static_cast<uint64_t>(begin), to, static_cast<uint64_t>(begin),
                   static_cast<uint64_t>(end - begin));
    }
}

// What becomes of the writes after the last flush.
enum class Luck { kNothing, kSomeWrites, kMostWrites, kSomeSectors, kEverything };
constexpr int kLucks = 5;
constexpr const char* kLuckNames[] = {"nothing", "some writes", "most writes", "some sectors",
                                      "everything"};

}  // namespace

DiskReplay::DiskReplay(const Recording& recording, const std::vector<std::filesystem::path>& bases,
                       const std::vector<std::filesystem::path>& images)
    : recording_(recording), data_(::open(recording.data_file.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (!data_.valid()) fail("open " + recording.data_file.string());
    for (size_t i = 0; i < bases.size(); ++i) {
        disks_.push_back({UniqueFd(::open(bases[i].c_str(), O_RDWR | O_CLOEXEC)), images[i]});
        if (!disks_.back().base.valid()) fail("open " + bases[i].string());
    }
}

void DiskReplay::apply(int file, const DiskOperation& write, uint64_t from, uint64_t length) const {
    copy_bytes(data_.get(), write.place + from, file, write.offset + from, length);
}

void DiskReplay::advance(Disk& disk, int number, size_t until) {
    for (; disk.applied < until; ++disk.applied) {
        const DiskOperation& operation = recording_.operations[disk.applied];
        if (operation.disk == number && operation.kind == DiskOperation::Kind::kWrite)
            apply(disk.base.get(), operation, 0, operation.length);
    }
}

std::string DiskReplay::apply_some(int number, const UniqueFd& image, size_t point,
                                   Random& random) {
    const auto luck = static_cast<Luck>(random.below(kLucks));
    const unsigned percent = luck == Luck::kMostWrites   ? 90
                             : luck == Luck::kNothing    ? 0
                             : luck == Luck::kEverything ? 100
                                                         : 50;
    size_t writes = 0;
    bool torn = false;
    for (size_t i = disks_[static_cast<size_t>(number)].applied; i < point; ++i) {
        const DiskOperation& write = recording_.operations[i];
        if (write.disk != number || write.kind != DiskOperation::Kind::kWrite) continue;
        ++writes;
        // The last one was under way: any number of its first sectors has arrived.
        torn = i + 1 == point && random.chance(75);
        const uint64_t arrived = torn ? random.below(write.length + 1) : write.length;
        const bool all = random.chance(percent);
        for (uint64_t at = 0; at < write.length;) {
            const uint64_t length =
                std::min(kDiskSector - (write.offset + at) % kDiskSector, write.length - at);
            const bool kept = torn                         ? at + length <= arrived
                              : luck == Luck::kSomeSectors ? random.chance(percent)
                                                           : all;
            if (kept) apply(image.get(), write, at, length);
            at += length;
        }
    }
    return kLuckNames[static_cast<int>(luck)] + std::string(" of ") + std::to_string(writes) +
           " unflushed writes" + (torn ? ", the last one torn" : "");
}

std::string DiskReplay::cut(size_t point, Random& random) {
    std::string text = "power cut after operation " + std::to_string(point);
    for (size_t i = 0; i < disks_.size(); ++i) {
        const int number = static_cast<int>(i);
        Disk& disk = disks_[i];
        size_t flushed = disk.applied;
        for (size_t at = point; at > flushed; --at) {
            const DiskOperation& operation = recording_.operations[at - 1];
            if (operation.disk == number && operation.kind == DiskOperation::Kind::kFlush)
                flushed = at;
        }
        advance(disk, number, flushed);
        // A new file: a loop device may still be letting go of the last one.
        ::unlink(disk.image.c_str());
        const UniqueFd image(
            ::open(disk.image.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
        if (!image.valid()) fail("create " + disk.image.string());
        copy_file(disk.base.get(), image.get());
        text += "; disk " + std::to_string(i) + ": " + apply_some(number, image, point, random);
    }
    return text;
}

}  // namespace umbra::test
