// The names of the program that mount(8) and umount(8) call, called as they do.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "tests/support/process.h"
#include "tests/support/scratch.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Helpers {
    TempDir directory{"helpers"};
    RamImage image{FilesystemType::Ext4};
    fs::path folder = make_folder(image);

    Helpers() {
        for (const char* name : {"mount.umbra", "mount.fuse.umbra", "umount.fuse.umbra"})
            fs::create_symlink(fs::absolute(umbra_binary()), directory.path() / name);
    }
    ~Helpers() { umbra({"umount", folder.string()}); }

    ProcessResult call(const std::string& name, std::vector<std::string> arguments) const {
        arguments.insert(arguments.begin(), (directory.path() / name).string());
        return run(arguments);
    }
    bool mounted() const {
        return run({"/usr/bin/findmnt", "-n", "-t", "fuse.umbra", folder.string()}).exit_code == 0;
    }
};

TEST_SUITE_BEGIN("mount-helper");

TEST_CASE("what mount(8) passes mounts, and umount(8)'s helper waits for the end") {
    UMBRA_NEEDS_MOUNTS();
    Helpers helpers;
    const std::string folder = helpers.folder.string();
    const std::string options =
        "rw,_netdev,nofail,x-systemd.requires=/srv,comment=text,wait=2,nosuid";
    for (const char* name : {"mount.umbra", "mount.fuse.umbra"}) {
        for (int again = 0; again < 2; ++again) {
            const auto mounted = helpers.call(name, {folder, folder, "-s", "-n", "-o", options});
            REQUIRE_MESSAGE(mounted.exit_code == 0, mounted.err);
            CHECK(helpers.mounted());
            const auto ended = helpers.call("umount.fuse.umbra", {folder});
            REQUIRE_MESSAGE(ended.exit_code == 0, ended.err);
            CHECK_FALSE(helpers.mounted());
        }
    }
    REQUIRE(helpers.call("mount.umbra", {folder, folder, "-o", "ro"}).exit_code == 0);
    CHECK(::access((helpers.folder / "new").c_str(), F_OK) != 0);
    CHECK(run({"/usr/bin/touch", (helpers.folder / "new").string()}).exit_code != 0);
}

// umount(8) calls no helper where it knows no more of a mount than that it is FUSE.
TEST_CASE("a share is mounted again before the daemon of the former mount has ended") {
    UMBRA_NEEDS_MOUNTS();
    Helpers helpers;
    const std::string folder = helpers.folder.string();
    REQUIRE(helpers.call("mount.umbra", {folder, folder}).exit_code == 0);
    const json status = json::parse(must_run({umbra_binary(), "status", folder, "--json"}));
    const auto daemon = status.at("pid").get<pid_t>();
    // It has the volume, and does not come to closing it.
    REQUIRE(::kill(daemon, SIGSTOP) == 0);
    REQUIRE(::umount2(folder.c_str(), 0) == 0);
    ProcessResult again;
    std::thread mounting([&] { again = helpers.call("mount.umbra", {folder, folder}); });
    std::this_thread::sleep_for(std::chrono::seconds(1));
    REQUIRE(::kill(daemon, SIGCONT) == 0);
    mounting.join();
    CHECK_MESSAGE(again.exit_code == 0, again.err);
    CHECK(helpers.mounted());
    // Who finds it mounted does not wait: it stays so.
    TempDir elsewhere("elsewhere");
    const auto refused = helpers.call("mount.umbra", {folder, elsewhere.path().string()});
    CHECK(refused.exit_code == 32);
}

TEST_CASE("a share is mounted as soon as nobody else has its volume open") {
    UMBRA_NEEDS_MOUNTS();
    Helpers helpers;
    const std::string folder = helpers.folder.string();
    must_run({umbra_binary(), "init", folder});
    // As a command does that works on a share which is not mounted, or a daemon that closes it.
    const fs::path held = helpers.directory.path() / "held";
    BackgroundProcess holder({"/usr/bin/flock", folder + "/.umbra/lock", "/bin/sh", "-c",
                              "touch '" + held.string() + "' && exec sleep 2"});
    while (!fs::exists(held)) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const auto mounted = helpers.call("mount.umbra", {folder, folder});
    CHECK_MESSAGE(mounted.exit_code == 0, mounted.err);
    CHECK(holder.wait() == 0);
    CHECK(helpers.mounted());
}

TEST_CASE("what mount(8)'s helpers cannot do they say, with mount(8)'s exit codes") {
    UMBRA_NEEDS_MOUNTS();
    Helpers helpers;
    const std::string folder = helpers.folder.string();
    CHECK(helpers.call("mount.umbra", {folder}).exit_code == 1);
    CHECK(helpers.call("mount.umbra", {folder, folder, "-o", "nonsense"}).exit_code == 1);
    CHECK(helpers.call("mount.umbra", {folder, folder, "-o", "wait=soon"}).exit_code == 1);
    CHECK(helpers.call("mount.umbra", {folder, folder, "-N", "1"}).exit_code == 1);
    CHECK(helpers.call("mount.umbra", {folder + "/missing", folder}).exit_code == 32);
    // Pretending (mount -f) changes nothing.
    CHECK(helpers.call("mount.umbra", {folder, folder, "-f"}).exit_code == 0);
    CHECK_FALSE(helpers.mounted());
    CHECK(helpers.call("umount.fuse.umbra", {folder, "-l"}).exit_code == 1);
    CHECK(helpers.call("umount.fuse.umbra", {folder}).exit_code == 32);
}

TEST_SUITE_END();

}  // namespace
}  // namespace umbra::test
