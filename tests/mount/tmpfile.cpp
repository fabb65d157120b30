#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

long give_name(int fd, const char* name) {
    const std::string path = "/proc/self/fd/" + std::to_string(fd);
    return ::linkat(AT_FDCWD, path.c_str(), AT_FDCWD, name, AT_SYMLINK_FOLLOW);
}

void tmpfile_cases(Parity& parity) {
    for (const mode_t mode : {0666u, 0600u, 0u, 04755u}) {
        parity.add("use and name one of mode " + std::to_string(mode), nothing,
                   [mode](Record& record) {
                       const int fd = record.fd("open", ::open(".", O_TMPFILE | O_RDWR, mode));
                       record.fstat("unnamed", fd);
                       record("write", ::write(fd, "contents", 8));
                       record("set", ::fsetxattr(fd, "user.x", "1", 1, 0));
                       record.fstat("written", fd);
                       record("link", give_name(fd, "named"));
                       record.stat("named");
                       record.contents("named");
                       record("write more", ::write(fd, " and more", 9));
                       record("link again", give_name(fd, "second"));
                       record.contents("second");
                   });
    }
    parity.add(
        "flags and places",
        [] {
            make::file("file");
            make::directory("closed", 0555);
        },
        [](Record& record) {
            record.fd("read only", ::open(".", O_TMPFILE | O_RDONLY, 0600));
            record.fd("write only", ::open(".", O_TMPFILE | O_WRONLY, 0600));
            record.fd("in a file", ::open("file", O_TMPFILE | O_RDWR, 0600));
            record.fd("in nothing", ::open("absent", O_TMPFILE | O_RDWR, 0600));
            record.fd("not writable", ::open("closed", O_TMPFILE | O_RDWR, 0600));
            const int fd = record.fd("O_EXCL", ::open(".", O_TMPFILE | O_EXCL | O_RDWR, 0600));
            record("link", give_name(fd, "named"));
        });
    parity.add(
        "onto a name that is taken", [] { make::file("taken"); },
        [](Record& record) {
            const int fd = record.fd("open", ::open(".", O_TMPFILE | O_RDWR, 0644));
            record("link", give_name(fd, "taken"));
            record("link elsewhere", give_name(fd, "free"));
            record("rename over", ::rename("free", "taken"));
            record.fstat("named", fd);
        });
    parity.add("never named, it leaves nothing", nothing, [](Record& record) {
        const int fd = record.fd("open", ::open(".", O_TMPFILE | O_RDWR, 0644));
        record("write", ::write(fd, "x", 1));
        record("truncate", ::ftruncate(fd, 100000));
        record("fsync", ::fsync(fd));
        record("close", ::close(fd));
    });
    parity.add("named and unlinked", nothing, [](Record& record) {
        const int fd = record.fd("open", ::open(".", O_TMPFILE | O_RDWR, 0644));
        record("link", give_name(fd, "named"));
        record("unlink", ::unlink("named"));
        record("write", ::write(fd, "x", 1));
        record.fstat("unlinked", fd);
        record("link again", give_name(fd, "back"));
    });
}

}  // namespace

UMBRA_PARITY("tmpfile", tmpfile_cases)

}  // namespace umbra::test
