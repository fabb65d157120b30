#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <unistd.h>

#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

// What may stand at the source and the destination of a rename.
const char* const kKinds[] = {"file", "empty", "full", "link", "fifo", "absent"};

void make_kind(const std::string& kind, const std::string& name) {
    if (kind == "file") make::file(name, "contents of " + name);
    if (kind == "empty" || kind == "full") make::directory(name);
    if (kind == "full") make::file(name + "/inner", "inner");
    if (kind == "link") make::symlink("somewhere", name);
    if (kind == "fifo") make::node(name, S_IFIFO | 0600);
}

void matrix(Parity& parity, const char* title, unsigned flags, const NamedCaller& caller) {
    for (const std::string from : kKinds) {
        for (const std::string to : kKinds) {
            parity
                .add(
                    std::string(title) + ": " + from + " to " + to,
                    [=] {
                        make_kind(from, "from");
                        make_kind(to, "to");
                    },
                    [=](Record& record) {
                        record("renameat2", ::renameat2(AT_FDCWD, "from", AT_FDCWD, "to", flags));
                        record.stat("from");
                        record.stat("to");
                    })
                .as({caller});
        }
    }
}

void across_directories(Parity& parity) {
    for (const std::string kind : kKinds) {
        parity.add(
            "into another directory: " + kind,
            [kind] {
                make_kind(kind, kind);
                make::directory("target");
            },
            [=](Record& record) {
                record("rename", ::rename(kind.c_str(), ("target/" + kind).c_str()));
                record("and back", ::rename(("target/" + kind).c_str(), kind.c_str()));
                record("and in again", ::rename(kind.c_str(), "target/other_name"));
            });
    }
    parity.add(
        "into a directory that is not writable",
        [] {
            make::file("a");
            make::directory("d", 0755);
            make::own("d", 0, 0);
        },
        [](Record& record) { record("rename", ::rename("a", "d/a")); });
    parity.add(
        "a directory that is not writable, into another one",
        [] {
            make::directory("moved", 0555);
            make::directory("target");
        },
        [](Record& record) { record("rename", ::rename("moved", "target/moved")); });
}

void special_destinations(Parity& parity) {
    parity.add(
        "into its own descendant",
        [] {
            make::directory("a");
            make::directory("a/b");
        },
        [](Record& record) {
            record("into child", ::rename("a", "a/b/c"));
            record("onto itself below", ::rename("a", "a/b"));
            record("onto its parent", ::rename("a/b", "a"));
        });
    parity.add(
        "dots", [] { make::directory("d"); },
        [](Record& record) {
            record("from .", ::rename("d/.", "x"));
            record("from ..", ::rename("d/..", "x"));
            record("to .", ::rename("d", "."));
            record("to ..", ::rename("d", ".."));
        });
    parity.add(
        "onto itself and onto a hard link of itself",
        [] {
            make::file("a", "data");
            make::link("a", "b");
        },
        [](Record& record) {
            record("itself", ::rename("a", "a"));
            record("other link", ::rename("a", "b"));
            record.stat("a");
            record.stat("b");
        });
    parity.add(
        "trailing slashes",
        [] {
            make::file("file");
            make::directory("dir");
        },
        [](Record& record) {
            record("file/", ::rename("file/", "x"));
            record("to x/", ::rename("file", "x/"));
            record("dir/", ::rename("dir/", "new/"));
        });
    parity.add(
        "to another filesystem", [] { make::file("a"); },
        [](Record& record) {
            record("rename", ::rename("a", (record.outside() + "/a").c_str()));
            record("link", ::link("a", (record.outside() + "/a").c_str()));
        });
    parity.add(
        "bad flags",
        [] {
            make::file("a");
            make::file("b");
        },
        [](Record& record) {
            record("both",
                   ::renameat2(AT_FDCWD, "a", AT_FDCWD, "b", RENAME_NOREPLACE | RENAME_EXCHANGE));
            record("unknown", ::renameat2(AT_FDCWD, "a", AT_FDCWD, "b", 1u << 20));
        });
}

void linked_targets(Parity& parity) {
    parity.add(
        "over one of several hard links",
        [] {
            make::file("a", "new");
            make::file("b", "old");
            make::link("b", "c");
        },
        [](Record& record) {
            record("rename", ::rename("a", "b"));
            record.stat("b");
            record.stat("c");
            record.contents("c");
        });
    parity.add(
        "over an open file",
        [] {
            make::file("a", "new", 0666);
            make::file("b", "old", 0666);
        },
        [](Record& record) {
            const int fd = record.fd("open", ::open("b", O_RDWR));
            record("rename", ::rename("a", "b"));
            record.fstat("replaced", fd);
            record("write", ::pwrite(fd, "still", 5, 0));
            record.fstat("replaced", fd);
            record.contents("b");
        });
    parity.add(
        "of an open file", [] { make::file("a", "data", 0666); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDWR));
            record("rename", ::rename("a", "b"));
            record("write", ::pwrite(fd, "more", 4, 4));
            record("fsync", ::fsync(fd));
            record.contents("b");
        });
    parity
        .add(
            "a chain of names",
            [] {
                make::file("a", "1");
                make::file("b", "2");
                make::file("c", "3");
            },
            [](Record& record) {
                record("c to d", ::rename("c", "d"));
                record("b to c", ::rename("b", "c"));
                record("a to b", ::rename("a", "b"));
                record("d to a", ::rename("d", "a"));
                for (const char* name : {"a", "b", "c", "d"}) record.contents(name);
            })
        .as({kRoot, kOwner});
    parity.add(
        "of a directory and use below it",
        [] {
            make::directory("a");
            make::directory("a/sub");
            make::file("a/sub/file", "x");
        },
        [](Record& record) {
            const int dir = record.fd("open", ::open("a/sub", O_RDONLY | O_DIRECTORY));
            record("rename", ::rename("a", "b"));
            record.contents("b/sub/file");
            record.contents("a/sub/file");
            record("unlinkat", ::unlinkat(dir, "file", 0));
            record("mkdir again", ::mkdir("a", 0755));
            record("stat below the new one", ::access("a/sub", F_OK));
        });
    parity.add(
        "exchange over different parents",
        [] {
            make::directory("one");
            make::directory("two");
            make::directory("one/dir");
            make::file("one/dir/inner", "i");
            make::file("two/file", "f");
        },
        [](Record& record) {
            record("exchange",
                   ::renameat2(AT_FDCWD, "one/dir", AT_FDCWD, "two/file", RENAME_EXCHANGE));
            record.contents("two/file/inner");
            record.contents("one/dir");
            record("again",
                   ::renameat2(AT_FDCWD, "one/dir", AT_FDCWD, "two/file", RENAME_EXCHANGE));
            record("ancestor", ::renameat2(AT_FDCWD, "one", AT_FDCWD, "one/dir", RENAME_EXCHANGE));
        });
}

void rename_cases(Parity& parity) {
    matrix(parity, "plain", 0, kMember);
    matrix(parity, "no replace", RENAME_NOREPLACE, kOwner);
    matrix(parity, "exchange", RENAME_EXCHANGE, kMember);
    across_directories(parity);
    special_destinations(parity);
    linked_targets(parity);
}

}  // namespace

UMBRA_PARITY("rename", rename_cases)

}  // namespace umbra::test
