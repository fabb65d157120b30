#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <functional>
#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

// cap_net_raw+ep as the kernel stores it: version 2, effective, permitted 1 << 13.
const std::string kCapability(
    "\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"
    "\x00",
    20);

struct Change {
    const char* name;
    void (*apply)(Record&);
};

void write_byte(Record& record) {
    const int fd = record.fd("open", ::open("a", O_WRONLY));
    record("write", ::write(fd, "x", 1));
    record.fstat("a", fd);
}

constexpr Change kChanges[] = {
    {"write", write_byte},
    {"append",
     [](Record& record) {
         const int fd = record.fd("open", ::open("a", O_WRONLY | O_APPEND));
         record("write", ::write(fd, "x", 1));
     }},
    {"truncate", [](Record& record) { record("truncate", ::truncate("a", 2)); }},
    {"ftruncate",
     [](Record& record) {
         const int fd = record.fd("open", ::open("a", O_WRONLY));
         record("ftruncate", ::ftruncate(fd, 2));
     }},
    {"open with O_TRUNC",
     [](Record& record) { record.fd("open", ::open("a", O_WRONLY | O_TRUNC)); }},
    {"chown to the same", [](Record& record) { record("chown", ::chown("a", kOwnerId, -1)); }},
    {"chgrp", [](Record& record) { record("chown", ::chown("a", -1, kSharedGroup)); }},
    {"chown to another", [](Record& record) { record("chown", ::chown("a", kMemberId, -1)); }},
    {"fallocate",
     [](Record& record) {
         const int fd = record.fd("open", ::open("a", O_WRONLY));
         record("fallocate", ::fallocate(fd, 0, 0, 9000));
     }},
    {"punch",
     [](Record& record) {
         const int fd = record.fd("open", ::open("a", O_WRONLY));
         record("fallocate", ::fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096));
     }},
    {"copy_file_range",
     [](Record& record) {
         const int from = record.fd("open", ::open("b", O_RDONLY));
         const int to = record.fd("open", ::open("a", O_WRONLY));
         record("copy", ::copy_file_range(from, nullptr, to, nullptr, 100, 0));
     }},
    {"write of no bytes",
     [](Record& record) {
         const int fd = record.fd("open", ::open("a", O_WRONLY));
         record("write", ::write(fd, "", 0));
     }},
    {"rename", [](Record& record) { record("rename", ::rename("a", "c")); }},
    {"link", [](Record& record) { record("link", ::link("a", "c")); }},
    {"touch", [](Record& record) { record("touch", ::utimensat(AT_FDCWD, "a", nullptr, 0)); }},
    {"setxattr", [](Record& record) { record("set", ::setxattr("a", "user.x", "1", 1, 0)); }},
    {"two writes through one descriptor",
     [](Record& record) {
         const int fd = record.fd("open", ::open("a", O_WRONLY));
         record("write", ::write(fd, "x", 1));
         record("chmod", ::fchmod(fd, 06777));
         record("write", ::write(fd, "y", 1));
         record.fstat("a", fd);
     }},
};

// Applies it to a file whose mode is known, and asks for nothing but the mode then, as stat(1) does
// when it is to print no more.
std::function<void(Record&)> then_mode(const Change& change) {
    return [apply = change.apply](Record& record) {
        record.stat("a");
        apply(record);
        struct statx status {};
        record("statx", ::statx(AT_FDCWD, "a", 0, STATX_MODE, &status));
        record("mode", status.stx_mode);
    };
}

void set_id_cases(Parity& parity) {
    for (const auto& change : kChanges) {
        for (const mode_t mode : {06777u, 02767u, 04777u}) {
            // Where the group may not execute, set-group-ID means nothing. FUSE keeps it there, the
            // kernel's own filesystems take it from those outside the group.
            const bool meaningless = (mode & S_ISGID) != 0 && (mode & S_IXGRP) == 0;
            parity
                .add(
                    std::string(change.name) + " of mode " + std::to_string(mode),
                    [mode] {
                        make::file("a", "contents", mode);
                        make::file("b", "other contents", 0666);
                    },
                    then_mode(change))
                .as(meaningless ? std::vector<NamedCaller>{kRoot, kOwner, kMember}
                                : std::vector<NamedCaller>{kRoot, kOwner, kMember, kOther});
        }
        parity
            .add(
                std::string(change.name) + " of a file with a capability",
                [] {
                    make::file("a", "contents", 0777);
                    make::xattr("a", "security.capability", kCapability);
                    make::file("b", "other contents", 0666);
                },
                then_mode(change))
            .as({kRoot, kOwner, kMember});
    }
    parity.add(
        "what is made in a set-group-id directory", [] { make::directory("d", 02777); },
        [](Record& record) {
            for (const mode_t mode : {0644u, 02755u, 02745u, 06777u}) {
                const std::string suffix = std::to_string(mode);
                record.fd("create", ::open(("d/f" + suffix).c_str(), O_CREAT | O_WRONLY, mode));
                record.stat("d/f" + suffix);
                record("mkdir", ::mkdir(("d/d" + suffix).c_str(), mode));
                record.stat("d/d" + suffix);
                record("mknod", ::mknod(("d/n" + suffix).c_str(), S_IFIFO | mode, 0));
                record.stat("d/n" + suffix);
            }
            record("symlink", ::symlink("x", "d/l"));
            record.stat("d/l");
            record.fd("tmpfile", ::open("d", O_TMPFILE | O_RDWR, 02755));
        });
    parity.add(
        "chmod g+s of a file of a foreign group",
        [] {
            make::file("a", "x");
            make::own("a", kOwnerId, kForeignGroup);
            make::directory("d");
            make::own("d", kOwnerId, kForeignGroup);
        },
        [](Record& record) {
            record("file", ::chmod("a", 02755));
            record.stat("a");
            record("directory", ::chmod("d", 02755));
            record.stat("d");
        });
    parity.add(
        "moving into a set-group-id directory keeps the group",
        [] {
            make::directory("d", 02777);
            make::own("d", 0, kForeignGroup);
            make::mode("d", 02777);
            make::file("a");
        },
        [](Record& record) { record("rename", ::rename("a", "d/a")); });
    parity.add(
        "a store through a mapping", [] { make::file("a", pattern(4096), 06777); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDWR));
            auto* memory = static_cast<char*>(
                ::mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
            memory[0] = 'x';
            record("msync", ::msync(memory, 4096, MS_SYNC));
            ::munmap(memory, 4096);
            record("close", ::close(fd));
        });
}

}  // namespace

UMBRA_PARITY("set-id", set_id_cases)

}  // namespace umbra::test
