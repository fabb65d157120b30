#include <fcntl.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/uio.h>
#include <unistd.h>

#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

constexpr int64_t kBlock = 16384;

std::vector<NamedCaller> writers() { return {kRoot, kMember}; }

void read_write_cases(Parity& parity) {
    // Around the borders of pages and of the blocks that are preserved.
    for (const int64_t size : {int64_t{0}, int64_t{1}, kBlock - 1, kBlock, 5 * kBlock + 77}) {
        for (const int64_t offset : {int64_t{0}, int64_t{1}, int64_t{4095}, kBlock - 1, kBlock,
                                     2 * kBlock + 5, 7 * kBlock}) {
            for (const int64_t length : {int64_t{1}, int64_t{4096}, 3 * kBlock}) {
                parity
                    .add(
                        "write " + std::to_string(length) + " at " + std::to_string(offset) +
                            " of " + std::to_string(size),
                        [size] { make::file("a", pattern(size)); },
                        [=](Record& record) {
                            const int fd = record.fd("open", ::open("a", O_RDWR));
                            const std::string data = pattern(length, 2);
                            record("pwrite", ::pwrite(fd, data.data(), data.size(), offset));
                            record.fstat("a", fd);
                            record.contents("a");
                        })
                    .as({kMember});
            }
        }
    }
    parity.add(
        "read at and past the end", [] { make::file("a", "0123456789"); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDONLY));
            char buffer[32];
            for (const off_t at : {0, 5, 9, 10, 11, 100000}) {
                record("pread " + std::to_string(at), ::pread(fd, buffer, sizeof buffer, at));
            }
            record("negative", ::pread(fd, buffer, 1, -1));
            record("zero bytes", ::pread(fd, buffer, 0, 0));
        });
    parity
        .add(
            "sequential reads and writes share one position", [] { make::file("a", "0123456789"); },
            [](Record& record) {
                const int fd = record.fd("open", ::open("a", O_RDWR));
                char buffer[4];
                record("read", ::read(fd, buffer, 4));
                record("write", ::write(fd, "abc", 3));
                record("position", ::lseek(fd, 0, SEEK_CUR));
                const int copy = record.fd("dup", ::dup(fd));
                record("write copy", ::write(copy, "X", 1));
                record("position", ::lseek(fd, 0, SEEK_CUR));
                record.contents("a");
            })
        .as(writers());
    parity
        .add(
            "writev and preadv", [] { make::file("a", pattern(40000)); },
            [](Record& record) {
                const int fd = record.fd("open", ::open("a", O_RDWR));
                std::string one = pattern(100, 3), two = pattern(20000, 4);
                const iovec parts[2] = {{one.data(), one.size()}, {two.data(), two.size()}};
                record("pwritev", ::pwritev(fd, parts, 2, 16000));
                record("preadv", ::preadv(fd, parts, 2, 15000));
                record("same", one == pattern(40000).substr(15000, 100));
                record.contents("a");
            })
        .as(writers());
    parity
        .add(
            "a large write", [] { make::file("a", pattern(100)); },
            [](Record& record) {
                const int fd = record.fd("open", ::open("a", O_RDWR));
                const std::string data = pattern(5'000'003, 9);
                record("pwrite", ::pwrite(fd, data.data(), data.size(), 11));
                record("fsync", ::fsync(fd));
                record("fdatasync", ::fdatasync(fd));
                record.contents("a");
            })
        .as({kOwner});
    parity
        .add(
            "writes through two descriptors are seen at once",
            [] { make::file("a", "aaaaaaaaaa"); },
            [](Record& record) {
                const int one = record.fd("open", ::open("a", O_RDWR));
                const int two = record.fd("open", ::open("a", O_RDWR));
                char buffer[10] = {};
                record("read", ::pread(two, buffer, 10, 0));
                record("write", ::pwrite(one, "bbb", 3, 3));
                record("read", ::pread(two, buffer, 10, 0));
                record.text("seen", std::string(buffer, 10));
                record("write", ::pwrite(two, "cc", 2, 9));
                record.fstat("one", one);
            })
        .as(writers());
    parity.add(
        "wrong direction", [] { make::file("a", "data"); },
        [](Record& record) {
            const int reader = record.fd("open", ::open("a", O_RDONLY));
            const int writer = record.fd("open", ::open("a", O_WRONLY));
            char byte = 'x';
            record("write to reader", ::write(reader, &byte, 1));
            record("read from writer", ::read(writer, &byte, 1));
            record("write to writer", ::write(writer, &byte, 1));
        });
    parity.add(
        "reading a directory", [] { make::directory("d"); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("d", O_RDONLY));
            char byte;
            record("read", ::read(fd, &byte, 1));
            record("pread", ::pread(fd, &byte, 1, 0));
            record("write", ::write(fd, &byte, 1));
            record("ftruncate", ::ftruncate(fd, 0));
            record("fsync", ::fsync(fd));
        });
    parity.add(
        "seeking", [] { make::file("a", "0123456789"); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDWR));
            record("end", ::lseek(fd, 0, SEEK_END));
            record("past end", ::lseek(fd, 100, SEEK_END));
            record("before start", ::lseek(fd, -100, SEEK_CUR));
            record("bad whence", ::lseek(fd, 0, 99));
        });
    parity
        .add(
            "sendfile and splice",
            [] {
                make::file("a", pattern(70000));
                make::file("b");
            },
            [](Record& record) {
                const int from = record.fd("open", ::open("a", O_RDONLY));
                const int to = record.fd("open", ::open("b", O_WRONLY));
                off_t at = 5;
                record("sendfile", ::sendfile(to, from, &at, 60000));
                record("offset", at);
                int ends[2];
                record("pipe", ::pipe(ends));
                loff_t position = 100;
                record("splice in", ::splice(from, &position, ends[1], nullptr, 4096, 0));
                loff_t target = 65536;
                record("splice out", ::splice(ends[0], nullptr, to, &target, 4096, 0));
                record.contents("b");
            })
        .as(writers());
    parity
        .add(
            "writing no bytes changes nothing", [] { make::file("a", "data"); },
            [](Record& record) {
                const int fd = record.fd("open", ::open("a", O_WRONLY));
                record("write", ::write(fd, "", 0));
                record("pwrite far", ::pwrite(fd, "", 0, 100000));
            })
        .as(writers());
    parity
        .add(
            "a write from a bad address", [] { make::file("a", "data"); },
            [](Record& record) {
                const int fd = record.fd("open", ::open("a", O_RDWR));
                void* nowhere =
                    ::mmap(nullptr, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                record("write", ::write(fd, nowhere, 10));
                record("read", ::pread(fd, nowhere, 4, 0));
                record.contents("a");
                // ext4 has changed the times by then; FUSE has not called the daemon yet.
                record("touch", ::futimens(fd, nullptr));
            })
        .as({kOwner});
}

}  // namespace

UMBRA_PARITY("read and write", read_write_cases)

}  // namespace umbra::test
