// Events: the event log, the system's log, the command, following.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "snapstore/unique_fd.h"
#include "tests/support/process.h"
#include "tests/support/ram_image.h"
#include "tests/support/scratch.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string must_umbra(std::vector<std::string> arguments, const ProcessOptions& options = {}) {
    arguments.insert(arguments.begin(), umbra_binary());
    return must_run(arguments, options);
}

json events_of(const fs::path& share, int after = 0) {
    return json::parse(
        must_umbra({"events", share.string(), "--json", "--after", std::to_string(after)}));
}

std::vector<std::string> names_of(const json& events) {
    std::vector<std::string> names;
    for (const auto& event : events) names.push_back(event.at("name"));
    return names;
}

std::string text_of(const fs::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

bool wait_until(const std::function<bool()>& condition) {
    for (int attempt = 0; attempt < 3000; ++attempt) {
        if (condition()) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
}

// The system's log as this process and its children see it.
class SystemLog {
   public:
    SystemLog() : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
        struct sockaddr_un address {};
        address.sun_family = AF_UNIX;
        const std::string place = (directory_.path() / "log").string();
        place.copy(address.sun_path, sizeof address.sun_path - 1);
        REQUIRE(::bind(socket_.get(), reinterpret_cast<struct sockaddr*>(&address),
                       sizeof address) == 0);
        if (!fs::exists("/dev/log")) made_ = ::close(::creat("/dev/log", 0666)) == 0;
        REQUIRE(::mount(place.c_str(), "/dev/log", nullptr, MS_BIND, nullptr) == 0);
    }
    ~SystemLog() {
        ::umount2("/dev/log", MNT_DETACH);
        if (made_) ::unlink("/dev/log");
    }

    // Everything said so far.
    const std::string& text() {
        char line[8192];
        for (ssize_t count; (count = ::recv(socket_.get(), line, sizeof line, 0)) > 0;)
            text_.append(line, static_cast<std::size_t>(count)).append("\n");
        return text_;
    }

   private:
    TempDir directory_;
    UniqueFd socket_;
    bool made_ = false;
    std::string text_;
};

}  // namespace

