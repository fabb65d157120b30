#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

struct flock range(short type, off_t start, off_t length) {
    struct flock lock {};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = start;
    lock.l_len = length;
    return lock;
}

// 0 or errno of another process's try.
int try_lock(const char* name, short type, off_t start, off_t length) {
    return in_child([=] {
        const int fd = ::open(name, O_RDWR);
        struct flock lock = range(type, start, length);
        return ::fcntl(fd, F_SETLK, &lock) == 0 ? 0 : errno;
    });
}

int try_flock(const char* name, int operation) {
    return in_child([=] {
        const int fd = ::open(name, O_RDWR);
        return ::flock(fd, operation | LOCK_NB) == 0 ? 0 : errno;
    });
}

void posix_locks(Parity& parity) {
    parity.add(
        "record locks between processes", [] { make::file("a", "0123456789", 0666); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDWR));
            struct flock write = range(F_WRLCK, 10, 10);
            record("lock", ::fcntl(fd, F_SETLK, &write));
            record("same range", try_lock("a", F_WRLCK, 10, 10));
            record("overlap", try_lock("a", F_RDLCK, 5, 6));
            record("beside", try_lock("a", F_WRLCK, 20, 5));
            struct flock read = range(F_RDLCK, 10, 10);
            record("downgrade", ::fcntl(fd, F_SETLK, &read));
            record("shared", try_lock("a", F_RDLCK, 10, 10));
            record("exclusive", try_lock("a", F_WRLCK, 10, 10));
            struct flock open = range(F_UNLCK, 12, 2);
            record("unlock the middle", ::fcntl(fd, F_SETLK, &open));
            record("middle", try_lock("a", F_WRLCK, 12, 2));
            record("rest", try_lock("a", F_WRLCK, 14, 2));
        });
    parity.add(
        "F_GETLK names the holder", [] { make::file("a", "0123456789", 0666); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDWR));
            struct flock lock = range(F_WRLCK, 3, 4);
            record("lock", ::fcntl(fd, F_SETLK, &lock));
            const pid_t holder = ::getpid();
            record("asked", in_child([holder] {
                       const int other = ::open("a", O_RDWR);
                       struct flock asked = range(F_WRLCK, 0, 0);
                       if (::fcntl(other, F_GETLK, &asked) != 0) return 100;
                       const bool right = asked.l_type == F_WRLCK && asked.l_start == 3 &&
                                          asked.l_len == 4 && asked.l_pid == holder;
                       return right ? 1 : 0;
                   }));
        });
    parity.add(
        "closing any descriptor drops the process's locks",
        [] { make::file("a", "0123456789", 0666); },
        [](Record& record) {
            const int one = record.fd("open", ::open("a", O_RDWR));
            const int two = record.fd("open", ::open("a", O_RDWR));
            struct flock lock = range(F_WRLCK, 0, 0);
            record("lock", ::fcntl(one, F_SETLK, &lock));
            record("before", try_lock("a", F_WRLCK, 0, 0));
            record("close", ::close(two));
            record("after", try_lock("a", F_WRLCK, 0, 0));
        });
    parity.add(
        "the death of the holder frees", [] { make::file("a", "0123456789", 0666); },
        [](Record& record) {
            record("child locks", in_child([] {
                       const int fd = ::open("a", O_RDWR);
                       struct flock lock = range(F_WRLCK, 0, 0);
                       return ::fcntl(fd, F_SETLK, &lock) == 0 ? 0 : errno;
                   }));
            record("free", try_lock("a", F_WRLCK, 0, 0));
        });
    parity
        .add(
            "a waiting lock comes when the other goes", [] { make::file("a", "0123456789", 0666); },
            [](Record& record) {
                int ends[2];
                record("pipe", ::pipe(ends));
                const pid_t holder = ::fork();
                if (holder == 0) {
                    const int fd = ::open("a", O_RDWR);
                    struct flock lock = range(F_WRLCK, 0, 0);
                    if (::fcntl(fd, F_SETLK, &lock) != 0) ::_exit(1);
                    if (::write(ends[1], "x", 1) != 1) ::_exit(1);
                    ::usleep(20000);
                    ::_exit(0);
                }
                char byte;
                record("held", ::read(ends[0], &byte, 1));
                const int fd = record.fd("open", ::open("a", O_RDWR));
                struct flock lock = range(F_WRLCK, 0, 0);
                record("wait", ::fcntl(fd, F_SETLKW, &lock));
            })
        .as({kOwner});
    parity
        .add(
            "open file description locks", [] { make::file("a", "0123456789", 0666); },
            [](Record& record) {
                const int one = record.fd("open", ::open("a", O_RDWR));
                const int two = record.fd("open", ::open("a", O_RDWR));
                struct flock lock = range(F_WRLCK, 0, 5);
                record("lock", ::fcntl(one, F_OFD_SETLK, &lock));
                struct flock again = range(F_WRLCK, 0, 5);
                record("other description", ::fcntl(two, F_OFD_SETLK, &again));
                record("close", ::close(one));
                record("freed", ::fcntl(two, F_OFD_SETLK, &again));
            })
        .as({kOwner});
    parity.add(
        "the right kind of descriptor", [] { make::file("a", "0123456789", 0666); },
        [](Record& record) {
            const int reader = record.fd("open", ::open("a", O_RDONLY));
            struct flock write = range(F_WRLCK, 0, 0);
            record("write lock on reader", ::fcntl(reader, F_SETLK, &write));
            struct flock bad = range(F_RDLCK, -5, 2);
            record("negative", ::fcntl(reader, F_SETLK, &bad));
        });
}

