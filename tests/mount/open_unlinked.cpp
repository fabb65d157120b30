#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

std::string through_proc(int fd) { return "/proc/self/fd/" + std::to_string(fd); }

void use_fully(Record& record, int fd) {
    record.fstat("unlinked", fd);
    record("write", ::pwrite(fd, "hello", 5, 20000));
    char buffer[5] = {};
    record("read", ::pread(fd, buffer, 5, 20000));
    record.text("seen", std::string(buffer, 5));
    record("ftruncate", ::ftruncate(fd, 30000));
    record("fchmod", ::fchmod(fd, 0640));
    record("fchown", ::fchown(fd, kMemberId, kSharedGroup));
    const timespec times[2] = {{5, 0}, {6, 0}};
    record("futimens", ::futimens(fd, times));
    record("fallocate", ::fallocate(fd, 0, 0, 40000));
    record("fsync", ::fsync(fd));
    record.fstat("unlinked", fd);
    record.fd("open again", ::open(through_proc(fd).c_str(), O_RDONLY));
    record("close", ::close(fd));
}

void open_unlinked_cases(Parity& parity) {
    parity.add(
        "an unlinked file works on", [] { make::file("a", pattern(50000), 0666); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDWR));
            record("unlink", ::unlink("a"));
            use_fully(record, fd);
        });
    parity.add(
        "a file replaced by a rename works on",
        [] {
            make::file("a", pattern(50000), 0666);
            make::file("b", "new");
        },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDWR));
            record("rename", ::rename("b", "a"));
            use_fully(record, fd);
        });
    parity.add("a file born and unlinked", nothing, [](Record& record) {
        const int fd = record.fd("create", ::open("a", O_CREAT | O_RDWR, 0666));
        record("unlink", ::unlink("a"));
        use_fully(record, fd);
    });
    parity.add(
        "a new file of the same name is another one", [] { make::file("a", "old", 0666); },
        [](Record& record) {
            const int old = record.fd("open", ::open("a", O_RDWR));
            record("unlink", ::unlink("a"));
            const int fresh = record.fd("create", ::open("a", O_CREAT | O_EXCL | O_RDWR, 0644));
            record("write new", ::write(fresh, "fresh", 5));
            record("write old", ::pwrite(old, "OLD", 3, 0));
            record.contents("a");
            record.fstat("old", old);
        });
    parity.add(
        "link an unlinked file back is refused", [] { make::file("a", "x", 0666); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDWR));
            record("unlink", ::unlink("a"));
            record("linkat", ::linkat(AT_FDCWD, through_proc(fd).c_str(), AT_FDCWD, "back",
                                      AT_SYMLINK_FOLLOW));
            record.stat("back");
        });
    parity.add(
        "unlinked but mapped", [] { make::file("a", pattern(8192), 0666); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDWR));
            if (fd < 0) return;
            auto* memory = static_cast<char*>(
                ::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
            record("mapped", memory != MAP_FAILED);
            record("unlink", ::unlink("a"));
            record("close", ::close(fd));
            record("first byte", memory[0]);
            memory[5000] = 'x';
            record("msync", ::msync(memory, 8192, MS_SYNC));
            record("stored", memory[5000]);
        });
    parity.add(
        "a removed directory is empty and takes nothing", [] { make::directory("d"); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("d", O_RDONLY | O_DIRECTORY));
            record("rmdir", ::rmdir("d"));
            if (fd < 0) return;
            struct stat status {};
            record("fstat", ::fstat(fd, &status));
            record("mode", status.st_mode);
            record.fd("create", ::openat(fd, "x", O_CREAT | O_WRONLY, 0644));
            record("mkdirat", ::mkdirat(fd, "x", 0755));
            DIR* stream = ::fdopendir(fd);
            long count = 0;
            while (::readdir(stream) != nullptr) ++count;
            record("entries", count);
        });
    parity.add(
        "several open files of one inode, unlinked one by one",
        [] {
            make::file("a", "data", 0666);
            make::link("a", "b");
        },
        [](Record& record) {
            const int one = record.fd("open", ::open("a", O_RDWR));
            const int two = record.fd("open", ::open("b", O_RDWR));
            record("unlink", ::unlink("a"));
            record.fstat("one", one);
            record("unlink", ::unlink("b"));
            record.fstat("two", two);
            record("close", ::close(one));
            record("write", ::pwrite(two, "zz", 2, 0));
            record.fstat("two", two);
        });
}

}  // namespace

UMBRA_PARITY("open and unlinked", open_unlinked_cases)

}  // namespace umbra::test
