#include "tests/mount/cli_ground.h"

#include <doctest/doctest.h>

#include <chrono>
#include <fstream>
#include <thread>

namespace umbra::test {

std::string must_umbra(Arguments arguments, const ProcessOptions& options) {
    arguments.insert(arguments.begin(), umbra_binary());
    return must_run(arguments, options);
}

json json_of(Arguments arguments, const ProcessOptions& options) {
    arguments.push_back("--json");
    return json::parse(must_umbra(std::move(arguments), options));
}

ProcessOptions as(uid_t uid) {
    ProcessOptions options;
    options.uid = uid;
    options.gid = uid;
    return options;
}

bool wait_until(const std::function<bool()>& condition) {
    for (int attempt = 0; attempt < 3000; ++attempt) {
        if (condition()) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
}

bool mounted_at(const fs::path& place) {
    std::ifstream table("/proc/self/mountinfo");
    for (std::string line; std::getline(table, line);) {
        if (line.find(" " + place.string() + " ") != std::string::npos &&
            line.find("fuse.umbra") != std::string::npos)
            return true;
    }
    return false;
}

CliGround::CliGround() {
    fs::create_directories(share / "docs");
    write_file(share / "docs" / "report", "first version");
    write_file(share / "docs" / "gone", "to be deleted");
    write_file(share / "docs" / "moved", "to be renamed");
    write_file(share / "same", "never changed");
}

void CliGround::change() const {
    write_file(share / "docs" / "report", "second, longer version");
    fs::remove(share / "docs" / "gone");
    fs::rename(share / "docs" / "moved", share / "docs" / "renamed");
    fs::permissions(share / "same", fs::perms::owner_read);
    write_file(share / "docs" / "added", "new");
}

void mounted_and_not(UmbraMount& mount, const std::function<void()>& check) {
    {
        INFO("mounted");
        check();
    }
    mount.unmount();
    INFO("not mounted");
    check();
    mount.mount();
}

}  // namespace umbra::test
