#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

constexpr int64_t kBlock = 16384;

void truncate_cases(Parity& parity) {
    for (const int64_t size : {int64_t{0}, int64_t{10}, kBlock, 4 * kBlock + 100}) {
        for (const int64_t target : {int64_t{0}, int64_t{1}, int64_t{10}, kBlock - 1, kBlock,
                                     4 * kBlock + 100, 9 * kBlock}) {
            const std::string what = std::to_string(size) + " to " + std::to_string(target);
            parity
                .add(
                    "truncate " + what, [size] { make::file("a", pattern(size)); },
                    [target](Record& record) { record("truncate", ::truncate("a", target)); })
                .as({kMember});
            parity
                .add(
                    "ftruncate and grow again " + what, [size] { make::file("a", pattern(size)); },
                    [=](Record& record) {
                        const int fd = record.fd("open", ::open("a", O_RDWR));
                        record("shrink", ::ftruncate(fd, target));
                        record("grow", ::ftruncate(fd, size + kBlock));
                        record.fstat("a", fd);
                        record.contents("a");
                    })
                .as({kOwner});
        }
    }
    for (const mode_t mode : {0666u, 0444u, 0222u, 0060u, 0u}) {
        parity.add(
            "truncate with mode " + std::to_string(mode),
            [mode] { make::file("a", "0123456789", mode); },
            [](Record& record) {
                record("truncate", ::truncate("a", 5));
                record.fd("open O_TRUNC", ::open("a", O_WRONLY | O_TRUNC));
            });
    }
    parity.add(
        "truncate what is no file",
        [] {
            make::directory("d");
            make::symlink("target", "link");
            make::file("target", "0123456789");
            make::symlink("nowhere", "dangling");
            make::node("fifo", S_IFIFO | 0666);
        },
        [](Record& record) {
            record("directory", ::truncate("d", 0));
            record("through a link", ::truncate("link", 3));
            record("dangling", ::truncate("dangling", 0));
            record("fifo", ::truncate("fifo", 0));
            record("absent", ::truncate("absent", 0));
            record("negative", ::truncate("target", -1));
        });
    parity.add(
        "ftruncate needs a descriptor for writing", [] { make::file("a", "0123456789", 0666); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDONLY));
            record("ftruncate", ::ftruncate(fd, 3));
        });
    parity.add(
        "O_TRUNC on an empty and a full file",
        [] {
            make::file("empty", "", 0666);
            make::file("full", pattern(50000), 0666);
        },
        [](Record& record) {
            record.fd("empty", ::open("empty", O_WRONLY | O_TRUNC));
            record.fd("full", ::open("full", O_WRONLY | O_TRUNC));
        });
    parity
        .add(
            "bytes past the end read as zeros after growing",
            [] { make::file("a", pattern(20000)); },
            [](Record& record) {
                record("shrink", ::truncate("a", 100));
                const int fd = record.fd("open", ::open("a", O_RDWR));
                record("write far", ::pwrite(fd, "end", 3, 30000));
                record.contents("a");
            })
        .as({kOwner, kMember});
}

}  // namespace

UMBRA_PARITY("truncate", truncate_cases)

}  // namespace umbra::test
