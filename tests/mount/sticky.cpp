#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

// A sticky directory with a file and a directory of `uid`.
void make_tmp(uid_t directory_owner, uid_t uid) {
    make::directory("tmp", 0777);
    make::file("tmp/file", "x", 0666);
    make::own("tmp/file", uid, kSharedGroup);
    make::directory("tmp/dir", 0777);
    make::own("tmp/dir", uid, kSharedGroup);
    make::directory("out", 0777);
    make::own("tmp", directory_owner, kSharedGroup);
    make::mode("tmp", 01777);
}

void sticky_cases(Parity& parity) {
    for (const uid_t owner : {uid_t(0), kOwnerId}) {
        for (const uid_t uid : {uid_t(0), kOwnerId, kMemberId}) {
            const std::string title =
                "of " + std::to_string(uid) + " in a sticky directory of " + std::to_string(owner);
            const auto setup = [=] { make_tmp(owner, uid); };
            parity.add("remove a file and a directory " + title, setup, [](Record& record) {
                record("unlink", ::unlink("tmp/file"));
                record("rmdir", ::rmdir("tmp/dir"));
            });
            parity.add("rename " + title, setup, [](Record& record) {
                record("out", ::rename("tmp/file", "out/x"));
                record("inside", ::rename("tmp/dir", "tmp/renamed"));
                record.fd("own", ::open("tmp/own", O_CREAT | O_EXCL | O_WRONLY, 0644));
                record("over it", ::rename("tmp/own", "tmp/file"));
                record("exchange",
                       ::renameat2(AT_FDCWD, "tmp/own", AT_FDCWD, "tmp/dir", RENAME_EXCHANGE));
            });
            parity.add("use " + title, setup, [](Record& record) {
                record.fd("write", ::open("tmp/file", O_RDWR));
                record.fd("with O_CREAT", ::open("tmp/file", O_RDWR | O_CREAT, 0644));
                record("link", ::link("tmp/file", "tmp/linked"));
            });
        }
    }
    parity.add(
        "mkdir in a sticky directory does not inherit it", [] { make_tmp(0, kOwnerId); },
        [](Record& record) {
            record("mkdir", ::mkdir("tmp/new", 0777));
            record.stat("tmp/new");
        });
}

}  // namespace

UMBRA_PARITY("sticky", sticky_cases)

}  // namespace umbra::test
