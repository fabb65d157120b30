#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

constexpr timespec kEarly{100, 1};
constexpr timespec kLate{1'500'000'000, 999'999'999};
constexpr timespec kNow{0, UTIME_NOW};
constexpr timespec kOmit{0, UTIME_OMIT};

void show(Record& record, const char* name) {
    struct stat status {};
    ::lstat(name, &status);
    const auto text = [](const timespec& time) {
        return time.tv_sec > 1'600'000'000
                   ? std::string("now")
                   : std::to_string(time.tv_sec) + "." + std::to_string(time.tv_nsec);
    };
    record.text(std::string("times of ") + name,
                "access " + text(status.st_atim) + " change " + text(status.st_mtim));
}

void setting(Parity& parity) {
    const struct {
        const char* name;
        timespec access, change;
    } kPairs[] = {{"early, late", kEarly, kLate},   {"now, now", kNow, kNow},
                  {"now, omit", kNow, kOmit},       {"omit, now", kOmit, kNow},
                  {"omit, omit", kOmit, kOmit},     {"late, omit", kLate, kOmit},
                  {"omit, early", kOmit, kEarly},   {"early, now", kEarly, kNow},
                  {"negative", {-1000, 5}, {-5, 0}}};
    for (const auto& pair : kPairs) {
        for (const mode_t mode : {0644u, 0666u}) {
            parity.add(
                std::string("utimensat ") + pair.name + " of mode " + std::to_string(mode),
                [mode] {
                    make::file("a", "x", mode);
                    make::directory("d", mode | 0111);
                    make::symlink("a", "l");
                },
                [pair](Record& record) {
                    const timespec times[2] = {pair.access, pair.change};
                    for (const char* name : {"a", "d", "l", "absent"}) {
                        record(name, ::utimensat(AT_FDCWD, name, times, AT_SYMLINK_NOFOLLOW));
                        show(record, name);
                    }
                    const int fd = record.fd("open", ::open("a", O_RDONLY));
                    record("futimens", ::futimens(fd, times));
                    record("through link", ::utimensat(AT_FDCWD, "l", times, 0));
                });
        }
    }
    parity.add(
        "impossible nanoseconds", [] { make::file("a"); },
        [](Record& record) {
            const timespec times[2] = {{1, 1'000'000'000}, {1, -5}};
            record("utimensat", ::utimensat(AT_FDCWD, "a", times, 0));
        });
    parity
        .add(
            "far times", [] { make::file("a"); },
            [](Record& record) {
                for (const time_t seconds :
                     {time_t{0}, time_t{2'147'483'647}, time_t{2'147'483'648},
                      time_t{4'294'967'296}, time_t{-2'147'483'648}, time_t{-2'147'483'649}}) {
                    const timespec times[2] = {{seconds, 7}, {seconds, 8}};
                    record("utimensat", ::utimensat(AT_FDCWD, "a", times, 0));
                    struct stat status {};
                    ::stat("a", &status);
                    record("seconds", status.st_mtim.tv_sec);
                    record("access seconds", status.st_atim.tv_sec);
                }
            })
        .as({kOwner});
}

// The directory's comparison says which of the times changed.
void changing(Parity& parity) {
    const auto setup = [] {
        make::file("a", pattern(100), 0666);
        make::directory("d", 0777);
        make::file("d/x", "x", 0666);
        make::symlink("a", "l");
    };
    const struct {
        const char* name;
        void (*apply)(Record&);
    } kChanges[] = {
        {"reading",
         [](Record& record) {
             record.contents("a");
             record.fd("list", ::open("d", O_RDONLY));
             char target[10];
             record("readlink", ::readlink("l", target, sizeof target));
         }},
        {"writing",
         [](Record& record) {
             const int fd = record.fd("open", ::open("a", O_WRONLY));
             record("write", ::write(fd, "x", 1));
         }},
        {"truncating to the same size", [](Record& record) { record("t", ::truncate("a", 100)); }},
        {"ftruncating to the same size",
         [](Record& record) {
             const int fd = record.fd("open", ::open("a", O_WRONLY));
             record("ftruncate", ::ftruncate(fd, 100));
         }},
        {"chmod to the same mode", [](Record& record) { record("chmod", ::chmod("a", 0666)); }},
        {"chown to nobody", [](Record& record) { record("chown", ::chown("a", -1, -1)); }},
        {"chown to the same", [](Record& record) { record("chown", ::chown("a", kOwnerId, -1)); }},
        {"creating", [](Record& record) { record.fd("create", ::open("d/n", O_CREAT, 0644)); }},
        {"unlinking", [](Record& record) { record("unlink", ::unlink("d/x")); }},
        {"linking", [](Record& record) { record("link", ::link("a", "d/y")); }},
        {"renaming a file", [](Record& record) { record("rename", ::rename("d/x", "y")); }},
        {"renaming a directory", [](Record& record) { record("rename", ::rename("d", "e")); }},
        {"renaming over", [](Record& record) { record("rename", ::rename("a", "d/x")); }},
        {"a refused unlink", [](Record& record) { record("unlink", ::unlink("d")); }},
        {"a refused create",
         [](Record& record) { record.fd("create", ::open("a", O_CREAT | O_EXCL, 0644)); }},
        {"fsync",
         [](Record& record) {
             const int fd = record.fd("open", ::open("a", O_RDONLY));
             record("fsync", ::fsync(fd));
         }},
    };
    for (const auto& change : kChanges) {
        parity.add(std::string("after ") + change.name, setup, change.apply);
    }
    parity.add("set times outlive a write before them", setup, [](Record& record) {
        const int fd = record.fd("open", ::open("a", O_RDWR));
        record("write", ::write(fd, "x", 1));
        const timespec times[2] = {kEarly, kLate};
        record("futimens", ::futimens(fd, times));
        record("close", ::close(fd));
        show(record, "a");
    });
    parity.add("O_NOATIME", setup, [](Record& record) {
        record.fd("open", ::open("a", O_RDONLY | O_NOATIME));
        record.fd("directory", ::open("d", O_RDONLY | O_NOATIME));
    });
}

void times_cases(Parity& parity) {
    setting(parity);
    changing(parity);
}

}  // namespace

UMBRA_PARITY("times", times_cases)

}  // namespace umbra::test
