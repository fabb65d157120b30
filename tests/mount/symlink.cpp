#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

void read_link(Record& record, const char* name, size_t room = 5000) {
    std::string buffer(room, '?');
    const long length =
        record(std::string("readlink ") + name, ::readlink(name, buffer.data(), room));
    if (length > 0) record.text("target", buffer.substr(0, static_cast<size_t>(length)));
}

void symlink_cases(Parity& parity) {
    for (const std::string& target :
         {std::string("a"), std::string(""), std::string("/absolute/path"), std::string("../x/./y"),
          std::string(59, 'p'), std::string(60, 'p'), std::string(500, 'p'), std::string(4000, 'p'),
          std::string(4095, 'p'), std::string(4096, 'p'), std::string("a\nb \xff")}) {
        parity
            .add("target of " + std::to_string(target.size()) + " bytes: " + target.substr(0, 10),
                 nothing,
                 [target](Record& record) {
                     record("symlink", ::symlink(target.c_str(), "new"));
                     record.stat("new");
                     read_link(record, "new");
                     read_link(record, "new", 3);
                 })
            .as({kRoot, kMember, kOther});
    }
    parity.add(
        "onto what exists",
        [] {
            make::file("file");
            make::directory("dir");
            make::symlink("nowhere", "link");
        },
        [](Record& record) {
            for (const char* name : {"file", "dir", "link", "absent/x", "file/x", "x/", "", "."}) {
                record(std::string("symlink ") + name, ::symlink("t", name));
            }
        });
    parity.add(
        "readlink of what is no link",
        [] {
            make::file("file");
            make::directory("dir");
        },
        [](Record& record) {
            for (const char* name : {"file", "dir", "absent", "dir/", ""}) read_link(record, name);
        });
    parity.add(
        "changes of the link itself", [] { make::symlink("target", "link"); },
        [](Record& record) {
            record("lchown", ::lchown("link", -1, kSharedGroup));
            record("lchown foreign", ::lchown("link", kMemberId, -1));
            record("chmod", ::fchmodat(AT_FDCWD, "link", 0600, AT_SYMLINK_NOFOLLOW));
            const timespec times[2] = {{11, 0}, {22, 0}};
            record("utimensat", ::utimensat(AT_FDCWD, "link", times, AT_SYMLINK_NOFOLLOW));
            record.stat("link");
        });
    parity.add(
        "changes through the link",
        [] {
            make::file("target", "data", 0666);
            make::symlink("target", "link");
        },
        [](Record& record) {
            record("chmod", ::chmod("link", 0606));
            record("chown", ::chown("link", -1, kSharedGroup));
            record("truncate", ::truncate("link", 1));
            const timespec times[2] = {{11, 0}, {22, 0}};
            record("utimensat", ::utimensat(AT_FDCWD, "link", times, 0));
            record("unlink", ::unlink("link"));
            record.stat("target");
        });
    parity.add(
        "through links into directories",
        [] {
            make::directory("d");
            make::file("d/file", "x", 0666);
            make::symlink("d", "to_d");
            make::symlink("to_d/file", "twice");
            make::symlink("../file", "d/up");
        },
        [](Record& record) {
            record.contents("to_d/file");
            record.contents("twice");
            record.contents("d/up");
            record.fd("create", ::open("to_d/new", O_CREAT | O_WRONLY, 0644));
            record("rename", ::rename("to_d/file", "to_d/moved"));
            record.contents("twice");
        });
    parity.add(
        "in a sticky world-writable directory nobody else's link is followed",
        [] {
            make::directory("tmp", 01777);
            make::file("target", "x", 0666);
            make::symlink("../target", "tmp/link");
            make::own("tmp/link", kMemberId, kSharedGroup);
        },
        [](Record& record) {
            record.fd("open", ::open("tmp/link", O_RDONLY));
            read_link(record, "tmp/link");
        });
}

}  // namespace

UMBRA_PARITY("symlink", symlink_cases)

}  // namespace umbra::test
