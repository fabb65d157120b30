#include <fcntl.h>
#include <unistd.h>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

void link_cases(Parity& parity) {
    parity.add(
        "every kind",
        [] {
            make::file("file", "x", 0666);
            make::directory("dir");
            make::symlink("file", "link");
            make::symlink("nowhere", "dangling");
            make::node("fifo", S_IFIFO | 0666);
        },
        [](Record& record) {
            for (const char* name :
                 {"file", "dir", "link", "dangling", "fifo", "absent", "", ".", "file/", "link/"}) {
                const std::string to =
                    std::string("new_") + std::to_string(std::string(name).size()) + name[0];
                record(std::string("link ") + name, ::link(name, to.c_str()));
                record.stat(to);
            }
            record("follow", ::linkat(AT_FDCWD, "link", AT_FDCWD, "followed", AT_SYMLINK_FOLLOW));
            record.stat("file");
        });
    parity.add(
        "onto what exists",
        [] {
            make::file("a", "x", 0666);
            make::file("b", "y");
            make::directory("d");
            make::symlink("nowhere", "s");
        },
        [](Record& record) {
            for (const char* to : {"a", "b", "d", "s", "d/", "absent/x", "b/x", ".", ""}) {
                record(std::string("link to ") + to, ::link("a", to));
            }
            record.stat("a");
        });
    for (const mode_t mode : {0666u, 0644u, 0600u, 0444u, 04755u, 02755u, 02745u}) {
        parity.add(
            "a file of mode " + std::to_string(mode) + " (hard links are protected)",
            [mode] { make::file("a", "x", mode); },
            [](Record& record) {
                record("link", ::link("a", "b"));
                record.stat("a");
            });
    }
    parity.add(
        "write through one name, read through the other",
        [] {
            make::file("a", "data", 0666);
            make::directory("d");
            make::link("a", "d/b");
        },
        [](Record& record) {
            const int fd = record.fd("open", ::open("d/b", O_RDWR));
            record("write", ::pwrite(fd, "DATA!", 5, 0));
            record.contents("a");
            record("chmod", ::chmod("a", 0640));
            record.stat("d/b");
            record("truncate", ::truncate("a", 2));
            record.stat("d/b");
        });
    parity.add(
        "many links", [] { make::file("a", "x", 0666); },
        [](Record& record) {
            for (int i = 0; i < 20; ++i) {
                record("link", ::link("a", ("l" + std::to_string(i)).c_str()));
            }
            record.stat("a");
            for (int i = 0; i < 20; i += 2) {
                record("unlink", ::unlink(("l" + std::to_string(i)).c_str()));
            }
            record.stat("a");
            record("rename over another link", ::rename("l1", "l3"));
            record("rename link", ::rename("l5", "moved"));
            record.stat("moved");
        });
    parity.add(
        "in a directory that is not writable",
        [] {
            make::file("a", "x", 0666);
            make::directory("d", 0555);
        },
        [](Record& record) { record("link", ::link("a", "d/b")); });
    parity.add(
        "a symbolic link has links, too", [] { make::symlink("target", "s"); },
        [](Record& record) {
            record("link", ::link("s", "t"));
            record.stat("s");
            record("unlink", ::unlink("s"));
            record.stat("t");
        });
}

}  // namespace

UMBRA_PARITY("link", link_cases)

}  // namespace umbra::test
