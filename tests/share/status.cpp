// umbra status: how a share is, at a glance, for people and for programs.
#include <doctest/doctest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>

#include "snapstore/unique_fd.h"
#include "tests/support/scratch.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"

namespace umbra::test {
namespace {

using nlohmann::json;

json json_of(std::vector<std::string> arguments, const ProcessOptions& options = {}) {
    arguments.insert(arguments.begin(), umbra_binary());
    arguments.emplace_back("--json");
    return json::parse(must_run(arguments, options));
}

UniqueFd connected(const std::string& uuid) {
    struct sockaddr_un address {};
    address.sun_family = AF_UNIX;
    const std::string path = "/run/umbra/" + uuid + ".sock";
    REQUIRE(path.size() < sizeof address.sun_path);
    std::memcpy(address.sun_path, path.data(), path.size());
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::connect(fd.get(), reinterpret_cast<struct sockaddr*>(&address), sizeof address) == 0);
    return fd;
}

// What `umbra status` shows in the line of that name.
std::string line(const std::string& text, const std::string& name) {
    const std::size_t at = ("\n" + text).find("\n" + name + " ");
    if (at == std::string::npos) return "(no line)";
    const std::string rest = text.substr(at + name.size(), text.find('\n', at) - at - name.size());
    return rest.substr(rest.find_first_not_of(' '));
}

// Forecasts need a second of growth.
json status_with_forecast(Share& share) {
    json status;
    for (int i = 0; i < 300; ++i) {
        write_file(share.path("grows"), std::string(1 << 20, static_cast<char>('a' + i % 26)));
        share.mount().create_snapshot();
        status = json_of({"status", share.path().string()});
        if (status.at("space").at("full_in_seconds").is_number()) break;
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
    return status;
}

TEST_SUITE_BEGIN("status");

TEST_CASE("status shows a share at a glance") {
    UMBRA_NEEDS_MOUNTS();
    const auto began = std::chrono::system_clock::now() - std::chrono::seconds(2);
    Share share(FilesystemType::Ext4);
    const std::string path = share.path().string();
    must_run({umbra_binary(), "storage", "resize", path, "--max-size", "400M"});
    const json status = status_with_forecast(share);
    const std::string text = must_run({umbra_binary(), "status", path});

    // Mounted since: as `date` reads it.
    const auto since = std::stoll(
        must_run({"/bin/date", "-d", status.at("mounted_since").get<std::string>(), "+%s"}));
    CHECK(since >= std::chrono::system_clock::to_time_t(began));
    CHECK(since <= std::time(nullptr));
    CHECK(line(text, "mounted").find("at " + path + " since ") == 0);
    CHECK(line(text, "mounted").find("process " + std::to_string(share.mount().daemon_pid())) !=
          std::string::npos);

    const auto snapshots = share.mount().snapshots();
    CHECK(status.at("snapshots") == snapshots.size());
    CHECK(status.at("newest") == snapshots.back().token);
    CHECK(line(text, "snapshots") ==
          std::to_string(snapshots.size()) + ", newest " + snapshots.back().token);

    const json& space = status.at("space");
    CHECK(space.at("limit_bytes") == 400 << 20);
    CHECK(space.at("used_bytes").get<std::uint64_t>() > 1 << 20);
    CHECK(space.at("used_percent").is_number());
    CHECK(space.at("growth_bytes_per_second").get<std::int64_t>() > 0);
    CHECK(space.at("full_in_seconds").is_number());
    CHECK(line(text, "history").find(" of 400.0 MiB; when full: evict") != std::string::npos);
    CHECK(line(text, "filled").find(" %; full in ") != std::string::npos);

    // The event of the last snapshot.
    const json event = status.at("last_event");
    REQUIRE(event.is_object());
    CHECK(event == json_of({"events", path}).back());
    CHECK(event.at("name") == "snapshot-created");
    CHECK(event.at("message").get<std::string>().find(snapshots.back().token) != std::string::npos);
    CHECK(line(text, "last event").find("snapshot-created: ") != std::string::npos);
    CHECK(line(text, "last event").find(snapshots.back().token) != std::string::npos);
}

TEST_CASE("status counts the clients of the control socket") {
    UMBRA_NEEDS_MOUNTS();
    Share share(FilesystemType::Ext4);
    const std::string path = share.path().string();
    const json alone = json_of({"status", path});
    CHECK(alone.at("clients") == 1);  // who asks
    {
        const UniqueFd one = connected(alone.at("uuid")), two = connected(alone.at("uuid"));
        CHECK(json_of({"status", path}).at("clients") == 3);
        CHECK(line(must_run({umbra_binary(), "status", path}), "clients").find("3 ") == 0);
    }
    json later;
    for (int i = 0; i < 600 && (i == 0 || later.at("clients") != 1); ++i) {
        later = json_of({"status", path});
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
    CHECK(later.at("clients") == 1);
}

TEST_CASE("strangers see how a share is, and no event") {
    UMBRA_NEEDS_MOUNTS();
    Share share(FilesystemType::Ext4);
    const std::string path = share.path().string();
    const std::string token = share.mount().create_snapshot();
    ProcessOptions nobody;
    nobody.uid = 65534;
    nobody.gid = 65534;
    const json status = json_of({"status", path}, nobody);
    CHECK(status.at("newest") == token);
    CHECK(status.at("last_event").is_null());
    const std::string text = must_run({umbra_binary(), "status", path}, nobody);
    CHECK(line(text, "last event") == "(no line)");
    CHECK(json_of({"status", path}).at("last_event").is_object());

    // Also of a share that is not mounted.
    share.mount().unmount();
    const json unmounted = json_of({"status", path});
    CHECK(unmounted.at("mounted") == false);
    CHECK(unmounted.value("clients", json()).is_null());
    CHECK(unmounted.at("last_event") == json_of({"events", path}).back());
    share.mount().mount();
}

TEST_SUITE_END();

}  // namespace
}  // namespace umbra::test
