#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <string>

#include "tests/mount/parity.h"

// Of fifos, sockets and devices the kernel asks no FUSE filesystem for flags.
namespace umbra::test {
namespace {

// What all types have; ext4 adds bits of its own for how a file is stored.
constexpr int kCommonFlags =
    FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL | FS_NOATIME_FL | FS_SYNC_FL;

void get_flags(Record& record, const char* name) {
    const int fd = ::open(name, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
    int flags = 0;
    const std::string what = std::string("flags of ") + name;
    if (record(what, ::ioctl(fd, FS_IOC_GETFLAGS, &flags)) == 0) {
        record("  value", flags & kCommonFlags);
    }
    ::close(fd);
}

void set_flags(Record& record, const char* name, int flags) {
    const int fd = ::open(name, O_RDONLY | O_NOFOLLOW);
    int old_flags = 0;
    ::ioctl(fd, FS_IOC_GETFLAGS, &old_flags);
    flags |= old_flags & ~kCommonFlags;
    record(std::string("set flags of ") + name, ::ioctl(fd, FS_IOC_SETFLAGS, &flags));
    ::close(fd);
}

void ioctl_cases(Parity& parity) {
    parity.add(
        "read the flags",
        [] {
            make::file("a", "x", 0644);
            make::directory("d", 0755);
            make::file("closed", "x", 0);
        },
        [](Record& record) {
            for (const char* name : {"a", "d", "closed"}) get_flags(record, name);
        });
    for (const int flag : {FS_NODUMP_FL, FS_NOATIME_FL, FS_SYNC_FL}) {
        parity.add(
            "set and clear " + std::to_string(flag),
            [] {
                make::file("a", "x", 0644);
                make::directory("d", 0755);
            },
            [flag](Record& record) {
                for (const char* name : {"a", "d"}) {
                    set_flags(record, name, flag);
                    get_flags(record, name);
                    set_flags(record, name, 0);
                    get_flags(record, name);
                }
            });
    }
    parity.add(
        "an immutable file", [] { make::file("a", "contents", 0666); },
        [](Record& record) {
            const int before = record.fd("open before", ::open("a", O_RDWR));
            set_flags(record, "a", FS_IMMUTABLE_FL);
            get_flags(record, "a");
            record.fd("open", ::open("a", O_RDWR));
            record.fd("truncate", ::open("a", O_WRONLY | O_TRUNC));
            record("write", ::pwrite(before, "x", 1, 0));
            record("chmod", ::chmod("a", 0600));
            record("touch", ::utimensat(AT_FDCWD, "a", nullptr, 0));
            record("rename", ::rename("a", "b"));
            record("link", ::link("a", "c"));
            record("unlink", ::unlink("a"));
            record.contents("a");
            set_flags(record, "a", 0);
            record("unlink", ::unlink("a"));
        });
    parity.add(
        "an append-only file", [] { make::file("a", "contents", 0666); },
        [](Record& record) {
            set_flags(record, "a", FS_APPEND_FL);
            get_flags(record, "a");
            record.fd("open", ::open("a", O_WRONLY));
            record.fd("open O_TRUNC", ::open("a", O_WRONLY | O_APPEND | O_TRUNC));
            const int fd = record.fd("open O_APPEND", ::open("a", O_WRONLY | O_APPEND));
            record("append", ::write(fd, "more", 4));
            record("truncate", ::truncate("a", 1));
            record("unlink", ::unlink("a"));
            record.contents("a");
            set_flags(record, "a", 0);
            record("unlink", ::unlink("a"));
        });
    parity.add(
        "an immutable and an append-only directory",
        [] {
            make::directory("d", 0777);
            make::file("d/old", "x", 0666);
        },
        [](Record& record) {
            for (const int flag : {FS_IMMUTABLE_FL, FS_APPEND_FL}) {
                const std::string suffix = std::to_string(flag);
                set_flags(record, "d", flag);
                record.fd("create", ::open(("d/new" + suffix).c_str(), O_CREAT | O_WRONLY, 0644));
                record("mkdir", ::mkdir(("d/dir" + suffix).c_str(), 0755));
                record("unlink", ::unlink("d/old"));
                record("rename", ::rename("d/old", "d/moved"));
                record("rmdir", ::rmdir("d"));
                record.contents("d/old");
                set_flags(record, "d", 0);
            }
        });
    parity.add(
        "extended flags and projects", [] { make::file("a", "x", 0644); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDONLY));
            fsxattr attributes{};
            record("get", ::ioctl(fd, FS_IOC_FSGETXATTR, &attributes));
            record("flags", attributes.fsx_xflags & FS_XFLAG_NODUMP);
            attributes.fsx_xflags |= FS_XFLAG_NODUMP;
            record("set", ::ioctl(fd, FS_IOC_FSSETXATTR, &attributes));
            get_flags(record, "a");
        });
    parity.add(
        "unknown requests", [] { make::file("a", "x", 0666); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDWR));
            int value = 0;
            record("terminal", ::ioctl(fd, 0x5401 /* TCGETS */, &value));
            record("readable bytes", ::ioctl(fd, 0x541B /* FIONREAD */, &value));
            record("value", value);
        });
}

}  // namespace

UMBRA_PARITY("ioctl flags", ioctl_cases)

}  // namespace umbra::test