TEST_SUITE("events") {
    TEST_CASE("what happens is listed, mounted or not, and in no other order") {
        UMBRA_NEEDS_MOUNTS();
        RamImage image(FilesystemType::Ext4, 96);
        UmbraMount mount(make_folder(image));
        const std::string share = mount.share().string();
        const std::string token = mount.create_snapshot("first");
        must_umbra({"snapshot", "hold", share, "first", "--reason", "audit"});
        must_umbra({"snapshot", "release", share, "first"});
        mount.unmount();
        must_umbra({"snapshot", "delete", share, "first"});
        const json unmounted = events_of(share);
        mount.mount();
        const json mounted = events_of(share);
        CHECK(names_of(mounted) == std::vector<std::string>{"snapshot-created", "snapshot-held",
                                                            "snapshot-released",
                                                            "snapshot-deleted"});
        CHECK(mounted == unmounted);
        std::int64_t last = 0;
        for (const auto& event : mounted) {
            CHECK(event.at("sequence").get<std::int64_t>() > last);
            last = event.at("sequence");
            CHECK(event.at("message").get<std::string>().find(token) != std::string::npos);
        }
        CHECK(mounted[0].at("number") == 101);
        CHECK(mounted[0].at("severity") == "information");
        CHECK(events_of(share, static_cast<int>(last)).empty());
        const std::string lines = must_umbra({"events", share});
        CHECK(lines.find("101 snapshot-created: snapshot " + token) != std::string::npos);
        ProcessOptions stranger;
        stranger.uid = stranger.gid = 1777;
        CHECK(umbra({"events", share}, stranger).exit_code == 4);
    }

    TEST_CASE("the event log stays small, whatever happens") {
        UMBRA_NEEDS_MOUNTS();
        RamImage image(FilesystemType::Ext4, 96);
        UmbraMount mount(make_folder(image));
        mount.unmount();
        const fs::path log = mount.share() / ".umbra" / "events.jsonl";
        {
            // Somebody's line, a torn one, and more than the bound.
            std::ofstream file(log, std::ios::app);
            for (int i = 1; i <= 6000; ++i) {
                file << json{{"sequence", i},
                             {"time", 1},
                             {"number", 101},
                             {"name", "snapshot-created"},
                             {"message", std::string(60, 'x')}}
                            .dump()
                     << "\n";
            }
            file << "nonsense\n{\"sequence\": 7000, \"na";
        }
        must_umbra({"snapshot", "create", mount.share().string()});
        must_umbra({"snapshot", "create", mount.share().string()});
        const json events = events_of(mount.share());
        REQUIRE(events.size() == 6002);
        CHECK(events.back().at("sequence") == 6002);
        CHECK(fs::file_size(log) < 4096);
        CHECK(fs::exists(mount.share() / ".umbra" / "events.1.jsonl"));
        mount.mount();
    }

    TEST_CASE("every event goes to the system's log") {
        UMBRA_NEEDS_MOUNTS();
        SystemLog log;
        RamImage image(FilesystemType::Ext4, 96);
        UmbraMount mount(make_folder(image));
        const std::string token = mount.create_snapshot();
        CHECK(wait_until([&] {
            return log.text().find("event 101 snapshot-created: snapshot " + token) !=
                   std::string::npos;
        }));
        mount.unmount();
        must_umbra({"snapshot", "delete", mount.share().string(), token});
        CHECK(log.text().find("event 102 snapshot-deleted: snapshot " + token) !=
              std::string::npos);
        mount.mount();
    }

    TEST_CASE("a command is run for every event, and its failure is one that it is not run for") {
        UMBRA_NEEDS_MOUNTS();
        RamImage image(FilesystemType::Ext4, 96);
        UmbraMount mount(make_folder(image));
        const std::string share = mount.share().string();
        const fs::path out = image.path() / "told";
        const std::string command =
            "echo \"$UMBRA_EVENT_NUMBER $UMBRA_EVENT_NAME "
            "$UMBRA_EVENT_SEVERITY $UMBRA_SHARE: $UMBRA_EVENT_MESSAGE\" >>" +
            out.string();
        must_umbra({"set", share, "on-event", command});
        CHECK(must_umbra({"set", share, "on-event"}) == "on-event = " + command + "\n");
        CHECK(must_umbra({"set", share}) == "on-event = " + command +
                                                "\nshare-view-max = 512\nsnapdir = root\n"
                                                "snapshot-access = as-then\n");
        const std::string token = mount.create_snapshot("a 'label' $(with) `signs`");
        const std::string expected = "101 snapshot-created information " + share + ": snapshot " +
                                     token + " (a 'label' $(with) `signs`) is taken\n";
        CHECK(wait_until([&] { return text_of(out) == expected; }));
        mount.remount();  // the setting stays
        mount.create_snapshot();
        CHECK(wait_until([&] {
            return text_of(out).starts_with(expected + "101 snapshot-created information");
        }));
        must_umbra({"set", share, "on-event", "exit 7"});
        mount.create_snapshot();
        CHECK(wait_until([&] {
            const auto names = names_of(events_of(share));
            return names.back() == "event-command-failed";
        }));
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
        const json events = events_of(share);
        CHECK(events.size() == 4);  // it is not run for its own failure
        CHECK(events.back().at("message").get<std::string>().find("exit status 7") !=
              std::string::npos);
        must_umbra({"set", share, "on-event", ""});
        const std::string before = text_of(out);
        mount.create_snapshot();
        mount.unmount();
        must_umbra({"set", share, "on-event", command});
        must_umbra({"snapshot", "create", share});  // by the command line itself, not mounted
        CHECK(text_of(out) != before);
        mount.mount();
        ProcessOptions stranger;
        stranger.uid = stranger.gid = 1777;
        CHECK(umbra({"set", share, "on-event", "true"}, stranger).exit_code == 4);
        CHECK(umbra({"set", share, "on-event", std::string(1025, 'x')}).exit_code == 2);
        CHECK(umbra({"set", share, "on-event", "two\nlines"}).exit_code == 2);
        CHECK(umbra({"set", share, "nothing", "x"}).exit_code == 2);
    }

    TEST_CASE("a command that hangs holds up nobody, and is killed when the share is unmounted") {
        UMBRA_NEEDS_MOUNTS();
        RamImage image(FilesystemType::Ext4, 96);
        UmbraMount mount(make_folder(image));
        const fs::path pid_file = image.path() / "pid";
        must_umbra({"set", mount.share().string(), "on-event",
                    "echo $$ >" + pid_file.string() + "; sleep 1000"});
        mount.create_snapshot();
        REQUIRE(wait_until([&] { return !text_of(pid_file).empty(); }));
        mount.create_snapshot();
        mount.unmount();
        CHECK_FALSE(fs::exists("/proc/" + trim_end(text_of(pid_file))));
        mount.mount();
    }

    TEST_CASE("following goes on through unmounting and mounting") {
        UMBRA_NEEDS_MOUNTS();
        RamImage image(FilesystemType::Ext4, 96);
        UmbraMount mount(make_folder(image));
        const std::string share = mount.share().string();
        const fs::path out = image.path() / "followed";
        BackgroundProcess follower(
            {"sh", "-c",
             "exec " + umbra_binary() + " events " + share + " --follow --json >" + out.string()});
        const auto lines = [&] {
            std::vector<std::string> names;
            std::ifstream file(out);
            for (std::string line; std::getline(file, line);)
                names.push_back(json::parse(line).at("name"));
            return names;
        };
        mount.create_snapshot("one");
        CHECK(wait_until([&] { return lines().size() == 1; }));
        mount.unmount();
        must_umbra({"snapshot", "delete", share, "one"});
        mount.mount();
        mount.create_snapshot("two");
        const std::vector<std::string> expected{"snapshot-created", "snapshot-deleted",
                                                "snapshot-created"};
        CHECK(wait_until([&] { return lines().size() >= 3; }));
        CHECK(lines() == expected);
    }
}

}  // namespace umbra::test
