#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <string>

#include "tests/mount/parity.h"

namespace umbra::test {
namespace {

void each_call_with(Record& record, const char* path) {
    struct stat status {};
    char buffer[16];
    record("stat", ::stat(path, &status));
    record("lstat", ::lstat(path, &status));
    record.fd("open", ::open(path, O_RDONLY));
    record.fd("create", ::open(path, O_CREAT | O_EXCL | O_WRONLY, 0644));
    record("unlink", ::unlink(path));
    record("mkdir", ::mkdir(path, 0755));
    record("rmdir", ::rmdir(path));
    record("symlink", ::symlink("x", path));
    record("readlink", ::readlink(path, buffer, sizeof buffer));
    record("unlink", ::unlink(path));
    record("mknod", ::mknod(path, S_IFIFO | 0600, 0));
    record("link to", ::link("file", path));
    record("unlink", ::unlink(path));
    record("rename to", ::rename("file", path));
    record("rename back", ::rename(path, "file"));
    record("chmod", ::chmod(path, 0600));
    record("truncate", ::truncate(path, 0));
    record("getxattr", ::getxattr(path, "user.x", buffer, sizeof buffer));
    record("access", ::access(path, F_OK));
    record("chdir", ::chdir(path));
}

void path_cases(Parity& parity) {
    const auto setup = [] {
        make::file("file", "x");
        make::directory("dir", 0777);
        make::file("dir/inner", "y", 0666);
        make::symlink("loop_b", "loop_a");
        make::symlink("loop_a", "loop_b");
        make::symlink("self/x", "self");
    };
    // A chain of 50 links is longer than the kernel follows; one of 12 is not, even where it has to
    // start anew and goes on counting.
    const auto chain = [] {
        make::file("file", "x");
        make::file("chain0", "end", 0666);
        for (int i = 1; i <= 50; ++i) {
            make::symlink("chain" + std::to_string(i - 1), "chain" + std::to_string(i));
        }
    };
    for (const char* path : {"chain12", "chain50", "chain50/x"}) {
        parity.add(path, chain, [path](Record& record) { each_call_with(record, path); })
            .as({kMember});
    }
    std::string long_path = "dir";
    while (long_path.size() < 4200) long_path += "/../dir";
    for (const std::string& path :
         {std::string("file/below"), std::string("absent/below"), std::string("loop_a"),
          std::string("loop_a/x"), std::string("self"), std::string(255, 'n'),
          std::string(256, 'n'), std::string(1000, 'n'), std::string(2000, 'n'),
          std::string(255, 'n') + "/x", long_path, std::string(""), std::string("dir/inner/"),
          std::string("dir/../dir/./inner/..")}) {
        parity
            .add("path of " + std::to_string(path.size()) + " bytes: " + path.substr(0, 24), setup,
                 [path](Record& record) { each_call_with(record, path.c_str()); })
            .as({kRoot, kMember});
    }
}

void size_cases(Parity& parity) {
    parity
        .add(
            "beyond the largest file", [] { make::file("a", "x", 0666); },
            [](Record& record) {
                const int fd = record.fd("open", ::open("a", O_RDWR));
                record("pwrite", ::pwrite(fd, "x", 1, INT64_MAX - 1));
                record("ftruncate", ::ftruncate(fd, INT64_MAX));
                record("truncate", ::truncate("a", INT64_MAX));
                record.fstat("a", fd);
                // XFS and btrfs take any size; reading it all afterwards would not end.
                record("back", ::ftruncate(fd, 3));
            })
        .as({kOwner});
    parity
        .add(
            "the process's limit of file size", [] { make::file("a", pattern(5000), 0666); },
            [](Record& record) {
                // In a child, because the limit cannot be raised again.
                record("child", in_child([] {
                           ::signal(SIGXFSZ, SIG_IGN);
                           const rlimit limit{10000, 10000};
                           ::setrlimit(RLIMIT_FSIZE, &limit);
                           const int fd = ::open("a", O_RDWR);
                           const std::string data = pattern(20000);
                           const long part = ::pwrite(fd, data.data(), data.size(), 5000);
                           const int beyond = ::pwrite(fd, "x", 1, 10000) == -1 ? errno : 0;
                           const int grow = ::ftruncate(fd, 20000) == -1 ? errno : 0;
                           return part == 5000 && beyond == EFBIG && grow == EFBIG ? 1 : 2;
                       }));
                record.stat("a");
            })
        .as({kOwner});
    parity
        .add(
            "a large offset leaves a hole", [] { make::file("a", "x", 0666); },
            [](Record& record) {
                const int fd = record.fd("open", ::open("a", O_RDWR));
                constexpr int64_t kFar = int64_t{1} << 40;
                record("pwrite", ::pwrite(fd, "far", 3, kFar));
                record.fstat("a", fd);
                char buffer[8];
                record("read the hole", ::pread(fd, buffer, 8, kFar / 2));
                record("zero", buffer[0]);
                record("read the end", ::pread(fd, buffer, 8, kFar));
                record("back", ::ftruncate(fd, 1));
            })
        .as({kOwner});
    parity
        .add(
            "many links of one file",
            [] {
                make::file("a", "x", 0666);
                make::directory("d", 0777);
            },
            [](Record& record) {
                long made = 0;
                for (int i = 0; i < 300; ++i) {
                    if (::link("a", ("d/" + std::to_string(i)).c_str()) == 0) ++made;
                }
                record("made", made);
                record.stat("a");
            })
        .as({kOwner});
}

void limit_cases(Parity& parity) {
    path_cases(parity);
    size_cases(parity);
}

}  // namespace

UMBRA_PARITY("limits", limit_cases)

}  // namespace umbra::test
