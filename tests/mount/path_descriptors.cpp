// Descriptors that only stand for a place (open(2), O_PATH).
#include <fcntl.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

void make_some() {
    make::file("file", "contents", 0644);
    make::file("closed", "secret", 0);
    make::directory("dir", 0755);
    make::file("dir/inner", "inner", 0644);
    make::directory("shut", 0700);
    make::own("shut", 0, 0);
    make::file("shut/inner", "x", 0666);
    make::symlink("file", "to_file");
    make::symlink("absent", "dangling");
    make::node("fifo", S_IFIFO | 0600);
}

void use(Record& record, int fd) {
    char buffer[16] = "";
    struct statfs filesystem {};
    record.fstat("it", fd);
    record("read", ::read(fd, buffer, 1));
    record("write", ::write(fd, "x", 1));
    record("seek", ::lseek(fd, 0, SEEK_SET));
    record("truncate", ::ftruncate(fd, 0));
    record("mode", ::fchmod(fd, 0600));
    record("owner", ::fchown(fd, 0, 0));
    record("attribute", ::fgetxattr(fd, "user.x", buffer, sizeof buffer));
    record("sync", ::fsync(fd));
    record("lock", ::flock(fd, LOCK_SH | LOCK_NB));
    record("ioctl", ::ioctl(fd, FIONREAD, buffer));
    record("filesystem", ::fstatfs(fd, &filesystem));
    record("access", ::faccessat(fd, "", R_OK, AT_EMPTY_PATH));
    record("link text", ::readlinkat(fd, "", buffer, sizeof buffer));
    record("flags", ::fcntl(fd, F_GETFL) & (O_PATH | O_ACCMODE));
    record.fd("duplicate", ::dup(fd));
    record.fd("open what it stands for",
              ::open(("/proc/self/fd/" + std::to_string(fd)).c_str(), O_RDONLY | O_NONBLOCK));
    record.fd("open in it", ::openat(fd, "inner", O_RDONLY));
    record("enter it", ::fchdir(fd));
}

void path_descriptor_cases(Parity& parity) {
    for (const char* name : {"file", "closed", "dir", "to_file", "dangling", "fifo", "shut",
                             "shut/inner", "absent", "file/x"}) {
        for (const int flags : {0, O_NOFOLLOW, O_DIRECTORY}) {
            parity.add(std::string(name) + " with " + std::to_string(flags), make_some,
                       [name, flags](Record& record) {
                           const int fd = record.fd("open", ::open(name, O_PATH | flags));
                           if (fd >= 0) use(record, fd);
                       });
        }
    }
    parity.add("it stands for the file, not the name", make_some, [](Record& record) {
        const int fd = record.fd("open", ::open("file", O_PATH));
        const std::string same = "/proc/self/fd/" + std::to_string(fd);
        record("rename", ::rename("file", "moved"));
        record.fstat("renamed", fd);
        record("link", ::linkat(AT_FDCWD, same.c_str(), AT_FDCWD, "again", AT_SYMLINK_FOLLOW));
        record("unlink", ::unlink("moved"));
        record("unlink", ::unlink("again"));
        record.fstat("unlinked", fd);
        record.fd("open", ::open(same.c_str(), O_RDONLY));
        record.contents(same);
    });
}

}  // namespace

UMBRA_PARITY("path descriptors", path_descriptor_cases)

}  // namespace umbra::test
