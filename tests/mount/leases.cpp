// Leases (fcntl(2), F_SETLEASE): being told before somebody else opens a file.
#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

void make_file() { make::file("a", "contents", 0666); }

// What another process sees that would have to wait for a lease: errno, or 0.
long elsewhere(int flags) {
    return in_child([flags] { return ::open("a", flags | O_NONBLOCK) < 0 ? errno : 0; });
}

struct LeaseCase {
    const char* name;
    int open_flags;
    int lease;
};

void lease_cases(Parity& parity) {
    for (const LeaseCase& tried :
         {LeaseCase{"read", O_RDONLY, F_RDLCK}, LeaseCase{"write", O_RDWR, F_WRLCK},
          LeaseCase{"write, on a reader", O_RDONLY, F_WRLCK},
          LeaseCase{"read, on a writer", O_RDWR, F_RDLCK}, LeaseCase{"bad", O_RDONLY, 99}}) {
        parity.add(std::string("a lease to ") + tried.name, make_file, [tried](Record& record) {
            ::signal(SIGIO, SIG_IGN);
            const int fd = record.fd("open", ::open("a", tried.open_flags));
            record("ask", ::fcntl(fd, F_GETLEASE));
            record("take", ::fcntl(fd, F_SETLEASE, tried.lease));
            record("ask", ::fcntl(fd, F_GETLEASE));
            record("a reader", elsewhere(O_RDONLY));
            record("a writer", elsewhere(O_WRONLY));
            record("ask", ::fcntl(fd, F_GETLEASE));
            record("give back", ::fcntl(fd, F_SETLEASE, F_UNLCK));
            record("a writer", elsewhere(O_WRONLY));
            record("give back again", ::fcntl(fd, F_SETLEASE, F_UNLCK));
        });
    }
    parity.add("not beside other users", make_file, [](Record& record) {
        ::signal(SIGIO, SIG_IGN);
        const int reader = record.fd("open", ::open("a", O_RDONLY));
        const int writer = record.fd("open", ::open("a", O_WRONLY));
        record("read, beside a writer", ::fcntl(reader, F_SETLEASE, F_RDLCK));
        record("write, beside a reader", ::fcntl(writer, F_SETLEASE, F_WRLCK));
        record("close", ::close(writer));
        record("read, alone", ::fcntl(reader, F_SETLEASE, F_RDLCK));
        record("another", elsewhere(O_RDWR));
    });
    parity.add(
        "of what is no file", [] { make::directory("d", 0777); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("d", O_RDONLY));
            record("take", ::fcntl(fd, F_SETLEASE, F_RDLCK));
        });
}

}  // namespace

UMBRA_PARITY("leases", lease_cases)

}  // namespace umbra::test
