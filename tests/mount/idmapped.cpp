// Idmapped mounts (mount_setattr(2), MOUNT_ATTR_IDMAP) show other owners than the filesystem has.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <optional>
#include <string>

#include "tests/mount/make.h"
#include "tests/support/ram_image.h"
#include "tests/support/scratch.h"
#include "tests/support/skip.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;

// A user namespace in which user 0 is 100000 outside; -1 where there can be none.
int mapped_namespace() {
    int ready[2];
    if (::pipe2(ready, O_CLOEXEC) != 0) return -1;
    const pid_t child = ::fork();
    if (child == 0) {
        const char answer = ::unshare(CLONE_NEWUSER) == 0 ? 'y' : 'n';
        static_cast<void>(!::write(ready[1], &answer, 1));
        for (;;) ::pause();
    }
    char answer = 'n';
    static_cast<void>(!::read(ready[0], &answer, 1));
    ::close(ready[0]);
    ::close(ready[1]);
    const std::string process = "/proc/" + std::to_string(child);
    int descriptor = -1;
    if (answer == 'y') {
        std::ofstream(process + "/uid_map") << "0 100000 10000";
        std::ofstream(process + "/gid_map") << "0 100000 10000";
        descriptor = ::open((process + "/ns/user").c_str(), O_RDONLY | O_CLOEXEC);
    }
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    return descriptor;
}

// Mounts `from` at `to` with changed owners; 0 or errno.
int mount_mapped(const fs::path& from, const fs::path& to, int user_namespace) {
    const int tree = static_cast<int>(
        ::syscall(SYS_open_tree, AT_FDCWD, from.c_str(), OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
    if (tree < 0) return errno;
    struct mount_attr attributes {};
    attributes.attr_set = MOUNT_ATTR_IDMAP;
    attributes.userns_fd = static_cast<std::uint64_t>(user_namespace);
    int code = 0;
    if (::syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attributes, sizeof attributes) !=
            0 ||
        ::syscall(SYS_move_mount, tree, "", AT_FDCWD, to.c_str(), MOVE_MOUNT_F_EMPTY_PATH) != 0)
        code = errno;
    ::close(tree);
    return code;
}

}  // namespace

TEST_SUITE("idmapped mounts") {
    TEST_CASE("a share cannot be mounted idmapped, nor be what is") {
        UMBRA_NEEDS_MOUNTS();
        const int user_namespace = mapped_namespace();
        if (user_namespace < 0) {
            report_skip("user namespaces cannot be made");
            return;
        }
        const RamImage image(FilesystemType::Ext4, 128);
        make::directory((image.path() / "share").string());
        make::directory((image.path() / "place").string());
        const TempDir mapped("mapped");
        {
            const UmbraMount mounted(image.path() / "share");
            // The kernel does not let it: FUSE filesystems have to ask for it, and Umbra does not.
            CHECK(errno_name(mount_mapped(mounted.path(), image.path() / "place",
                                          user_namespace)) == "EINVAL");
        }
        REQUIRE(mount_mapped(image.path(), mapped.path(), user_namespace) == 0);
        struct stat status {};
        REQUIRE(::stat((mapped.path() / "share").c_str(), &status) == 0);
        REQUIRE(status.st_uid != kOwnerId);
        for (const char* command : {"mount", "init"}) {
            const char* folder = std::string(command) == "init" ? "place" : "share";
            const auto result = umbra({command, (mapped.path() / folder).string()});
            CHECK(result.exit_code == 4);
            CHECK_MESSAGE(result.err.find("idmapped mount") != std::string::npos, result.err);
        }
        CHECK_FALSE(fs::exists(image.path() / "place/.umbra"));
        ::umount2(mapped.path().c_str(), MNT_DETACH);
        ::close(user_namespace);
    }
}

}  // namespace umbra::test