void whole_file_locks(Parity& parity) {
    parity.add(
        "flock between processes",
        [] {
            make::file("a", "x", 0666);
            make::directory("d", 0777);
        },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDWR));
            record("shared", ::flock(fd, LOCK_SH));
            record("other shared", try_flock("a", LOCK_SH));
            record("other exclusive", try_flock("a", LOCK_EX));
            record("upgrade", ::flock(fd, LOCK_EX));
            record("other shared", try_flock("a", LOCK_SH));
            record("unlock", ::flock(fd, LOCK_UN));
            record("other exclusive", try_flock("a", LOCK_EX));
            const int directory = record.fd("open", ::open("d", O_RDONLY));
            record("directory", ::flock(directory, LOCK_EX | LOCK_NB));
            record("bad", ::flock(fd, 99));
        });
    parity.add(
        "flock belongs to the description, not the process", [] { make::file("a", "x", 0666); },
        [](Record& record) {
            const int one = record.fd("open", ::open("a", O_RDONLY));
            const int two = record.fd("open", ::open("a", O_RDONLY));
            const int copy = record.fd("dup", ::dup(one));
            record("lock", ::flock(one, LOCK_EX));
            record("other description", ::flock(two, LOCK_EX | LOCK_NB));
            record("copy", ::flock(copy, LOCK_EX | LOCK_NB));
            record("close", ::close(one));
            record("still held", ::flock(two, LOCK_EX | LOCK_NB));
            record("close the copy", ::close(copy));
            record("free", ::flock(two, LOCK_EX | LOCK_NB));
        });
    parity
        .add(
            "flock and record locks do not meet", [] { make::file("a", "x", 0666); },
            [](Record& record) {
                const int fd = record.fd("open", ::open("a", O_RDWR));
                record("flock", ::flock(fd, LOCK_EX));
                record("record lock", try_lock("a", F_WRLCK, 0, 0));
                record("flock", try_flock("a", LOCK_EX));
            })
        .as({kOwner});
    parity.add(
        "a lock follows a rename and an unlink", [] { make::file("a", "x", 0666); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDWR));
            record("flock", ::flock(fd, LOCK_EX));
            record("rename", ::rename("a", "b"));
            record("held", try_flock("b", LOCK_EX));
            record("unlink", ::unlink("b"));
            record("unlock", ::flock(fd, LOCK_UN));
        });
}

void lock_cases(Parity& parity) {
    posix_locks(parity);
    whole_file_locks(parity);
}

}  // namespace

UMBRA_PARITY("locks", lock_cases)

}  // namespace umbra::test
