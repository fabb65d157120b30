#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <set>
#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

void set(Record& record, const char* file, const std::string& name, const std::string& value,
         int flags = 0) {
    record("set " + name.substr(0, 40) + " of " + file,
           ::lsetxattr(file, name.c_str(), value.data(), value.size(), flags));
}

void get(Record& record, const char* file, const std::string& name, size_t room = 65536) {
    std::string value(room, '\0');
    const std::string what = "get " + name.substr(0, 40) + " of " + file;
    const long size = record(what, ::lgetxattr(file, name.c_str(), value.data(), room));
    if (size > 0 && room > 0) record.text(what, value.substr(0, static_cast<size_t>(size)));
}

void list(Record& record, const char* file) {
    std::string names(65536, '\0');
    const long size =
        record(std::string("list ") + file, ::llistxattr(file, names.data(), names.size()));
    std::set<std::string> sorted;
    for (long at = 0; at < size;
         at += static_cast<long>(std::string(names.data() + at).size()) + 1) {
        sorted.insert(names.data() + at);
    }
    for (const auto& name : sorted) record.text("listed", name);
}

void remove(Record& record, const char* file, const std::string& name) {
    record("remove " + name + " of " + file, ::lremovexattr(file, name.c_str()));
}

void xattr_cases(Parity& parity) {
    parity.add(
        "set, get, list, remove",
        [] {
            make::file("a", "x", 0666);
            make::directory("a_dir", 0777);
        },
        [](Record& record) {
            for (const char* file : {"a", "a_dir", "absent"}) {
                set(record, file, "user.one", "first");
                set(record, file, "user.two", "");
                set(record, file, "user.one", "second, longer than the first");
                get(record, file, "user.one");
                get(record, file, "user.two");
                get(record, file, "user.three");
                list(record, file);
                remove(record, file, "user.one");
                remove(record, file, "user.one");
                list(record, file);
            }
        });
    parity.add(
        "XATTR_CREATE and XATTR_REPLACE", [] { make::file("a", "x", 0666); },
        [](Record& record) {
            set(record, "a", "user.x", "1", XATTR_REPLACE);
            set(record, "a", "user.x", "2", XATTR_CREATE);
            set(record, "a", "user.x", "3", XATTR_CREATE);
            set(record, "a", "user.x", "4", XATTR_REPLACE);
            set(record, "a", "user.x", "5", 77);
            get(record, "a", "user.x");
        });
    parity.add(
        "sizes of buffers",
        [] {
            make::file("a", "x", 0666);
            make::xattr("a", "user.ten", "0123456789");
        },
        [](Record& record) {
            for (const size_t room : {0, 1, 9, 10, 11}) get(record, "a", "user.ten", room);
            char names[4];
            record("list size", ::listxattr("a", nullptr, 0));
            record("list too small", ::listxattr("a", names, sizeof names));
        });
    parity.add(
        "names and values out of bounds", [] { make::file("a", "x", 0666); },
        [](Record& record) {
            set(record, "a", "user." + std::string(250, 'n'), "v");
            set(record, "a", "user." + std::string(251, 'n'), "v");
            set(record, "a", "user.", "v");
            set(record, "a", "", "v");
            set(record, "a", "nonamespace", "v");
            set(record, "a", "unknown.space", "v");
            set(record, "a", "user.large", std::string(3000, 'v'));
            set(record, "a", "user.huge", std::string(65537, 'v'));
            list(record, "a");
        });
    parity.add(
        "namespaces",
        [] {
            make::file("a", "x", 0666);
            make::directory("d");
        },
        [](Record& record) {
            for (const char* name :
                 {"trusted.t", "security.umbra_test", "user.u", "system.unknown"}) {
                set(record, "a", name, "value");
                get(record, "a", name);
                set(record, "d", name, "value");
            }
            list(record, "a");
        });
    parity.add(
        "of links and special files",
        [] {
            make::symlink("target", "link");
            make::file("target", "x", 0666);
            make::node("fifo", S_IFIFO | 0666);
        },
        [](Record& record) {
            for (const char* name : {"user.u", "trusted.t"}) {
                set(record, "link", name, "v");
                set(record, "fifo", name, "v");
                get(record, "fifo", name);
            }
            record("through the link", ::setxattr("link", "user.via", "v", 1, 0));
            get(record, "target", "user.via");
        });
    for (const mode_t mode : {0666u, 0444u, 0222u, 0u}) {
        parity.add(
            "of a file of mode " + std::to_string(mode),
            [mode] {
                make::file("a", "x", mode);
                make::xattr("a", "user.old", "value");
            },
            [](Record& record) {
                get(record, "a", "user.old");
                set(record, "a", "user.new", "value");
                remove(record, "a", "user.old");
                list(record, "a");
            });
    }
    parity.add(
        "through a descriptor", [] { make::file("a", "x", 0666); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDONLY));
            record("fsetxattr", ::fsetxattr(fd, "user.x", "abc", 3, 0));
            char value[8] = {};
            record("fgetxattr", ::fgetxattr(fd, "user.x", value, sizeof value));
            record("fremovexattr", ::fremovexattr(fd, "user.x"));
            record("unlink", ::unlink("a"));
            record("fsetxattr unlinked", ::fsetxattr(fd, "user.y", "abc", 3, 0));
            record("fgetxattr unlinked", ::fgetxattr(fd, "user.y", value, sizeof value));
        });
    parity.add(
        "follow the file",
        [] {
            make::file("a", "x", 0666);
            make::xattr("a", "user.x", "v");
            make::file("b", "y", 0666);
            make::xattr("b", "user.y", "w");
        },
        [](Record& record) {
            record("rename", ::rename("a", "b"));
            list(record, "b");
            record("link", ::link("b", "c"));
            set(record, "c", "user.z", "1");
            list(record, "b");
        });
    parity.add(
        "binary values", [] { make::file("a", "x", 0666); },
        [](Record& record) {
            const std::string value("\0\x01\xff\0z", 5);
            set(record, "a", "user.binary", value);
            get(record, "a", "user.binary");
        });
    parity
        .add(
            "many attributes", [] { make::file("a", "x", 0666); },
            [](Record& record) {
                for (int i = 0; i < 40; ++i) {
                    set(record, "a", "user.number" + std::to_string(i),
                        "value " + std::to_string(i));
                }
                list(record, "a");
            })
        .as({kOwner});
}

}  // namespace

UMBRA_PARITY("xattr", xattr_cases)

}  // namespace umbra::test
