#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

void append_cases(Parity& parity) {
    for (const int64_t size : {0, 10, 16384, 20000}) {
        parity.add(
            "append to " + std::to_string(size), [size] { make::file("a", pattern(size), 0666); },
            [](Record& record) {
                const int fd = record.fd("open", ::open("a", O_WRONLY | O_APPEND));
                record("write", ::write(fd, "one", 3));
                record("seek", ::lseek(fd, 0, SEEK_SET));
                record("write", ::write(fd, "two", 3));
                record("position", ::lseek(fd, 0, SEEK_CUR));
                // Linux appends here, too.
                record("pwrite", ::pwrite(fd, "three", 5, 0));
                record("truncate", ::ftruncate(fd, 1));
                record("write", ::write(fd, "four", 4));
                record.contents("a");
            });
    }
    parity.add(
        "two appenders take turns", [] { make::file("a", "", 0666); },
        [](Record& record) {
            const int one = record.fd("open", ::open("a", O_WRONLY | O_APPEND));
            const int two = record.fd("open", ::open("a", O_WRONLY | O_APPEND));
            for (int i = 0; i < 5; ++i) {
                record("one", ::write(one, "111", 3));
                record("two", ::write(two, "22", 2));
            }
            record.contents("a");
        });
    parity
        .add(
            "two appending processes lose nothing", [] { make::file("a", "", 0666); },
            [](Record& record) {
                const auto write_lines = [] {
                    const int fd = ::open("a", O_WRONLY | O_APPEND);
                    for (int i = 0; i < 200; ++i) {
                        if (::write(fd, "0123456789\n", 11) != 11) return 1;
                    }
                    return 0;
                };
                const pid_t other = ::fork();
                if (other == 0) ::_exit(write_lines());
                record("one", in_child(write_lines));
                record("other", ::waitpid(other, nullptr, 0) == other ? 0 : 1);
                record.contents("a");
            })
        .as({kOwner});
    parity.add(
        "append and another writer", [] { make::file("a", "0123456789", 0666); },
        [](Record& record) {
            const int appender = record.fd("open", ::open("a", O_WRONLY | O_APPEND));
            const int writer = record.fd("open", ::open("a", O_RDWR));
            record("write far", ::pwrite(writer, "far", 3, 100));
            record("append", ::write(appender, "end", 3));
            record.contents("a");
        });
    parity.add(
        "the flag set and taken by fcntl", [] { make::file("a", "0123456789", 0666); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_WRONLY));
            record("set", ::fcntl(fd, F_SETFL, O_APPEND));
            record("write", ::write(fd, "end", 3));
            record("take", ::fcntl(fd, F_SETFL, 0));
            record("pwrite", ::pwrite(fd, "start", 5, 0));
            record.contents("a");
        });
}

}  // namespace

UMBRA_PARITY("append", append_cases)

}  // namespace umbra::test
