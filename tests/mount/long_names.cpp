// Names and paths at their limits, and of any bytes, below .snapshots.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <filesystem>
#include <string>
#include <vector>

#include "tests/mount/make.h"
#include "tests/mount/snapshots_suite.h"
#include "tests/support/ram_image.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;

// Of its own, since restores keep snapshots.
struct Ground {
    explicit Ground(FilesystemType type) : image(type) {}

    RamImage image;
    fs::path share = made(image.path() / "share");
    UmbraMount mounted{share};

   private:
    static fs::path made(const fs::path& path) {
        make::directory(path.string());
        return path;
    }
};

void names_of_any_bytes(FilesystemType type) {
    Ground ground(type);
    const fs::path live = ground.share / "bytes";
    make::directory(live.string());
    const std::vector<std::string> names = {std::string(255, 'n'),
                                            "\xff\xfe\x80",
                                            "latin-1 \xe4\xf6\xfc",
                                            "cut \xe2\x82",
                                            "over \xc0\xaf long",
                                            "surrogate \xed\xa0\x80",
                                            "line\nfeed",
                                            "\x01\x7f\x1b[31m",
                                            "quote \" back \\ slash",
                                            std::string(127, '\xe4') + "xx",
                                            " both ends ",
                                            "-rf",
                                            "@GMT-2026.01.01-00.00.00",
                                            std::string(255, '\xff'),
                                            "..."};
    for (const auto& name : names) make::file(live / name, name);
    const std::string token = ground.mounted.create_snapshot();
    const fs::path past = ground.mounted.snapshot_path(token) / "bytes";
    for (const auto& name : names) make::file(live / name, "changed");
    CHECK(::unlink((live / names[1]).c_str()) == 0);
    CHECK(::rename((live / names[0]).c_str(), (live / std::string(255, 'm')).c_str()) == 0);
    std::size_t listed = 0;
    for (const auto& entry : fs::directory_iterator(past)) {
        ++listed;
        CHECK(contents_of(entry.path()) == entry.path().filename().string());
    }
    CHECK(listed == names.size());
    for (const auto& name : names) {
        CAPTURE(name);
        CHECK(contents_of(past / name) == name);
        // Each command that names files gets by with each of them.
        const auto versions = umbra({"versions", (live / name).string(), "--json"});
        CHECK_MESSAGE(versions.exit_code == 0, versions.err);
        CHECK(versions.out.find(token) != std::string::npos);
    }
    const auto difference = umbra({"snapshot", "diff", ground.share.string(), token, "--json"});
    CHECK_MESSAGE(difference.exit_code == 0, difference.err);
    const auto restored = umbra({"restore", live.string(), "--from", token});
    CHECK_MESSAGE(restored.exit_code == 0, restored.err);
    for (const auto& name : names) CHECK(contents_of(live / name) == name);
}

// A path through .snapshots is longer than the live one: what the kernel does not take any more is
// ENAMETOOLONG, and can be reached in steps.
void paths_at_the_limit(FilesystemType type) {
    Ground ground(type);
    const std::string name(200, 'd');
    fs::path live = ground.share / "deep";
    make::directory(live.string());
    while ((live / name).string().size() + 16 < PATH_MAX) {
        live /= name;
        make::directory(live.string());
    }
    const std::size_t room = PATH_MAX - 2 - live.string().size();
    const std::string last(std::min<std::size_t>(room, 255), 'f');
    make::file(live / last, "as it was");
    const std::string token = ground.mounted.create_snapshot();
    make::file(live / last, "as it is");

    const fs::path below = live.lexically_relative(ground.share);
    const fs::path past = ground.mounted.snapshot_path(token);
    CHECK(contents_of(past / below / last) == "(ENAMETOOLONG)");
    int at = ::open(past.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    for (const auto& step : below) {
        const int next = ::openat(at, step.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
        REQUIRE(next >= 0);
        ::close(at);
        at = next;
    }
    CHECK(contents_of("/proc/self/fd/" + std::to_string(at) + "/" + last) == "as it was");
    ::close(at);
    // The whole path is given to these.
    const auto versions = umbra({"versions", (live / last).string()});
    CHECK_MESSAGE(versions.exit_code == 0, versions.err);
    const auto restored = umbra({"restore", (live / last).string(), "--from", token});
    CHECK_MESSAGE(restored.exit_code == 0, restored.err);
    CHECK(contents_of(live / last) == "as it was");
}

}  // namespace

UMBRA_ON_EACH_FILESYSTEM("names of any bytes", names_of_any_bytes)
UMBRA_ON_EACH_FILESYSTEM("paths at their limit", paths_at_the_limit)

}  // namespace umbra::test
