#include <fcntl.h>
#include <unistd.h>

#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

void copy(Record& record, int64_t from, int64_t to, size_t length) {
    const int source = record.fd("open", ::open("a", O_RDONLY));
    const int target = record.fd("open", ::open("b", O_RDWR));
    loff_t in = from, out = to;
    long total = 0, count;
    // Copying less than asked for is allowed; only the sum is compared.
    while ((count = ::copy_file_range(source, &in, target, &out,
                                      length - static_cast<size_t>(total), 0)) > 0) {
        total += count;
        if (total == static_cast<long>(length)) break;
    }
    record("last", count == -1 ? -1 : 0);
    record("total", total);
    record("in", in);
    record("out", out);
    record.contents("b");
}

void copy_range_cases(Parity& parity) {
    for (const int64_t from : {0, 5, 20000, 79999, 90000}) {
        for (const int64_t to : {0, 16384, 50001}) {
            for (const size_t length : {size_t{1}, size_t{16384}, size_t{60000}}) {
                parity
                    .add(
                        "copy " + std::to_string(length) + " from " + std::to_string(from) +
                            " to " + std::to_string(to),
                        [] {
                            make::file("a", pattern(80000), 0666);
                            make::file("b", pattern(40000, 7), 0666);
                        },
                        [=](Record& record) { copy(record, from, to, length); })
                    .as({kOwner});
            }
        }
    }
    parity.add(
        "bad ones",
        [] {
            make::file("a", pattern(80000), 0666);
            make::file("b", "", 0666);
            make::directory("d");
        },
        [](Record& record) {
            const int a = record.fd("open", ::open("a", O_RDWR));
            const int b = record.fd("open", ::open("b", O_RDWR));
            const int reader = record.fd("open", ::open("b", O_RDONLY));
            const int appender = record.fd("open", ::open("b", O_WRONLY | O_APPEND));
            const int directory = record.fd("open", ::open("d", O_RDONLY));
            loff_t in = 0, out = 100;
            record("overlap", ::copy_file_range(a, &in, a, &out, 1000, 0));
            record("to reader", ::copy_file_range(a, nullptr, reader, nullptr, 10, 0));
            record("to appender", ::copy_file_range(a, nullptr, appender, nullptr, 10, 0));
            record("from directory", ::copy_file_range(directory, nullptr, b, nullptr, 10, 0));
            record("flags", ::copy_file_range(a, nullptr, b, nullptr, 10, 1));
            record("nothing", ::copy_file_range(a, nullptr, b, nullptr, 0, 0));
        });
    parity.add(
        "inside one file", [] { make::file("a", pattern(80000), 0666); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDWR));
            loff_t in = 0, out = 50000;
            record("copy", ::copy_file_range(fd, &in, fd, &out, 20000, 0));
            record.contents("a");
        });
    parity.add(
        "with the descriptors' own positions",
        [] {
            make::file("a", pattern(30000), 0666);
            make::file("b", "start", 0666);
        },
        [](Record& record) {
            const int a = record.fd("open", ::open("a", O_RDONLY));
            const int b = record.fd("open", ::open("b", O_WRONLY));
            record("seek", ::lseek(a, 100, SEEK_SET));
            record("seek", ::lseek(b, 5, SEEK_SET));
            record("copy", ::copy_file_range(a, nullptr, b, nullptr, 1000, 0));
            record("position", ::lseek(a, 0, SEEK_CUR));
            record("position", ::lseek(b, 0, SEEK_CUR));
            record("write", ::write(b, "end", 3));
            record.contents("b");
        });
    parity.add(
        "what was just written is copied",
        [] {
            make::file("a", pattern(30000), 0666);
            make::file("b", "", 0666);
        },
        [](Record& record) {
            const int a = record.fd("open", ::open("a", O_RDWR));
            const int b = record.fd("open", ::open("b", O_RDWR));
            record("write", ::pwrite(a, "fresh", 5, 1000));
            record("copy", ::copy_file_range(a, nullptr, b, nullptr, 30000, 0));
            char buffer[5] = {};
            record("read", ::pread(b, buffer, 5, 1000));
            record.text("seen", std::string(buffer, 5));
        });
}

}  // namespace

UMBRA_PARITY("copy_file_range", copy_range_cases)

}  // namespace umbra::test
