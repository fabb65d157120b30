#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

constexpr size_t kAligned = 65536;

// Memory that any filesystem takes for direct transfers.
char* aligned_buffer(const std::string& contents = "") {
    auto* memory = static_cast<char*>(
        ::mmap(nullptr, kAligned, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    std::memcpy(memory, contents.data(), contents.size());
    return memory;
}

void odirect_cases(Parity& parity) {
    for (const int64_t offset : {0, 4096, 65536, 131072}) {
        parity
            .add(
                "aligned write and read at " + std::to_string(offset),
                [] { make::file("a", pattern(100000), 0666); },
                [offset](Record& record) {
                    const int fd = record.fd("open", ::open("a", O_RDWR | O_DIRECT));
                    record("write",
                           ::pwrite(fd, aligned_buffer(pattern(kAligned, 5)), kAligned, offset));
                    record.fstat("a", fd);
                    char* back = aligned_buffer();
                    record("read", ::pread(fd, back, kAligned, offset));
                    record("same", std::string(back, kAligned) == pattern(kAligned, 5));
                    record.contents("a");
                })
            .as({kOwner, kMember});
    }
    parity
        .add(
            "a direct write is seen by a cached reader",
            [] { make::file("a", pattern(131072), 0666); },
            [](Record& record) {
                const int cached = record.fd("open", ::open("a", O_RDONLY));
                std::string seen(4096, '\0');
                record("warm", ::pread(cached, seen.data(), seen.size(), 8192));
                const int direct = record.fd("open", ::open("a", O_WRONLY | O_DIRECT));
                record("write", ::pwrite(direct, aligned_buffer(pattern(4096, 8)), 4096, 8192));
                record("read", ::pread(cached, seen.data(), seen.size(), 8192));
                record("fresh", seen == pattern(4096, 8));
            })
        .as({kOwner});
    parity
        .add(
            "a cached write is seen by a direct reader",
            [] { make::file("a", pattern(131072), 0666); },
            [](Record& record) {
                const int cached = record.fd("open", ::open("a", O_WRONLY));
                const std::string data = pattern(5000, 8);
                record("write", ::pwrite(cached, data.data(), data.size(), 8192));
                const int direct = record.fd("open", ::open("a", O_RDONLY | O_DIRECT));
                char* back = aligned_buffer();
                record("read", ::pread(direct, back, 8192, 8192));
                record("fresh", std::string(back, 5000) == data);
            })
        .as({kOwner});
    parity
        .add("created, and read past the end", nothing,
             [](Record& record) {
                 const int fd = record.fd("create", ::open("a", O_CREAT | O_RDWR | O_DIRECT, 0644));
                 record("write", ::pwrite(fd, aligned_buffer(pattern(8192)), 8192, 0));
                 char* back = aligned_buffer();
                 record("short read", ::pread(fd, back, kAligned, 4096));
                 record("at the end", ::pread(fd, back, 4096, 8192));
                 record("flags", (::fcntl(fd, F_GETFL) & O_DIRECT) != 0);
             })
        .as({kOwner, kMember});
    parity
        .add(
            "switched on by fcntl, and mapped", [] { make::file("a", pattern(65536), 0666); },
            [](Record& record) {
                const int fd = record.fd("open", ::open("a", O_RDWR | O_DIRECT));
                auto* memory = static_cast<char*>(
                    ::mmap(nullptr, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
                record("mmap", memory == MAP_FAILED ? -1 : 0);
                if (memory == MAP_FAILED) return;
                memory[100] = 'x';
                record("msync", ::msync(memory, 65536, MS_SYNC));
                const int other = record.fd("open", ::open("a", O_RDWR));
                record("set", ::fcntl(other, F_SETFL, O_DIRECT));
                record("write", ::pwrite(other, aligned_buffer(pattern(4096, 3)), 4096, 4096));
                record.contents("a");
            })
        .as({kOwner});
}

}  // namespace

UMBRA_PARITY("odirect", odirect_cases)

}  // namespace umbra::test
