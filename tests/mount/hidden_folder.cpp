// .umbra in the root of a share: no call through the mount reaches it.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>

#include "tests/mount/make.h"
#include "tests/mount/pair.h"
#include "tests/mount/snapshots_suite.h"
#include "tests/support/scratch.h"
#include "tests/support/tree.h"

namespace umbra::test {
namespace {

struct Outcome {
    const char* call;
    int error;
};

int errno_of(long result) { return result == -1 ? errno : 0; }

// What would have to exist is not there.
void check_absent(const std::string& hidden, const std::string& live) {
    struct stat status {};
    char buffer[64];
    const Outcome results[] = {
        {"stat", errno_of(::stat(hidden.c_str(), &status))},
        {"lstat", errno_of(::lstat(hidden.c_str(), &status))},
        {"access", errno_of(::access(hidden.c_str(), F_OK))},
        {"open", errno_of(::open(hidden.c_str(), O_RDONLY))},
        {"open O_PATH", errno_of(::open(hidden.c_str(), O_PATH))},
        {"opendir", errno_of(::open(hidden.c_str(), O_RDONLY | O_DIRECTORY))},
        {"chdir", errno_of(::chdir(hidden.c_str()))},
        {"chmod", errno_of(::chmod(hidden.c_str(), 0777))},
        {"chown", errno_of(::chown(hidden.c_str(), 1, 1))},
        {"touch", errno_of(::utimensat(AT_FDCWD, hidden.c_str(), nullptr, 0))},
        {"truncate", errno_of(::truncate(hidden.c_str(), 0))},
        {"readlink", errno_of(::readlink(hidden.c_str(), buffer, sizeof buffer))},
        {"getxattr", errno_of(::getxattr(hidden.c_str(), "user.x", buffer, sizeof buffer))},
        {"setxattr", errno_of(::setxattr(hidden.c_str(), "user.x", "x", 1, 0))},
        {"listxattr", errno_of(::listxattr(hidden.c_str(), buffer, sizeof buffer))},
        {"unlink", errno_of(::unlink(hidden.c_str()))},
        {"rmdir", errno_of(::rmdir(hidden.c_str()))},
        {"link from", errno_of(::link(hidden.c_str(), (live + "2").c_str()))},
        {"rename from", errno_of(::rename(hidden.c_str(), (live + "2").c_str()))},
        {"exchange from",
         errno_of(::renameat2(AT_FDCWD, hidden.c_str(), AT_FDCWD, live.c_str(), RENAME_EXCHANGE))},
        {"exchange to",
         errno_of(::renameat2(AT_FDCWD, live.c_str(), AT_FDCWD, hidden.c_str(), RENAME_EXCHANGE))},
    };
    for (const auto& result : results) {
        CHECK_MESSAGE(errno_name(result.error) == "ENOENT", result.call << " of " << hidden);
    }
}

// What would make it does not.
void check_cannot_be_made(const std::string& hidden, const std::string& live) {
    const Outcome results[] = {
        {"create", errno_of(::open(hidden.c_str(), O_CREAT | O_WRONLY, 0644))},
        {"create exclusively", errno_of(::open(hidden.c_str(), O_CREAT | O_EXCL | O_WRONLY, 0644))},
        {"mkdir", errno_of(::mkdir(hidden.c_str(), 0755))},
        {"mknod", errno_of(::mknod(hidden.c_str(), S_IFIFO | 0644, 0))},
        {"symlink", errno_of(::symlink("x", hidden.c_str()))},
        {"link to", errno_of(::link(live.c_str(), hidden.c_str()))},
        {"rename to", errno_of(::rename(live.c_str(), hidden.c_str()))},
        {"rename to without replacing",
         errno_of(::renameat2(AT_FDCWD, live.c_str(), AT_FDCWD, hidden.c_str(), RENAME_NOREPLACE))},
    };
    for (const auto& result : results) {
        CHECK_MESSAGE(result.error != 0, result.call << " of " << hidden << " succeeded");
        CHECK_MESSAGE(result.error != EIO, result.call << " of " << hidden << " failed with EIO");
    }
}

void no_call_reaches_it(FilesystemType type) {
    Pair& pair = shared_pair(type);
    pair.delete_all_snapshots();
    const std::string share = pair.share(), live = share + "/live";
    make::file(live, "live");
    make::directory(share + "/sub");
    make::directory(share + "/moved");
    // It is there, below the mount.
    struct stat status {};
    REQUIRE(::fstatat(pair.folder_below(), ".umbra", &status, 0) == 0);
    const Tree below = capture("/proc/self/fd/" + std::to_string(pair.folder_below()) + "/.umbra",
                               {false, true, false, {"diff"}});

    for (const char* way :
         {"/.umbra", "/sub/../.umbra", "/./.umbra", "//.umbra", "/.snapshots/../.umbra"}) {
        check_absent(share + way, live);
        check_cannot_be_made(share + way, live);
    }
    // What is below it cannot even be named.
    for (const char* way :
         {"/.umbra/volume.toml", "/.umbra/limbo", "/.umbra/diff", "/.umbra/new"}) {
        check_absent(share + way, live);
        CHECK(errno_name(errno_of(::open((share + way).c_str(), O_CREAT | O_WRONLY, 0644))) ==
              "ENOENT");
        CHECK(errno_name(errno_of(::mkdir((share + way).c_str(), 0755))) == "ENOENT");
        CHECK(errno_name(errno_of(::rename(live.c_str(), (share + way).c_str()))) == "ENOENT");
    }
    const int root = ::open(share.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int sub = ::open((share + "/sub").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    CHECK(errno_name(errno_of(::openat(root, ".umbra", O_RDONLY))) == "ENOENT");
    CHECK(errno_name(errno_of(::openat(sub, "../.umbra", O_RDONLY))) == "ENOENT");
    CHECK(errno_name(errno_of(::openat(sub, "../.umbra/volume.toml", O_RDONLY))) == "ENOENT");
    ::close(root);
    ::close(sub);
    // A directory of that name cannot come to the root either.
    make::directory(share + "/sub/.umbra");
    CHECK(errno_of(::rename((share + "/sub/.umbra").c_str(), (share + "/.umbra").c_str())) != 0);
    CHECK(errno_of(::renameat2(AT_FDCWD, (share + "/sub/.umbra").c_str(), AT_FDCWD,
                               (share + "/.umbra").c_str(), RENAME_EXCHANGE)) != 0);

    CHECK(contents_of(live) == "live");
    const Tree below_after =
        capture("/proc/self/fd/" + std::to_string(pair.folder_below()) + "/.umbra",
                {false, true, false, {"diff"}});
    CHECK(differences(below, below_after) == kNoDifferences);
    for (const char* name : {"/live", "/sub", "/moved"}) remove_tree(share + name);
}

// An NFS client could send a handle that it made up.
void no_handle_reaches_it(FilesystemType type) {
    Pair& pair = shared_pair(type);
    const std::string share = pair.share();
    struct Handle {
        file_handle head;
        uint32_t words[MAX_HANDLE_SZ / 4];
    };
    const auto handle_of = [](int directory, const char* name) {
        Handle handle{};
        handle.head.handle_bytes = MAX_HANDLE_SZ;
        int mount_id = 0;
        REQUIRE(::name_to_handle_at(directory, name, &handle.head, &mount_id, 0) == 0);
        return handle;
    };
    const int root = ::open(share.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    make::file(share + "/known", "known");
    // What a handle of the mount looks like: the node id in two words, and the generation.
    Handle handle = handle_of(root, "known");
    REQUIRE(handle.head.handle_bytes == 12);
    const int known = ::open_by_handle_at(root, &handle.head, O_RDONLY);
    CHECK(known >= 0);
    ::close(known);
    for (const char* hidden : {".umbra", ".umbra/volume.toml", ".umbra/limbo", ".umbra/diff"}) {
        struct stat status {};
        REQUIRE(::fstatat(pair.folder_below(), hidden, &status, 0) == 0);
        const Handle below = handle_of(pair.folder_below(), hidden);
        // The generation is the second or third word of the underlying handle, by type.
        for (const uint32_t generation : {below.words[1], below.words[2], below.words[3], 0u}) {
            handle.words[0] = static_cast<uint32_t>(status.st_ino >> 32);
            handle.words[1] = static_cast<uint32_t>(status.st_ino);
            handle.words[2] = generation;
            const int fd = ::open_by_handle_at(root, &handle.head, O_PATH);
            CHECK_MESSAGE(fd == -1, hidden << " was opened by a made-up handle");
            if (fd >= 0) ::close(fd);
        }
    }
    ::close(root);
    CHECK(::unlink((share + "/known").c_str()) == 0);
}

}  // namespace

UMBRA_ON_EACH_FILESYSTEM("no call reaches .umbra", no_call_reaches_it)
UMBRA_ON_EACH_FILESYSTEM("no made-up handle reaches .umbra", no_handle_reaches_it)

}  // namespace umbra::test
