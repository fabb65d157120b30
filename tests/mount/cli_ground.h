// What the tests of the commands begin with: a folder with a few files, and short ways to call
// umbra.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/ram_image.h"
#include "tests/support/share.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {

namespace fs = std::filesystem;
using nlohmann::json;
using Arguments = std::vector<std::string>;

constexpr uid_t kOwner = 1500, kStranger = 1777;

// What it prints; an exception where it fails.
std::string must_umbra(Arguments arguments, const ProcessOptions& options = {});
json json_of(Arguments arguments, const ProcessOptions& options = {});  // with --json
ProcessOptions as(uid_t uid);

// Half a minute at most; whether it became so.
bool wait_until(const std::function<bool()>& condition);
// Is an Umbra mounted there, by /proc/self/mountinfo?
bool mounted_at(const fs::path& place);

struct CliGround {
    RamImage image{FilesystemType::Ext4, 96};
    fs::path root = image.path();
    fs::path share = root / "share";
    std::string name = share.string();

    CliGround();
    void change() const;  // a bit of everything
};

// Runs the check once on the mounted share and once after unmounting it.
void mounted_and_not(UmbraMount& mount, const std::function<void()>& check);

}  // namespace umbra::test
