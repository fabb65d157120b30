#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

struct Flags {
    const char* name;
    int value;
};

constexpr Flags kOpenFlags[] = {
    {"O_RDONLY", O_RDONLY},
    {"O_WRONLY", O_WRONLY},
    {"O_RDWR", O_RDWR},
    {"O_WRONLY|O_TRUNC", O_WRONLY | O_TRUNC},
    {"O_RDONLY|O_TRUNC", O_RDONLY | O_TRUNC},
    {"O_WRONLY|O_APPEND", O_WRONLY | O_APPEND},
    {"O_WRONLY|O_CREAT", O_WRONLY | O_CREAT},
    {"O_WRONLY|O_CREAT|O_EXCL", O_WRONLY | O_CREAT | O_EXCL},
    {"O_RDWR|O_CREAT|O_TRUNC", O_RDWR | O_CREAT | O_TRUNC},
    {"O_RDONLY|O_CREAT", O_RDONLY | O_CREAT},
    {"O_RDONLY|O_DIRECTORY", O_RDONLY | O_DIRECTORY},
    {"O_RDONLY|O_NOFOLLOW", O_RDONLY | O_NOFOLLOW},
    {"O_WRONLY|O_CREAT|O_NOFOLLOW", O_WRONLY | O_CREAT | O_NOFOLLOW},
    {"O_RDONLY|O_NOATIME", O_RDONLY | O_NOATIME},
    {"O_RDWR|O_SYNC", O_RDWR | O_SYNC},
};

// Only what opening `name` meets.
void make_target(const std::string& name) {
    if (name == "file" || name == "to_file") make::file("file", "contents");
    if (name == "read_only") make::file(name, "contents", 0444);
    if (name == "write_only") make::file(name, "contents", 0222);
    if (name == "closed") make::file(name, "contents", 0);
    if (name == "group_only") make::file(name, "contents", 0060);
    if (name == "to_file") make::symlink("file", name);
    if (name == "dangling") make::symlink("created_through", name);
    if (name == "dir" || name == "dir/" || name == "dir/new" || name == "to_dir")
        make::directory("dir");
    if (name == "to_dir") make::symlink("dir", name);
    if (name == "not_writable/new") make::directory("not_writable", 0555);
    if (name == "not_searchable/new") make::directory("not_searchable", 0666);
}

void open_and_use(Record& record, const char* name, const Flags& flags) {
    const int fd = record.fd(std::string("open ") + flags.name, ::open(name, flags.value, 0664));
    if (fd < 0) return;
    record.fstat("opened", fd);
    if ((flags.value & O_DIRECTORY) != 0) return;
    char buffer[4] = {'?', '?', '?', '?'};
    record("read", ::read(fd, buffer, sizeof buffer));
    record("write", ::write(fd, "new", 3));
    record("flags", ::fcntl(fd, F_GETFL) & (O_ACCMODE | O_APPEND));
    record("close", ::close(fd));
    record.contents(name);
}

void create_open_cases(Parity& parity) {
    for (const char* name :
         {"file", "read_only", "write_only", "closed", "group_only", "dir", "to_file", "dangling",
          "to_dir", "absent", "not_writable/new", "not_searchable/new", "dir/new", "dir/"}) {
        for (const auto& flags : kOpenFlags) {
            const bool for_group = std::string(name) == "group_only";
            const bool nobody_may =
                std::string(name) == "closed" || std::string(name) == "not_writable/new";
            parity
                .add(
                    std::string("open '") + name + "' " + flags.name, [name] { make_target(name); },
                    [name, flags](Record& record) { open_and_use(record, name, flags); })
                .as(for_group    ? std::vector<NamedCaller>{kOwner, kMember, kOther}
                    : nobody_may ? std::vector<NamedCaller>{kRoot, kOwner}
                                 : std::vector<NamedCaller>{kOwner, kOther});
        }
    }
    for (const mode_t mode : {0u, 0400u, 0644u, 0777u, 01777u, 02755u, 04755u, 06777u}) {
        for (const mode_t mask : {0u, 022u, 077u, 0777u}) {
            parity
                .add("create with mode " + std::to_string(mode) + " umask " + std::to_string(mask),
                     nothing,
                     [mode, mask](Record& record) {
                         ::umask(mask);
                         const int fd =
                             record.fd("create", ::open("new", O_CREAT | O_EXCL | O_RDWR, mode));
                         // The creator may use it whatever the mode says.
                         record("write", ::write(fd, "x", 1));
                         record.stat("new");
                     })
                .as({kRoot, kMember});
        }
    }
    parity.add("create twice exclusively", nothing, [](Record& record) {
        record.fd("first", ::open("new", O_CREAT | O_EXCL | O_WRONLY, 0644));
        record.fd("second", ::open("new", O_CREAT | O_EXCL | O_WRONLY, 0644));
        record.fd("third", ::open("new", O_CREAT | O_WRONLY, 0600));
        record.stat("new");
    });
    parity.add(
        "creat truncates and keeps the mode", [] { make::file("a", "0123456789", 0606); },
        [](Record& record) {
            record.fd("creat", ::creat("a", 0777));
            record.stat("a");
        });
    parity.add(
        "openat relative to a directory", [] { make::directory("d"); },
        [](Record& record) {
            const int dir = record.fd("open", ::open("d", O_RDONLY | O_DIRECTORY));
            record.fd("create", ::openat(dir, "x", O_CREAT | O_WRONLY, 0644));
            record("mkdirat", ::mkdirat(dir, "y", 0755));
            record("rename", ::rename("d", "e"));
            record.fd("create below the moved one", ::openat(dir, "z", O_CREAT | O_WRONLY, 0644));
            record.fd("absent", ::openat(dir, "q", O_RDONLY));
            record.stat("e/z");
        });
    parity.add("names with any bytes", nothing, [](Record& record) {
        for (const char* name : {"a b", "tab\there", "new\nline", "\xff\xfe", "-dash", "Ünïcødé",
                                 "*", "...", "..a", ".hidden", "\\", "'\""}) {
            record.fd(name, ::open(name, O_CREAT | O_EXCL | O_WRONLY, 0644));
            record.stat(name);
        }
    });
    parity.add("a file created with no right to write is written by its creator", nothing,
               [](Record& record) {
                   const int fd = record.fd("create", ::open("new", O_CREAT | O_WRONLY, 0));
                   record("write", ::write(fd, "data", 4));
                   record.fd("open again", ::open("new", O_WRONLY));
               });
    parity.add(
        "the right is checked at open, not later", [] { make::file("a", "12345678", 0666); },
        [](Record& record) {
            const int fd = record.fd("open", ::open("a", O_RDWR));
            record("chmod", ::chmod("a", 0));
            char byte;
            record("read", ::read(fd, &byte, 1));
            record("write", ::pwrite(fd, "x", 1, 4));
            record("ftruncate", ::ftruncate(fd, 6));
            record.fstat("open one", fd);
        });
}

}  // namespace

UMBRA_PARITY("create and open", create_open_cases)

}  // namespace umbra::test
