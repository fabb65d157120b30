// The daemon behind a mount: how it begins and ends, and what its socket makes of nonsense.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/mount/cli_ground.h"
#include "tests/support/process.h"
#include "tests/support/scratch.h"
#include "tests/support/skip.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {

TEST_SUITE("daemon") {
    TEST_CASE("a mount elsewhere is known by both its places, and by paths in its snapshots") {
        UMBRA_NEEDS_MOUNTS();
        CliGround ground;
        const fs::path place = ground.root / "a place";
        fs::create_directory(place);
        must_umbra({"init", ground.name});
        const UmbraMount mount(ground.share, {place, {}, {}});
        const std::string token = trim_end(must_umbra({"snapshot", "create", place.string()}));
        for (const fs::path& path :
             {ground.share, place, place / "docs", mount.snapshot_path(token) / "docs"}) {
            CHECK(json_of({"status", path.string()}).at("mountpoint") == place.string());
        }
        write_file(place / "docs" / "report", "changed");
        const json versions =
            json_of({"versions", (mount.snapshot_path(token) / "docs" / "report").string()});
        CHECK(versions == json_of({"versions", (ground.share / "docs" / "report").string()}));
        must_umbra({"restore", (ground.share / "docs" / "report").string(), "--from", token});
        CHECK(contents_of(place / "docs" / "report") == "first version");
    }

    TEST_CASE("umbra umount returns when the volume is closed; it can be opened at once") {
        UMBRA_NEEDS_MOUNTS();
        CliGround ground;
        UmbraMount mount(ground.share);
        for (int round = 0; round < 3; ++round) {
            const pid_t pid = mount.daemon_pid();
            must_umbra({"umount", (ground.share / "docs").string()});
            CHECK_FALSE(process_alive(pid));
            CHECK_FALSE(mounted_at(ground.share));
            must_umbra({"mount", ground.name});
        }
    }

    TEST_CASE("umbra umount does not wait for another mount namespace; SIGTERM ends serving it") {
        UMBRA_NEEDS_MOUNTS();
        CliGround ground;
        must_umbra({"mount", ground.name});
        const auto pid = json_of({"status", ground.name}).at("pid").get<pid_t>();
        // Has a copy of every mount, and says so.
        const fs::path ready = scratch_directory() / "holder-ready";
        fs::remove(ready);
        BackgroundProcess holder({"unshare", "--mount", "--propagation", "private", "sh", "-c",
                                  "touch " + ready.string() + "; exec sleep 600"});
        REQUIRE(wait_until([&] { return fs::exists(ready); }));
        for (int attempt = 0; attempt < 2; ++attempt) {
            CAPTURE(attempt);
            const ProcessResult held = umbra({"umount", ground.name});
            CHECK(held.exit_code == 1);
            CHECK(held.out == "");
            CHECK(held.err.find("another mount namespace") != std::string::npos);
            CHECK(held.err.find(std::to_string(pid)) != std::string::npos);
            CHECK_FALSE(mounted_at(ground.share));
            CHECK(process_alive(pid));
        }
        SUBCASE("the other namespace ends") {
            holder.send(SIGKILL);
            holder.wait();
        }
        SUBCASE("the daemon is told to end") { REQUIRE(::kill(pid, SIGTERM) == 0); }
        CHECK(wait_until([&] { return !process_alive(pid); }));
        if (holder.running()) {
            holder.send(SIGKILL);
            holder.wait();
        }
        CHECK(json_of({"snapshot", "list", ground.name}).empty());
    }

    TEST_CASE("plain umount ends the daemon, which closes the volume") {
        UMBRA_NEEDS_MOUNTS();
        CliGround ground;
        must_umbra({"mount", ground.name});
        const json status = json_of({"status", ground.name});
        const auto pid = status.at("pid").get<pid_t>();
        REQUIRE(::umount2(ground.share.c_str(), 0) == 0);
        CHECK(wait_until([&] { return !process_alive(pid); }));
        CHECK_FALSE(fs::exists("/run/umbra/" + status.at("uuid").get<std::string>() + ".sock"));
        CHECK_FALSE(fs::exists("/run/umbra/" + status.at("uuid").get<std::string>() + ".json"));
        CHECK(json_of({"snapshot", "list", ground.name}).empty());
    }

    TEST_CASE("SIGTERM unmounts, also while something is open in it") {
        UMBRA_NEEDS_MOUNTS();
        for (const bool busy : {false, true}) {
            CAPTURE(busy);
            CliGround ground;
            must_umbra({"mount", ground.name});
            const auto pid = json_of({"status", ground.name}).at("pid").get<pid_t>();
            std::ifstream open;
            if (busy) open.open(ground.share / "same");
            REQUIRE(::kill(pid, SIGTERM) == 0);
            CHECK(wait_until([&] { return !process_alive(pid); }));
            CHECK_FALSE(mounted_at(ground.share));
            CHECK(json_of({"snapshot", "list", ground.name}).empty());
        }
    }

    TEST_CASE("after a kill: the state is told, mounting again clears the place, so does umount") {
        UMBRA_NEEDS_MOUNTS();
        CliGround ground;
        const auto mount_and_kill = [&] {
            must_umbra({"mount", ground.name});
            const auto pid = json_of({"status", ground.name}).at("pid").get<pid_t>();
            REQUIRE(::kill(pid, SIGKILL) == 0);
            REQUIRE(wait_until([&] { return !process_alive(pid); }));
        };
        mount_and_kill();
        const ProcessResult told = umbra({"snapshot", "list", ground.name});
        CHECK(told.exit_code == 1);
        CHECK(told.err.find("has died") != std::string::npos);
        const ProcessResult again = umbra({"mount", ground.name});
        CHECK(again.exit_code == 0);
        CHECK(again.err.find("note: detached") != std::string::npos);
        CHECK(contents_of(ground.share / "same") == "never changed");
        must_umbra({"umount", ground.name});
        mount_and_kill();
        must_umbra({"umount", ground.name});
        CHECK_FALSE(mounted_at(ground.share));
        CHECK(contents_of(ground.share / "same") == "never changed");
    }

    TEST_CASE("in the foreground it serves until a signal comes") {
        UMBRA_NEEDS_MOUNTS();
        CliGround ground;
        BackgroundProcess daemon({umbra_binary(), "mount", ground.name, "--foreground"});
        REQUIRE(wait_until([&] { return mounted_at(ground.share); }));
        CHECK(json_of({"status", ground.name}).at("pid") == daemon.pid());
        daemon.send(SIGINT);
        CHECK(daemon.wait() == 0);
        CHECK_FALSE(mounted_at(ground.share));
    }

    TEST_CASE("read-only refuses every change") {
        UMBRA_NEEDS_MOUNTS();
        CliGround ground;
        must_umbra({"init", ground.name});
        must_umbra({"snapshot", "create", ground.name, "--label", "kept"});
        const UmbraMount mount(ground.share, {{}, {"--read-only"}, {}});
        CHECK(::open((ground.share / "same").c_str(), O_WRONLY | O_CLOEXEC) == -1);
        CHECK(errno == EROFS);
        CHECK(umbra({"snapshot", "create", ground.name}).exit_code == 4);
        CHECK(umbra({"snapshot", "delete", ground.name, "kept"}).exit_code == 4);
        CHECK(json_of({"snapshot", "list", ground.name}).size() == 1);
        CHECK(json_of({"status", ground.name}).at("read_only") == true);
    }

    TEST_CASE("nonsense on the control socket does no harm") {
        UMBRA_NEEDS_MOUNTS();
        CliGround ground;
        const UmbraMount mount(ground.share);
        const std::string path = "/run/umbra/" +
                                 json_of({"status", ground.name}).at("uuid").get<std::string>() +
                                 ".sock";
        struct sockaddr_un address {};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
        for (const std::string& nonsense :
             {std::string("\n\n\n"), std::string(200000, '{'),
              std::string("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"versions\"}\n"),
              std::string("\0\xff\n", 3),
              std::string("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"snapshot.hold\",\"params\":{"
                          "\"name\":1}}\n")}) {
            const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
            REQUIRE(::connect(socket, reinterpret_cast<struct sockaddr*>(&address),
                              sizeof address) == 0);
            (void)!::send(socket, nonsense.data(), nonsense.size(), MSG_NOSIGNAL);
            ::close(socket);
        }
        CHECK(json_of({"snapshot", "list", ground.name}).empty());
    }

    TEST_CASE("the shell completes commands, options, and snapshots") {
        UMBRA_NEEDS_MOUNTS();
        const char* source = std::getenv("UMBRA_SOURCE_DIR");
        if (source == nullptr) return report_skip("UMBRA_SOURCE_DIR is not set");
        CliGround ground;
        const UmbraMount mount(ground.share);
        must_umbra({"snapshot", "create", ground.name, "--label", "mylabel"});
        const auto complete = [&](const Arguments& words) {
            std::string line;
            for (const auto& word : words) line += " '" + word + "'";
            return must_run({"bash", "-c",
                             "PATH=\"" + fs::path(umbra_binary()).parent_path().string() +
                                 ":$PATH\"; . '" + source +
                                 "/cli/completion/umbra.bash'; COMP_WORDS=(" + line +
                                 "); COMP_CWORD=" + std::to_string(words.size() - 1) +
                                 "; _umbra; printf '%s\\n' \"${COMPREPLY[@]}\""});
        };
        CHECK(complete({"umbra", "sn"}) == "snapshot\n");
        CHECK(complete({"umbra", "snapshot", "del"}) == "delete\n");
        CHECK(complete({"umbra", "mount", "--fore"}) == "--foreground\n");
        CHECK(complete({"umbra", "snapshot", "delete", ground.name, "my"}) == "mylabel\n");
        CHECK(complete({"umbra", "snap", "diff", ground.name, "@GMT"}).starts_with("@GMT-"));
        CHECK(complete({"umbra", "restore", ground.name, "--from", "my"}) == "mylabel\n");
    }
}

}  // namespace umbra::test
