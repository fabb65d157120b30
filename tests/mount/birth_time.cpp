// The time of birth that statx(2) shows.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>

#include "tests/mount/parity.h"
#include "tests/mount/snapshots_suite.h"
#include "tests/support/scratch.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;

constexpr time_t kLongAgo = 1'600'000'000;

// "(ENOENT)" and the like, "none", or the time.
std::string born(int directory, const std::string& name, int flags = AT_SYMLINK_NOFOLLOW) {
    struct statx status {};
    if (::statx(directory, name.c_str(), flags, STATX_BASIC_STATS | STATX_BTIME, &status) != 0)
        return "(" + errno_name(errno) + ")";
    if ((status.stx_mask & STATX_BTIME) == 0) return "none";
    return std::to_string(status.stx_btime.tv_sec) + "." + std::to_string(status.stx_btime.tv_nsec);
}

bool lately(const std::string& time) {
    return time[0] != '(' && std::atol(time.c_str()) > kLongAgo;
}

void make_one_of_each() {
    make::file("file", "x", 0666);
    make::directory("dir", 0777);
    make::symlink("file", "symlink");
    make::node("fifo", S_IFIFO | 0666);
    make::directory("closed", 0700);
    make::own("closed", 0, 0);
    make::file("closed/secret", "s");
}

// The rest of what statx shows must come with it as without.
void note_rest(Record& record, const char* name) {
    struct statx with {
    }, without{};
    const int flags = AT_SYMLINK_NOFOLLOW;
    ::statx(AT_FDCWD, name, flags, STATX_BASIC_STATS, &without);
    if (record("statx", ::statx(AT_FDCWD, name, flags, STATX_BASIC_STATS | STATX_BTIME, &with)))
        return;
    record("mode", with.stx_mode);
    record("links", with.stx_nlink);
    record("owner", with.stx_uid);
    record("group", with.stx_gid);
    record("size, of files", S_ISREG(with.stx_mode) ? static_cast<long>(with.stx_size) : 0);
    record("modified", with.stx_mtime.tv_sec);
    record("the same inode", with.stx_ino == without.stx_ino);
    record("the same blocks", with.stx_blocks == without.stx_blocks);
    record("the same block size", with.stx_blksize == without.stx_blksize);
    record("the same device", with.stx_dev_minor == without.stx_dev_minor);
}

void birth_cases(Parity& parity) {
    for (const char* name : {"file", "dir", "symlink", "fifo", "closed", "closed/secret", "absent"})
        parity.add(std::string("of ") + name, make_one_of_each, [name](Record& record) {
            record("lately", lately(born(AT_FDCWD, name)));
            note_rest(record, name);
        });
    parity.add("of what is made now", nothing, [](Record& record) {
        const int fd = record.fd("create", ::open("new", O_CREAT | O_EXCL | O_RDWR, 0644));
        struct statx status {};
        record("statx", ::statx(fd, "", AT_EMPTY_PATH, STATX_MTIME | STATX_BTIME, &status));
        record("as it is dated", status.stx_btime.tv_sec == status.stx_mtime.tv_sec &&
                                     status.stx_btime.tv_nsec == status.stx_mtime.tv_nsec);
        record("mkdir", ::mkdir("dir", 0755));
        record("lately", lately(born(AT_FDCWD, "dir")));
    });
    parity
        .add("never changes", make_one_of_each,
             [](Record& record) {
                 const std::string before = born(AT_FDCWD, "file");
                 const timespec times[2] = {{1, 0}, {2, 0}};
                 record("times", ::utimensat(AT_FDCWD, "file", times, 0));
                 record("mode", ::chmod("file", 0600));
                 record("truncate", ::truncate("file", 100));
                 record("rename", ::rename("file", "dir/moved"));
                 record("the same", born(AT_FDCWD, "dir/moved") == before);
                 record("link", ::link("dir/moved", "again"));
                 record("the same", born(AT_FDCWD, "again") == before);
                 const int fd = record.fd("open", ::open("again", O_RDONLY));
                 record("unlink", ::unlink("again"));
                 record("unlink", ::unlink("dir/moved"));
                 record("the same", born(fd, "", AT_EMPTY_PATH) == before);
             })
        .as({kRoot, kOwner});
}

// In snapshots: that of the object, as the filesystem below tells it, also of what was removed.
void in_snapshots(FilesystemType type) {
    Pair& pair = shared_pair(type);
    pair.delete_all_snapshots();
    const fs::path live = pair.share() / "born";
    make::directory(live);
    make::directory(live / "dir");
    make::directory(live / "removed-dir");
    for (const char* name : {"file", "removed"}) make::file(live / name, "x");
    make::symlink("file", live / "symlink");
    std::map<std::string, std::string> below;
    for (const char* name : {"dir", "file", "removed", "symlink", "."})
        below[name] = born(pair.folder_below(), std::string("born/") + name);
    const fs::path past = pair.umbra().snapshot_path(pair.umbra().create_snapshot()) / "born";
    CHECK(::unlink((live / "removed").c_str()) == 0);
    CHECK(::rmdir((live / "removed-dir").c_str()) == 0);
    make::file(live / "file", "changed");
    for (const auto& entry : below) {
        const auto& name = entry.first;
        const auto& time = entry.second;
        CAPTURE(name);
        CHECK(lately(time));
        CHECK(born(AT_FDCWD, past / name) == time);
        if (name != "removed") CHECK(born(AT_FDCWD, live / name) == time);
    }
    // Nobody knows any more, and nothing else is wrong with it.
    CHECK(born(AT_FDCWD, past / "removed-dir") == "none");
    CHECK(born(AT_FDCWD, pair.umbra().snapshots_path()) == "none");
    remove_tree(live);
    pair.delete_all_snapshots();
}

}  // namespace

UMBRA_PARITY("birth time", birth_cases)
UMBRA_ON_EACH_FILESYSTEM("time of birth", in_snapshots)

}  // namespace umbra::test
