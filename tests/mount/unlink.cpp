#include <fcntl.h>
#include <unistd.h>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

void unlink_cases(Parity& parity) {
    parity.add(
        "every kind",
        [] {
            make::file("file", "x");
            make::directory("dir");
            make::symlink("file", "link");
            make::symlink("dir", "dir_link");
            make::node("fifo", S_IFIFO | 0600);
            make::node("socket", S_IFSOCK | 0600);
        },
        [](Record& record) {
            for (const char* name :
                 {"dir", "dir_link/", "link", "dir_link", "fifo", "socket", "file/", "file", "file",
                  "absent", ".", "..", "", "absent/x", "dir/."}) {
                record(std::string("unlink ") + name, ::unlink(name));
            }
        });
    parity.add(
        "one of several hard links",
        [] {
            make::file("a", "data");
            make::link("a", "b");
            make::link("a", "c");
        },
        [](Record& record) {
            record("unlink", ::unlink("a"));
            record.stat("b");
            record("unlink", ::unlink("c"));
            record.stat("b");
            record("unlink", ::unlink("b"));
            record.stat("b");
        });
    parity.add(
        "a file of somebody else, unreadable, in a directory of ours",
        [] {
            make::file("a", "data", 0);
            make::own("a", 0, 0);
        },
        [](Record& record) { record("unlink", ::unlink("a")); });
    parity.add(
        "in a directory that is not writable",
        [] {
            make::directory("d", 0555);
            make::mode("d", 0775);
            make::file("d/a");
            make::mode("d", 0555);
        },
        [](Record& record) { record("unlink", ::unlink("d/a")); });
    parity.add(
        "and create again under the same name", [] { make::file("a", "old contents", 0600); },
        [](Record& record) {
            record("unlink", ::unlink("a"));
            const int fd = record.fd("create", ::open("a", O_CREAT | O_EXCL | O_WRONLY, 0644));
            record("write", ::write(fd, "new", 3));
            record.stat("a");
            record("unlink", ::unlink("a"));
            record("mkdir", ::mkdir("a", 0755));
            record("rmdir", ::rmdir("a"));
            record("symlink", ::symlink("t", "a"));
            record.stat("a");
        });
    parity.add(
        "unlinkat with and without AT_REMOVEDIR",
        [] {
            make::file("file");
            make::directory("dir");
        },
        [](Record& record) {
            record("file as directory", ::unlinkat(AT_FDCWD, "file", AT_REMOVEDIR));
            record("directory as file", ::unlinkat(AT_FDCWD, "dir", 0));
            record("bad flag", ::unlinkat(AT_FDCWD, "file", 1 << 30));
            record("file", ::unlinkat(AT_FDCWD, "file", 0));
            record("directory", ::unlinkat(AT_FDCWD, "dir", AT_REMOVEDIR));
        });
}

}  // namespace

UMBRA_PARITY("unlink", unlink_cases)

}  // namespace umbra::test
