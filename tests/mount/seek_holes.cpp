#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

constexpr int64_t kChunk = 65536;

// Every answer of lseek at the borders of holes.
void seek_everywhere(Record& record, int fd, int64_t size) {
    for (int64_t at = 0; at <= size + kChunk; at += kChunk / 2) {
        record("data from " + std::to_string(at), ::lseek(fd, at, SEEK_DATA));
        record("hole from " + std::to_string(at), ::lseek(fd, at, SEEK_HOLE));
    }
    record("data at end", ::lseek(fd, size, SEEK_DATA));
    record("hole at end", ::lseek(fd, size, SEEK_HOLE));
    record("negative", ::lseek(fd, -1, SEEK_DATA));
}

void seek_cases(Parity& parity) {
    parity.add(
        "a hole in front, data, a hole behind",
        [] { make::sparse("a", 8 * kChunk, 2 * kChunk, pattern(2 * kChunk)); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDONLY));
            seek_everywhere(record, fd, 8 * kChunk);
        });
    parity
        .add(
            "no hole", [] { make::file("a", pattern(4 * kChunk)); },
            [](Record& record) {
                seek_everywhere(record, record.fd("open", ::open("a", O_RDONLY)), 4 * kChunk);
            })
        .as({kOwner});
    parity
        .add(
            "only a hole", [] { make::sparse("a", 4 * kChunk, 0, ""); },
            [](Record& record) {
                seek_everywhere(record, record.fd("open", ::open("a", O_RDONLY)), 4 * kChunk);
            })
        .as({kOwner});
    parity
        .add(
            "an empty file", [] { make::file("a"); },
            [](Record& record) {
                seek_everywhere(record, record.fd("open", ::open("a", O_RDONLY)), 0);
            })
        .as({kOwner});
    parity
        .add(
            "data written now", [] { make::sparse("a", 8 * kChunk, 0, ""); },
            [](Record& record) {
                const int fd = record.fd("open", ::open("a", O_RDWR));
                const std::string data = pattern(kChunk);
                record("write", ::pwrite(fd, data.data(), data.size(), 3 * kChunk));
                record("fsync", ::fsync(fd));
                seek_everywhere(record, fd, 8 * kChunk);
            })
        .as({kOwner});
    parity
        .add(
            "a hole punched now", [] { make::file("a", pattern(8 * kChunk)); },
            [](Record& record) {
                const int fd = record.fd("open", ::open("a", O_RDWR));
                record("punch", ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                            2 * kChunk, 3 * kChunk));
                record("fsync", ::fsync(fd));
                seek_everywhere(record, fd, 8 * kChunk);
            })
        .as({kOwner});
    parity.add(
        "of a directory", [] { make::directory("d"); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("d", O_RDONLY));
            record("bad whence", ::lseek(fd, 0, 17));
        });
}

}  // namespace

UMBRA_PARITY("seek holes", seek_cases)

}  // namespace umbra::test
