#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

void permission_cases(Parity& parity) {
    for (const mode_t mode : {0u, 0400u, 0040u, 0004u, 0060u, 0006u, 0777u, 0111u}) {
        parity.add(
            "use of a file of mode " + std::to_string(mode),
            [mode] { make::file("a", "contents", mode); },
            [](Record& record) {
                record.fd("read", ::open("a", O_RDONLY));
                record.fd("write", ::open("a", O_WRONLY));
                record.fd("both", ::open("a", O_RDWR));
                record("access", ::access("a", R_OK | W_OK));
                record("execute", ::access("a", X_OK));
                record("truncate", ::truncate("a", 4));
                record("touch", ::utimensat(AT_FDCWD, "a", nullptr, 0));
                record("set user.x", ::setxattr("a", "user.x", "1", 1, 0));
                char value[8];
                record("get user.x", ::getxattr("a", "user.x", value, sizeof value));
            });
        parity.add(
            "use of a directory of mode " + std::to_string(mode),
            [mode] {
                make::directory("d", 0777);
                make::file("d/a", "contents", 0666);
                make::mode("d", mode);
            },
            [](Record& record) {
                record.fd("list", ::open("d", O_RDONLY | O_DIRECTORY));
                record.fd("use", ::open("d/a", O_RDWR));
                record.fd("create", ::open("d/b", O_CREAT | O_WRONLY, 0644));
                record("rename", ::rename("d/a", "d/c"));
                record("link", ::link("d/c", "d/l"));
                record("mkdir", ::mkdir("d/e", 0755));
                record("unlink", ::unlink("d/c"));
                record("chdir", ::chdir("d"));
            });
    }
    parity.add(
        "chmod",
        [] {
            make::file("a");
            make::directory("d");
            make::symlink("a", "l");
        },
        [](Record& record) {
            for (const mode_t mode : {0600u, 0u, 0777u, 04755u, 02755u, 01644u, 07777u}) {
                record("file", ::chmod("a", mode));
                record.stat("a");
                record("directory", ::chmod("d", mode));
                record.stat("d");
            }
            record("absent", ::chmod("absent", 0600));
            record("through link", ::chmod("l", 0640));
            record.stat("a");
        });
    parity.add(
        "fchmod needs no right to the contents", [] { make::file("a", "x", 0444); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDONLY));
            record("fchmod", ::fchmod(fd, 0600));
            record.fstat("a", fd);
        });
    for (const uid_t uid : {uid_t(-1), uid_t(0), kOwnerId, kMemberId}) {
        for (const gid_t gid :
             {gid_t(-1), gid_t(0), kSharedGroup, gid_t(kMemberId), kForeignGroup}) {
            parity.add(
                "chown " + std::to_string(int(uid)) + ":" + std::to_string(int(gid)),
                [] {
                    make::file("a", "x");
                    make::directory("d");
                    make::symlink("a", "l");
                },
                [=](Record& record) {
                    record("file", ::chown("a", uid, gid));
                    record("directory", ::chown("d", uid, gid));
                    record("link", ::lchown("l", uid, gid));
                    const int fd = record.fd("open", ::open("a", O_RDONLY));
                    record("fchown", ::fchown(fd, uid, gid));
                });
        }
    }
    parity.add(
        "a supplementary group gives its rights",
        [] {
            make::file("a", "x", 0060);
            make::directory("d", 0070);
        },
        [](Record& record) {
            record.fd("open", ::open("a", O_RDWR));
            record.fd("create", ::open("d/x", O_CREAT | O_WRONLY, 0644));
            record("chdir", ::chdir("d"));
        });
    parity.add(
        "the owner is not the group: fewer rights for him", [] { make::file("a", "x", 0077); },
        [](Record& record) { record.fd("open", ::open("a", O_RDONLY)); });
    parity.add(
        "running a program needs the right to",
        [] {
            make::file("yes", "#!/bin/sh\nexit 7\n", 0755);
            make::file("no", "#!/bin/sh\nexit 7\n", 0644);
            make::file("only_owner", "#!/bin/sh\nexit 7\n", 0700);
        },
        [](Record& record) {
            for (const char* name : {"./yes", "./no", "./only_owner"}) {
                record(name, in_child([name] {
                           ::execl(name, name, nullptr);
                           return errno;
                       }));
            }
        });
    parity.add(
        "rights change at once for the next call",
        [] {
            make::directory("d", 0777);
            make::file("d/a", "x", 0666);
        },
        [](Record& record) {
            record("before", ::access("d/a", R_OK));
            record("chmod", ::chmod("d", 0));
            record("closed", ::access("d/a", R_OK));
            record("chmod", ::chmod("d", 0777));
            record("chmod file", ::chmod("d/a", 0));
            record("after", ::access("d/a", R_OK));
        });
}

}  // namespace

UMBRA_PARITY("permissions", permission_cases)

}  // namespace umbra::test
