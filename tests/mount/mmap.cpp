#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

constexpr size_t kPage = 4096;

char* map(Record& record, int fd, size_t length, int protection, int flags) {
    void* memory = ::mmap(nullptr, length, protection, flags, fd, 0);
    record("mmap", memory == MAP_FAILED ? -1 : 0);
    return memory == MAP_FAILED ? nullptr : static_cast<char*>(memory);
}

void mmap_cases(Parity& parity) {
    parity.add(
        "rights", [] { make::file("a", pattern(8192), 0666); },
        [](Record& record) {
            const int reader = record.fd("open", ::open("a", O_RDONLY));
            const int writer = record.fd("open", ::open("a", O_WRONLY));
            map(record, reader, kPage, PROT_READ, MAP_SHARED);
            map(record, reader, kPage, PROT_READ | PROT_WRITE, MAP_SHARED);
            map(record, reader, kPage, PROT_READ | PROT_WRITE, MAP_PRIVATE);
            map(record, writer, kPage, PROT_WRITE, MAP_SHARED);
        });
    parity.add(
        "a shared store reaches the file", [] { make::file("a", pattern(50000), 0666); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDWR));
            char* memory = map(record, fd, 50000, PROT_READ | PROT_WRITE, MAP_SHARED);
            if (memory == nullptr) return;
            std::memcpy(memory + 20000, "stored", 6);
            char seen[7] = {};
            record("read at once", ::pread(fd, seen, 6, 20000));
            record.text("seen", seen);
            record("msync", ::msync(memory, 50000, MS_SYNC));
            record("munmap", ::munmap(memory, 50000));
            record.contents("a");
        });
    parity.add(
        "a private store does not", [] { make::file("a", pattern(8192), 0666); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDONLY));
            char* memory = map(record, fd, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE);
            if (memory == nullptr) return;
            memory[0] = '!';
            record("msync", ::msync(memory, 8192, MS_SYNC));
            record.contents("a");
        });
    parity.add(
        "writes and truncation are seen in the mapping",
        [] { make::file("a", pattern(8192), 0666); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDWR));
            const char* memory = map(record, fd, 8192, PROT_READ, MAP_SHARED);
            if (memory == nullptr) return;
            record("first", memory[5]);
            record("write", ::pwrite(fd, "fresh", 5, 5));
            record.text("seen", std::string(memory + 5, 5));
            record("truncate", ::ftruncate(fd, 100));
            record("grow", ::ftruncate(fd, 8192));
            record("zero", memory[200]);
        });
    parity.add(
        "past the end there is no memory", [] { make::file("a", pattern(100), 0666); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDWR));
            char* memory = map(record, fd, 4 * kPage, PROT_READ | PROT_WRITE, MAP_SHARED);
            if (memory == nullptr) return;
            record("rest of the page", memory[200]);
            const pid_t child = ::fork();
            if (child == 0) {
                const char byte = static_cast<volatile char*>(memory)[2 * kPage];
                ::_exit(byte);
            }
            int status = 0;
            ::waitpid(child, &status, 0);
            record("bus error", WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
        });
    parity.add(
        "a store after the descriptor is closed", [] { make::file("a", pattern(8192), 0666); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDWR));
            char* memory = map(record, fd, 8192, PROT_READ | PROT_WRITE, MAP_SHARED);
            record("close", ::close(fd));
            if (memory == nullptr) return;
            memory[4096] = 'Z';
            record("munmap", ::munmap(memory, 8192));
            record.contents("a");
        });
    parity.add(
        "a store after the file is renamed or its mode taken",
        [] { make::file("a", pattern(8192), 0666); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDWR));
            char* memory = map(record, fd, 8192, PROT_READ | PROT_WRITE, MAP_SHARED);
            if (memory == nullptr) return;
            record("rename", ::rename("a", "b"));
            record("chmod", ::chmod("b", 0));
            memory[1] = 'Q';
            record("msync", ::msync(memory, 8192, MS_SYNC));
            char byte;
            record("read", ::pread(fd, &byte, 1, 1));
            record("byte", byte);
        });
    parity
        .add(
            "two mappings of one file", [] { make::file("a", pattern(8192), 0666); },
            [](Record& record) {
                const int one = record.fd("open", ::open("a", O_RDWR));
                const int two = record.fd("open", ::open("a", O_RDWR));
                char* first = map(record, one, 8192, PROT_READ | PROT_WRITE, MAP_SHARED);
                const char* second = map(record, two, 8192, PROT_READ, MAP_SHARED);
                if (first == nullptr || second == nullptr) return;
                first[7000] = 'k';
                record("seen", second[7000]);
            })
        .as({kOwner});
    parity
        .add(
            "into a hole", [] { make::sparse("a", 100000, 90000, "end"); },
            [](Record& record) {
                const int fd = record.fd("open", ::open("a", O_RDWR));
                char* memory = map(record, fd, 100000, PROT_READ | PROT_WRITE, MAP_SHARED);
                if (memory == nullptr) return;
                record("zero", memory[30000]);
                memory[30000] = 'h';
                record("msync", ::msync(memory, 100000, MS_SYNC));
                record.contents("a");
            })
        .as({kOwner});
}

}  // namespace

UMBRA_PARITY("mmap", mmap_cases)

}  // namespace umbra::test
