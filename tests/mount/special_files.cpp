#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

sockaddr_un address_of(const char* name) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, name, sizeof address.sun_path - 1);
    return address;
}

void special_cases(Parity& parity) {
    for (const mode_t type : {S_IFREG, S_IFIFO, S_IFSOCK, S_IFCHR, S_IFBLK, S_IFDIR, S_IFLNK}) {
        for (const mode_t mode : {0666u, 0600u, 04755u}) {
            parity.add("mknod type " + std::to_string(type) + " mode " + std::to_string(mode),
                       nothing, [=](Record& record) {
                           record("mknod", ::mknod("new", type | mode, makedev(1, 3)));
                           record.stat("new");
                           record("again", ::mknod("new", type | mode, makedev(1, 3)));
                       });
        }
    }
    parity.add("mknod without a type makes a file", nothing, [](Record& record) {
        record("mknod", ::mknod("new", 0644, 0));
        record.stat("new");
        record("bad type", ::mknod("bad", 0130000 | 0644, 0));
    });
    parity.add(
        "a fifo carries data", [] { make::node("fifo", S_IFIFO | 0666); },
        [](Record& record) {
            record.fd("writer without reader", ::open("fifo", O_WRONLY | O_NONBLOCK));
            const int reader = record.fd("reader", ::open("fifo", O_RDONLY | O_NONBLOCK));
            const int writer = record.fd("writer", ::open("fifo", O_WRONLY | O_NONBLOCK));
            record("write", ::write(writer, "through", 7));
            char buffer[16] = {};
            record("read", ::read(reader, buffer, sizeof buffer));
            record.text("data", buffer);
            // The kernel alone handles a fifo's data, and keeps their times to itself on FUSE.
            record("touch", ::utimensat(AT_FDCWD, "fifo", nullptr, 0));
        });
    parity.add("a socket is bound and connected", nothing, [](Record& record) {
        const int server = ::socket(AF_UNIX, SOCK_STREAM, 0);
        const sockaddr_un address = address_of("socket");
        const auto* generic = reinterpret_cast<const sockaddr*>(&address);
        record("bind", ::bind(server, generic, sizeof address));
        record.stat("socket");
        record("listen", ::listen(server, 1));
        const int client = ::socket(AF_UNIX, SOCK_STREAM, 0);
        record("connect", ::connect(client, generic, sizeof address));
        record("bind again", ::bind(client, generic, sizeof address));
        record.fd("open", ::open("socket", O_RDWR));
        record("rename", ::rename("socket", "moved"));
        record("unlink", ::unlink("moved"));
    });
    parity
        .add(
            "a device works", [] { make::node("null", S_IFCHR | 0666, 1, 3); },
            [](Record& record) {
                const int fd = record.fd("open", ::open("null", O_RDWR));
                record("write", ::write(fd, "x", 1));
                char byte;
                record("read", ::read(fd, &byte, 1));
            })
        .as({kRoot});
    parity.add(
        "attributes of special files",
        [] {
            make::node("fifo", S_IFIFO | 0666);
            make::node("device", S_IFBLK | 0600, 7, 200);
        },
        [](Record& record) {
            for (const char* name : {"fifo", "device"}) {
                record("chmod", ::chmod(name, 0640));
                record("chown", ::chown(name, -1, kSharedGroup));
                const timespec times[2] = {{11, 0}, {22, 0}};
                record("utimensat", ::utimensat(AT_FDCWD, name, times, 0));
                record("link", ::link(name, (std::string(name) + "2").c_str()));
                record("rename", ::rename(name, (std::string(name) + "3").c_str()));
                record.stat(std::string(name) + "3");
            }
        });
}

}  // namespace

UMBRA_PARITY("special files", special_cases)

}  // namespace umbra::test
