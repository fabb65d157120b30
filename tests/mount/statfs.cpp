#include <fcntl.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

void show(Record& record, const char* what, int result, const struct statfs& status) {
    if (record(what, result) != 0) return;
    record("block size", status.f_bsize);
    record("fragment size", status.f_frsize);
    record("blocks", static_cast<long>(status.f_blocks));
    record("longest name", status.f_namelen);
    // Of the moving numbers only that they are there.
    record("some are free", status.f_bfree > 0 && status.f_bfree <= status.f_blocks);
    record("some are available", status.f_bavail > 0 && status.f_bavail <= status.f_bfree);
    record("files", static_cast<long>(status.f_files > 0));
}

void statfs_cases(Parity& parity) {
    parity.add(
        "of files and directories",
        [] {
            make::file("file", "x");
            make::directory("closed", 0);
            make::symlink("file", "link");
        },
        [](Record& record) {
            for (const char* name : {".", "file", "closed", "link", "absent", "closed/x"}) {
                struct statfs status {};
                const int result = ::statfs(name, &status);
                show(record, name, result, status);
            }
            const int fd = record.fd("open", ::open("file", O_RDONLY));
            struct statfs status {};
            const int result = ::fstatfs(fd, &status);
            show(record, "fstatfs", result, status);
        });
    parity.add(
        "limits by pathconf", [] { make::file("file"); },
        [](Record& record) {
            record("name", ::pathconf(".", _PC_NAME_MAX));
            record("path", ::pathconf(".", _PC_PATH_MAX));
            record("pipe", ::pathconf(".", _PC_PIPE_BUF));
            record("chown", ::pathconf(".", _PC_CHOWN_RESTRICTED));
            record("no trunc", ::pathconf("file", _PC_NO_TRUNC));
        });
}

}  // namespace

UMBRA_PARITY("statfs", statfs_cases)

}  // namespace umbra::test
