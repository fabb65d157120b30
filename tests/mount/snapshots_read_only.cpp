// Nobody changes the past: every kind of change in a snapshot is EROFS. Between a snapshot and the
// live tree renames and links are EXDEV, so that mv copies.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/mount/make.h"
#include "tests/mount/pair.h"
#include "tests/mount/snapshots_suite.h"
#include "tests/support/scratch.h"
#include "tests/support/tree.h"
#include "tests/support/unprivileged.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;

struct Attempt {
    std::string name;
    std::function<long()> call;
    const char* error = "EROFS";
};

// Relative to the directory in the snapshot; `live` is the same directory in the live tree.
std::vector<Attempt> attempts(const std::string& live) {
    return {
        {"open for writing", [] { return ::open("file", O_WRONLY); }},
        {"open for both", [] { return ::open("file", O_RDWR); }},
        {"open for appending", [] { return ::open("file", O_WRONLY | O_APPEND); }},
        {"open with O_TRUNC", [] { return ::open("file", O_RDONLY | O_TRUNC); }},
        {"create", [] { return ::open("new", O_CREAT | O_WRONLY, 0644); }},
        {"create in a directory", [] { return ::open("dir/new", O_CREAT | O_RDONLY, 0644); }},
        {"O_TMPFILE", [] { return ::open("dir", O_TMPFILE | O_RDWR, 0644); }},
        {"truncate", [] { return ::truncate("file", 1); }},
        {"truncate to the same", [] { return ::truncate("file", 8); }},
        {"mkdir", [] { return ::mkdir("new", 0755); }},
        {"mknod", [] { return ::mknod("new", S_IFIFO | 0644, 0); }},
        {"symlink", [] { return ::symlink("x", "new"); }},
        {"link", [] { return ::link("file", "new"); }},
        {"unlink", [] { return ::unlink("file"); }},
        {"unlink a link", [] { return ::unlink("link"); }},
        {"rmdir", [] { return ::rmdir("empty"); }},
        {"rename", [] { return ::rename("file", "new"); }},
        {"rename over", [] { return ::rename("file", "other"); }},
        {"rename a directory", [] { return ::rename("dir", "new"); }},
        {"exchange",
         [] { return ::renameat2(AT_FDCWD, "file", AT_FDCWD, "other", RENAME_EXCHANGE); }},
        {"rename out of the snapshot", [live] { return ::rename("file", (live + "/out").c_str()); },
         "EXDEV"},
        {"rename into the snapshot", [live] { return ::rename((live + "/file").c_str(), "in"); },
         "EXDEV"},
        {"link out of the snapshot", [live] { return ::link("file", (live + "/out").c_str()); },
         "EXDEV"},
        {"link into the snapshot", [live] { return ::link((live + "/file").c_str(), "in"); },
         "EXDEV"},
        {"chmod", [] { return ::chmod("file", 0600); }},
        {"chmod of a directory", [] { return ::chmod("dir", 0700); }},
        {"chown", [] { return ::chown("file", -1, kSharedGroup); }},
        {"lchown", [] { return ::lchown("link", -1, kSharedGroup); }},
        {"utimensat", [] { return ::utimensat(AT_FDCWD, "file", nullptr, 0); }},
        {"utimensat of a directory", [] { return ::utimensat(AT_FDCWD, "dir", nullptr, 0); }},
        {"setxattr", [] { return ::setxattr("file", "user.new", "x", 1, 0); }},
        {"replace an xattr", [] { return ::setxattr("file", "user.old", "x", 1, XATTR_REPLACE); }},
        {"removexattr", [] { return ::removexattr("file", "user.old"); }},
        {"remove the ACL", [] { return ::removexattr("file", "system.posix_acl_access"); }},
    };
}

void every_change_is_refused(FilesystemType type) {
    Pair& pair = shared_pair(type);
    pair.delete_all_snapshots();
    const fs::path live = pair.share() / "read_only";
    make::directory(live);
    make::file(live / "file", "contents", 0666);
    make::xattr(live / "file", "user.old", "old");
    make::acl(live / "file", "u::rw-,u:1001:rw-,g::rw-,m::rw-,o::rw-");
    make::file(live / "other", "other", 0666);
    make::directory(live / "dir", 0777);
    make::file(live / "dir/inner", "x", 0666);
    make::directory(live / "empty", 0777);
    make::symlink("file", live / "link");
    const std::string token = pair.umbra().create_snapshot();
    const fs::path past = pair.umbra().snapshot_path(token) / "read_only";
    const Tree live_before = capture(live), past_before = capture(past);

    for (const Caller& caller :
         {Caller{0, 0, {}, 022}, Caller{kOwnerId, kOwnerId, {kSharedGroup}, 022}}) {
        for (const auto& attempt : attempts(live.string())) {
            const CallResult result = call_as(caller, [&]() -> long {
                if (::chdir(past.c_str()) != 0) throw std::runtime_error("chdir to the snapshot");
                return attempt.call();
            });
            CHECK_MESSAGE(result.result == -1,
                          attempt.name << " by " << caller.uid << " succeeded");
            CHECK_MESSAGE(errno_name(result.error) == attempt.error,
                          attempt.name << " by " << caller.uid);
        }
    }
    CHECK(differences(live_before, capture(live)) == kNoDifferences);
    CHECK(differences(past_before, capture(past)) == kNoDifferences);
    remove_tree(live);
    pair.umbra().delete_snapshot(token);
}

// Reading is everything it is in the live tree.
void reading_works(FilesystemType type) {
    Pair& pair = shared_pair(type);
    pair.delete_all_snapshots();
    const fs::path live = pair.share() / "readable";
    make::directory(live);
    make::file(live / "file", pattern(100000), 0640);
    make::file(live / "secret", "secret", 0600);
    const std::string token = pair.umbra().create_snapshot();
    remove_tree(live);
    const fs::path past = pair.umbra().snapshot_path(token) / "readable";
    CHECK(contents_of(past / "file") == pattern(100000));
    const Caller owner{kOwnerId, kOwnerId, {}, 022};
    const Caller other{kOtherId, kOtherId, {}, 022};
    const Caller member{kMemberId, kMemberId, {kSharedGroup}, 022};
    const auto open_as = [&](const Caller& caller, const char* name) {
        return call_as(caller,
                       [&] { return ::open((past / name).c_str(), O_RDONLY) >= 0 ? 0 : -1; });
    };
    CHECK(open_as(owner, "file") == CallResult{0, 0});
    CHECK(open_as(owner, "secret") == CallResult{0, 0});
    CHECK(open_as(member, "file") == CallResult{0, 0});
    CHECK(open_as(member, "secret") == CallResult{-1, EACCES});
    CHECK(open_as(other, "file") == CallResult{-1, EACCES});
    const CallResult direct = call_as(owner, [&]() -> long {
        const int fd = ::open((past / "file").c_str(), O_RDONLY | O_DIRECT);
        alignas(4096) static char buffer[4096];
        return fd < 0 ? -1 : ::pread(fd, buffer, sizeof buffer, 4096);
    });
    CHECK(direct == CallResult{4096, 0});
    pair.umbra().delete_snapshot(token);
}

}  // namespace

UMBRA_ON_EACH_FILESYSTEM("every change in a snapshot is refused", every_change_is_refused)
UMBRA_ON_EACH_FILESYSTEM("a snapshot is read with the rights of its time", reading_works)

}  // namespace umbra::test
