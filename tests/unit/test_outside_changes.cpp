#include <doctest/doctest.h>
#include <sys/stat.h>

#include <chrono>
#include <ctime>
#include <string>
#include <thread>

#include "snapstore/outside_changes.h"
#include "tests/support/scratch.h"
#include "tests/support/share.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace {

struct timespec now() {
    std::this_thread::sleep_for(std::chrono::milliseconds(20));  // more than a tick
    struct timespec time {};
    clock_gettime(CLOCK_REALTIME, &time);
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return time;
}

struct stat status_of(const std::string& path) {
    struct stat status {};
    REQUIRE(::lstat(path.c_str(), &status) == 0);
    return status;
}

}  // namespace

TEST_SUITE("outside changes") {
    TEST_CASE("only what changed between two moments counts, and each thing once") {
        const TempDir folder;
        const std::string before = folder.path() / "before", between = folder.path() / "between",
                          after = folder.path() / "after";
        for (const auto& path : {before, between, after}) write_file(path, "x");
        const auto from = now();
        write_file(between, "y");
        const auto until = now();
        write_file(after, "z");
        const auto mount = must(LiveMount::open(folder.path()));
        OutsideChanges changes(from, until);
        for (int round = 0; round < 2; ++round) {
            for (const auto& path : {before, between, after}) changes.look(status_of(path));
            CHECK(changes.found().count == 1);
        }
        CHECK_FALSE(changes.found().complete);
        // The search comes by what is known already.
        changes.search(mount, [](const OutsideChanges::Found&) {});
        for (int attempt = 0; attempt < 1000 && !changes.found().complete; ++attempt)
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        CHECK(changes.found().complete);
        CHECK(changes.found().count == 1);
    }
}
