// What is changed in a share's folder while it is not mounted is found and said; what was changed
// through the mount is never taken for it.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

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

// Once everything has been looked at.
json changed_outside(const UmbraMount& mount) {
    for (int attempt = 0; attempt < 3000; ++attempt) {
        const auto result = umbra({"status", mount.share().string(), "--json"});
        REQUIRE(result.exit_code == 0);
        const json found = json::parse(result.out).at("changed_outside");
        if (found.at("complete") == true) return found;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    FAIL("the search does not end");
    return {};
}

std::vector<std::string> paths_in(const json& found) {
    std::vector<std::string> paths;
    for (const auto& example : found.at("examples")) paths.push_back(example.at("path"));
    std::sort(paths.begin(), paths.end());
    return paths;
}

std::string last_event(const UmbraMount& mount, const std::string& name) {
    const auto result = umbra({"events", mount.share().string(), "--json"});
    REQUIRE(result.exit_code == 0);
    std::string message;
    for (const auto& event : json::parse(result.out))
        if (event.at("name") == name) message = event.at("message");
    return message;
}

// Longer than a tick of the clock that change times are taken from.
void let_time_pass() { std::this_thread::sleep_for(std::chrono::milliseconds(50)); }

void make_tree(const fs::path& root) {
    for (const char* name : {"a/deep/er", "b", "c"}) fs::create_directories(root / name);
    for (const char* name : {"a/one", "a/deep/two", "a/deep/er/three", "b/four", "c/five"})
        write_file(root / name, name);
}

}  // namespace

TEST_SUITE("outside_changes") {
    TEST_CASE("changes behind the mount are found, each of them, and nothing else") {
        UMBRA_NEEDS_MOUNTS();
        for (const FilesystemType type : all_filesystem_types()) {
            CAPTURE(to_string(type));
            RamImage image(type);
            UmbraMount mount(make_folder(image));
            make_tree(mount.path());
            const std::string token = mount.create_snapshot();
            write_file(mount.path() / "a" / "one", "changed through the mount");
            CHECK(changed_outside(mount).at("count") == 0);
            mount.remount();
            CHECK(changed_outside(mount).at("count") == 0);  // nobody has touched it

            write_file(mount.path() / "b" / "new", "at the last moment");
            mount.unmount();
            let_time_pass();
            write_file(mount.share() / "a" / "deep" / "two", "behind");
            fs::remove(mount.share() / "a" / "deep" / "er" / "three");
            ::chmod((mount.share() / "c").c_str(), 0700);
            let_time_pass();
            mount.mount();
            const json found = changed_outside(mount);
            CHECK(found.at("count") == 3);
            CHECK(paths_in(found) == std::vector<std::string>{"a/deep/er", "a/deep/two", "c"});
            const std::string message = last_event(mount, "changed-outside");
            CHECK(message.starts_with("3 files and folders of share"));
            CHECK(message.find("a/deep/two") != std::string::npos);
            // Nothing of the history is discarded.
            CHECK(mount.snapshots().size() == 1);
            CHECK(contents_of(mount.snapshot_path(token) / "a" / "one") == "a/one");
            mount.remount();
            CHECK(changed_outside(mount).at("count") == 0);  // said once
        }
    }

    TEST_CASE(
        "after a kill what was written through the mount is not taken for a change behind it") {
        UMBRA_NEEDS_MOUNTS();
        RamImage image(FilesystemType::Ext4);
        UmbraMount mount(make_folder(image));
        make_tree(mount.path());
        mount.create_snapshot();
        // Small ones, whose last are repeated from the log when it is mounted again.
        for (int round = 0; round < 5; ++round) {
            for (const char* name : {"a/one", "a/deep/two", "b/four"})
                write_file(mount.path() / name, "round " + std::to_string(round));
            mount.kill_daemon();
            mount.remount();
            CHECK(changed_outside(mount).at("count") == 0);
            mount.create_snapshot();
        }
    }

    TEST_CASE("what changes before the search comes by is found all the same") {
        UMBRA_NEEDS_MOUNTS();
        RamImage image(FilesystemType::Ext4);
        UmbraMount mount(make_folder(image));
        for (int i = 0; i < 300; ++i) {
            const fs::path folder = mount.path() / std::to_string(i);
            fs::create_directories(folder);
            for (int j = 0; j < 30; ++j) write_file(folder / std::to_string(j), "x");
        }
        mount.create_snapshot();
        mount.unmount();
        let_time_pass();
        for (int i = 0; i < 300; ++i) write_file(mount.share() / std::to_string(i) / "7", "behind");
        let_time_pass();
        mount.mount();
        for (int i = 299; i >= 0; --i)
            write_file(mount.path() / std::to_string(i) / "7", "through");
        CHECK(changed_outside(mount).at("count") == 300);
    }
}

}  // namespace umbra::test
