#include <dirent.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

// Sorted names with their types; readdir's inode numbers must be those of stat.
void list(Record& record, const std::string& name) {
    DIR* stream = ::opendir(name.c_str());
    record("opendir " + name, stream == nullptr ? -1 : 0);
    if (stream == nullptr) return;
    std::set<std::string> entries;
    while (const dirent* entry = ::readdir(stream)) {
        struct stat status {};
        std::string line = entry->d_name;
        line += " type " + std::to_string(entry->d_type);
        const bool dots = line.rfind('.', 0) == 0;
        if (!dots && ::fstatat(::dirfd(stream), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0) {
            line += status.st_ino == entry->d_ino ? " same inode" : " OTHER INODE";
        }
        entries.insert(line);
    }
    for (const auto& line : entries) record.text("entry", line);
    ::closedir(stream);
}

void make_many(int count) {
    make::directory("many", 0777);
    for (int i = 0; i < count; ++i) make::file("many/file" + std::to_string(i));
}

void making(Parity& parity) {
    for (const mode_t mode : {0u, 0700u, 0755u, 01777u, 02775u, 07777u}) {
        parity.add("mkdir with mode " + std::to_string(mode), nothing, [mode](Record& record) {
            for (const mode_t mask : {0u, 022u, 077u}) {
                ::umask(mask);
                const std::string name = "new" + std::to_string(mask);
                record("mkdir", ::mkdir(name.c_str(), mode));
                record.stat(name);
            }
        });
    }
    parity.add(
        "mkdir on what exists or cannot be",
        [] {
            make::file("file");
            make::directory("dir");
            make::symlink("nowhere", "dangling");
            make::directory("not_writable", 0555);
        },
        [](Record& record) {
            for (const char* name : {"file", "dir", "dangling", "dangling/", "absent/x", "file/x",
                                     "new/", ".", "..", "", "not_writable/x", "dir/."}) {
                record(std::string("mkdir ") + name, ::mkdir(name, 0755));
            }
        });
    parity.add(
        "rmdir of everything",
        [] {
            make::file("file");
            make::directory("empty");
            make::directory("full");
            make::file("full/x");
            make::symlink("empty", "link");
            make::directory("slash");
        },
        [](Record& record) {
            for (const char* name : {"file", "full", "link", "link/", "slash/", "absent", "empty/.",
                                     "empty/..", ".", "..", "", "empty", "empty"}) {
                record(std::string("rmdir ") + name, ::rmdir(name));
            }
        });
    parity.add(
        "rmdir in a directory that is not writable, of one that is not ours",
        [] {
            make::directory("closed", 0777);
            make::directory("closed/inner");
            make::mode("closed", 0555);
            make::directory("foreign", 0700);
            make::own("foreign", 0, 0);
        },
        [](Record& record) {
            record("rmdir inner", ::rmdir("closed/inner"));
            record("rmdir foreign", ::rmdir("foreign"));
        });
    parity.add("link counts of directories", nothing, [](Record& record) {
        record("mkdir", ::mkdir("a", 0755));
        record("mkdir", ::mkdir("a/b", 0755));
        record("mkdir", ::mkdir("a/c", 0755));
        record.stat("a");
        record("rename", ::rename("a/b", "b"));
        record.stat("a");
        record("rmdir", ::rmdir("a/c"));
        record.stat("a");
        record("rename", ::rename("b", "a/b"));
        record.stat("a");
    });
}

void listing(Parity& parity) {
    parity.add(
        "list all kinds",
        [] {
            make::file("file");
            make::directory("dir");
            make::symlink("x", "link");
            make::node("fifo", S_IFIFO | 0600);
            make::node("socket", S_IFSOCK | 0600);
            make::node("null", S_IFCHR | 0600, 1, 3);
        },
        [](Record& record) {
            list(record, ".");
            list(record, "dir");
            list(record, "file");
            list(record, "absent");
        });
    for (const mode_t mode : {0777u, 0444u, 0111u, 0u}) {
        parity.add(
            "list a directory of mode " + std::to_string(mode),
            [mode] {
                make::directory("d", 0777);
                make::file("d/inner", "x");
                make::mode("d", mode);
            },
            [](Record& record) {
                list(record, "d");
                record.stat("d/inner");
            });
    }
    parity
        .add(
            "many entries, all listed once", [] { make_many(300); },
            [](Record& record) {
                list(record, "many");
                DIR* stream = ::opendir("many");
                long first = 0;
                while (::readdir(stream) != nullptr) ++first;
                ::rewinddir(stream);
                long second = 0;
                while (::readdir(stream) != nullptr) ++second;
                record("first pass", first);
                record("second pass", second);
            })
        .as({kOwner});
    parity
        .add(
            "seekdir goes where telldir was", [] { make_many(200); },
            [](Record& record) {
                DIR* stream = ::opendir("many");
                for (int i = 0; i < 100; ++i) static_cast<void>(::readdir(stream));
                const long place = ::telldir(stream);
                std::string expected = ::readdir(stream)->d_name;
                for (int i = 0; i < 50; ++i) static_cast<void>(::readdir(stream));
                ::seekdir(stream, place);
                record("same entry", expected == ::readdir(stream)->d_name);
            })
        .as({kOwner});
    parity
        .add(
            "removing while listing misses nothing", [] { make_many(200); },
            [](Record& record) {
                DIR* stream = ::opendir("many");
                long removed = 0;
                while (const dirent* entry = ::readdir(stream)) {
                    if (entry->d_name[0] != '.' &&
                        ::unlinkat(::dirfd(stream), entry->d_name, 0) == 0)
                        ++removed;
                }
                record("removed", removed);
                record("rmdir", ::rmdir("many"));
            })
        .as({kOwner});
    parity.add(
        "what is made after opendir is seen after rewinddir", [] { make::directory("d", 0777); },
        [](Record& record) {
            DIR* stream = ::opendir("d");
            while (::readdir(stream) != nullptr) {
            }
            record.fd("create", ::open("d/new", O_CREAT | O_WRONLY, 0644));
            record("unlink nothing", ::unlink("d/other"));
            ::rewinddir(stream);
            long count = 0;
            while (::readdir(stream) != nullptr) ++count;
            record("entries", count);
        });
    parity.add(
        "listings follow changes",
        [] {
            make::directory("d", 0777);
            make::file("d/a");
        },
        [](Record& record) {
            list(record, "d");
            record("rename", ::rename("d/a", "d/b"));
            list(record, "d");
            record("mkdir", ::mkdir("d/a", 0755));
            list(record, "d");
            record("unlink", ::unlink("d/b"));
            list(record, "d");
            record("rmdir", ::rmdir("d/a"));
            list(record, "d");
        });
    parity.add(
        "what is found in a folder that is listed again and again is as it is now",
        [] {
            make::directory("d", 0777);
            make::file("d/a", "long");
            make::file("d/b");
            make::file("d/c");
            make::mode("d/c", 0666);
        },
        [](Record& record) {
            list(record, "d");
            record("truncate", ::truncate("d/c", 3));
            record("unlink", ::unlink("d/b"));
            // Mostly gets the number that is free now.
            record.fd("create", ::open("d/b", O_CREAT | O_WRONLY, 0640));
            record("rename", ::rename("d/a", "d/e"));
            list(record, "d");
            for (const char* name : {"d/a", "d/b", "d/c", "d/e"}) record.stat(name);
            record("mkdir", ::mkdir("d/a", 0755));
            list(record, "d");
            record.stat("d/a");
        });
}

void moving(Parity& parity) {
    parity.add(
        ".. follows a move",
        [] {
            make::directory("one");
            make::directory("two");
            make::directory("one/inner");
            make::file("two/marker", "two");
        },
        [](Record& record) {
            const int fd = record.fd("open", ::open("one/inner", O_RDONLY | O_DIRECTORY));
            record("rename", ::rename("one/inner", "two/inner"));
            struct stat status {};
            record("marker", ::fstatat(fd, "../marker", &status, 0));
        });
    parity.add(
        "working in a directory that is removed", [] { make::directory("d", 0777); },
        [](Record& record) {
            record("chdir", ::chdir("d"));
            record("rmdir", ::rmdir("../d"));
            record.fd("create", ::open("x", O_CREAT | O_WRONLY, 0644));
            record("mkdir", ::mkdir("y", 0755));
            struct stat status {};
            record("stat .", ::stat(".", &status));
            record("stat ..", ::stat("..", &status));
            const int fd = record.fd("open .", ::open(".", O_RDONLY | O_DIRECTORY));
            char names[4096];
            record("list", ::getdents64(fd, names, sizeof names));
            record("fsync", ::fsync(fd));
        });
    parity
        .add("a deep tree", nothing,
             [](Record& record) {
                 std::string path = "d";
                 for (int i = 0; i < 40; ++i) {
                     record("mkdir", ::mkdir(path.c_str(), 0755));
                     path += "/d" + std::to_string(i);
                 }
                 record("rename", ::rename("d/d0/d1", "moved"));
                 record("stat", ::access("moved/d2/d3/d4", F_OK));
             })
        .as({kOwner});
    parity.add(
        "fsync of a directory", [] { make::directory("d", 0777); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("d", O_RDONLY | O_DIRECTORY));
            record.fd("create", ::openat(fd, "x", O_CREAT | O_WRONLY, 0644));
            record("fsync", ::fsync(fd));
            record("fdatasync", ::fdatasync(fd));
            record("syncfs", ::syncfs(fd));
        });
}

void directory_cases(Parity& parity) {
    making(parity);
    listing(parity);
    moving(parity);
}

}  // namespace

UMBRA_PARITY("directories", directory_cases)

}  // namespace umbra::test
