#include <fcntl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

constexpr const char* kNames[] = {
    "file",        "dir",    "dir/inner",    "closed",    "closed/secret",
    "to_file",     "to_dir", "to_dir/inner", "loop",      "dangling",
    "fifo",        "absent", "file/x",       "dir/",      "file/",
    "to_dir/",     "",       "to_file/",     "dangling/", "dir/../file",
    "dir/./inner", "loop/x", "absent/x"};

void make_zoo() {
    make::file("file", "hello");
    make::directory("dir");
    make::file("dir/inner", "x");
    make::directory("closed", 0700);
    make::own("closed", 0, 0);
    make::file("closed/secret", "s");
    make::symlink("file", "to_file");
    make::symlink("dir", "to_dir");
    make::symlink("nowhere", "dangling");
    make::symlink("loop", "loop");
    make::node("fifo", S_IFIFO | 0640);
}

void stat_of(Record& record, const char* name, int flags) {
    struct stat status {};
    if (record(std::string("fstatat ") + name, ::fstatat(AT_FDCWD, name, &status, flags)) == 0) {
        record("  mode", status.st_mode);
        record("  nlink", static_cast<long>(status.st_nlink));
        record("  blksize", status.st_blksize);
        if (S_ISREG(status.st_mode)) record("  size", status.st_size);
    }
}

// Opens by handle what was found by name, as an NFS server does.
void open_by_handle(Record& record, const char* name) {
    struct {
        file_handle head;
        unsigned char bytes[MAX_HANDLE_SZ];
    } handle{};
    handle.head.handle_bytes = MAX_HANDLE_SZ;
    int mount_id = 0;
    if (record("name_to_handle_at",
               ::name_to_handle_at(AT_FDCWD, name, &handle.head, &mount_id, 0)) != 0) {
        return;
    }
    const int here = ::open(".", O_RDONLY | O_DIRECTORY);
    const int fd =
        record.fd("open_by_handle_at", ::open_by_handle_at(here, &handle.head, O_RDONLY));
    if (fd < 0) return;
    record.fstat("by handle", fd);
    struct stat by_name {
    }, by_handle{};
    ::stat(name, &by_name);
    ::fstat(fd, &by_handle);
    record("same inode number", by_name.st_ino == by_handle.st_ino);
}

void lookup_stat_cases(Parity& parity) {
    parity.add("stat of every kind of name", make_zoo, [](Record& record) {
        for (const char* name : kNames) {
            stat_of(record, name, 0);
            stat_of(record, name, AT_SYMLINK_NOFOLLOW);
        }
    });
    parity.add("access of every kind of name", make_zoo, [](Record& record) {
        for (const std::string name : kNames) {
            for (const int mode : {F_OK, R_OK, W_OK, X_OK, R_OK | W_OK | X_OK}) {
                record("access " + name + " " + std::to_string(mode), ::access(name.c_str(), mode));
            }
            record("faccessat " + name,
                   ::faccessat(AT_FDCWD, name.c_str(), R_OK, AT_SYMLINK_NOFOLLOW));
        }
    });
    parity.add("open by handle", make_zoo, [](Record& record) { open_by_handle(record, "file"); })
        .as({kRoot});
    parity
        .add("open a directory by handle", make_zoo,
             [](Record& record) { open_by_handle(record, "dir"); })
        .as({kRoot});
    parity
        .add("a handle of a deleted file is stale", make_zoo,
             [](Record& record) {
                 struct {
                     file_handle head;
                     unsigned char bytes[MAX_HANDLE_SZ];
                 } handle{};
                 handle.head.handle_bytes = MAX_HANDLE_SZ;
                 int mount_id = 0;
                 record("name_to_handle_at",
                        ::name_to_handle_at(AT_FDCWD, "file", &handle.head, &mount_id, 0));
                 record("unlink", ::unlink("file"));
                 const int here = ::open(".", O_RDONLY | O_DIRECTORY);
                 record.fd("open_by_handle_at", ::open_by_handle_at(here, &handle.head, O_RDONLY));
             })
        .as({kRoot});
    parity.add("O_PATH descriptors", make_zoo, [](Record& record) {
        const int fd = record.fd("open", ::open("file", O_PATH));
        record.fstat("file", fd);
        char byte;
        record("read", ::read(fd, &byte, 1));
        const int link = record.fd("open link", ::open("to_file", O_PATH | O_NOFOLLOW));
        record.fstat("link", link);
        record("fchmod", ::fchmod(fd, 0600));
    });
    parity.add(
        "inode numbers are equal for hard links and differ for others",
        [] {
            make::file("a");
            make::link("a", "b");
            make::file("c");
        },
        [](Record& record) {
            struct stat a {
            }, b{}, c{};
            ::stat("a", &a);
            ::stat("b", &b);
            ::stat("c", &c);
            record("a == b", a.st_ino == b.st_ino);
            record("a == c", a.st_ino == c.st_ino);
            record("one device", a.st_dev == c.st_dev);
        });
    parity.add("a name looked up before it exists is found afterwards", nothing,
               [](Record& record) {
                   struct stat status {};
                   record("before", ::stat("late", &status));
                   record.fd("create", ::open("late", O_CREAT | O_WRONLY, 0644));
                   record("after", ::stat("late", &status));
                   record("unlink", ::unlink("late"));
                   record("gone", ::stat("late", &status));
                   record("mkdir", ::mkdir("late", 0755));
                   record.stat("late");
                   record("rmdir", ::rmdir("late"));
                   record("gone again", ::stat("late", &status));
                   record("symlink", ::symlink("x", "late"));
                   record.stat("late");
               });
}

}  // namespace

UMBRA_PARITY("lookup and stat", lookup_stat_cases)

}  // namespace umbra::test
