#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

constexpr int64_t kBlock = 16384;

struct Mode {
    const char* name;
    int value;
};

// Collapsing and inserting ranges are missing: the kernel refuses them on every FUSE filesystem.
constexpr Mode kModes[] = {
    {"allocate", 0},
    {"keep size", FALLOC_FL_KEEP_SIZE},
    {"punch", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE},
    {"zero", FALLOC_FL_ZERO_RANGE},
    {"zero, keep size", FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE},
};

void fallocate_cases(Parity& parity) {
    for (const auto& mode : kModes) {
        for (const int64_t offset :
             {int64_t{0}, int64_t{100}, 2 * kBlock, 5 * kBlock, 9 * kBlock}) {
            for (const int64_t length : {int64_t{50}, int64_t{4096}, 3 * kBlock + 7}) {
                parity
                    .add(
                        std::string(mode.name) + " " + std::to_string(length) + " at " +
                            std::to_string(offset),
                        [] { make::file("a", pattern(5 * kBlock + 123), 0666); },
                        [=](Record& record) {
                            const int fd = record.fd("open", ::open("a", O_RDWR));
                            record("fallocate", ::fallocate(fd, mode.value, offset, length));
                            record.fstat("a", fd);
                            record.contents("a");
                        })
                    .as({kOwner});
            }
        }
    }
    parity.add(
        "bad arguments",
        [] {
            make::file("a", "data", 0666);
            make::directory("d");
        },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDWR));
            record("no length", ::fallocate(fd, 0, 0, 0));
            record("negative offset", ::fallocate(fd, 0, -1, 10));
            record("negative length", ::fallocate(fd, 0, 0, -10));
            record("punch and grow", ::fallocate(fd, FALLOC_FL_PUNCH_HOLE, 0, 10));
            record("unknown mode", ::fallocate(fd, 0x4000, 0, 10));
            record("too far", ::fallocate(fd, 0, INT64_MAX - 5, 10));
            const int reader = record.fd("open", ::open("a", O_RDONLY));
            record("reader", ::fallocate(reader, 0, 0, 10));
            const int directory = record.fd("open", ::open("d", O_RDONLY));
            record("directory", ::fallocate(directory, 0, 0, 10));
        });
    parity.add(
        "space kept past the end is no size", [] { make::file("a", "data", 0666); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDWR));
            record("keep", ::fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 100000));
            record.fstat("a", fd);
            struct stat status {};
            ::fstat(fd, &status);
            record("has blocks", status.st_blocks * 512 >= 100000);
            record("append", ::pwrite(fd, "x", 1, 4));
            record("truncate", ::ftruncate(fd, 100));
            record.contents("a");
        });
    parity.add(
        "posix_fallocate", [] { make::file("a", pattern(100), 0666); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDWR));
            record("posix_fallocate", ::posix_fallocate(fd, 50, 40000));
            record.contents("a");
        });
    parity
        .add(
            "punched holes read as zeros and can be written",
            [] { make::file("a", pattern(8 * kBlock), 0666); },
            [](Record& record) {
                const int fd = record.fd("open", ::open("a", O_RDWR));
                record("punch", ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kBlock,
                                            4 * kBlock));
                record("write inside", ::pwrite(fd, "in the hole", 11, 2 * kBlock + 5));
                record("zero", ::fallocate(fd, FALLOC_FL_ZERO_RANGE, 6 * kBlock, 4 * kBlock));
                record.contents("a");
            })
        .as({kOwner});
}

}  // namespace

UMBRA_PARITY("fallocate", fallocate_cases)

}  // namespace umbra::test
