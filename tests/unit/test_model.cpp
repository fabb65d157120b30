// Seeded random operations with random snapshots and deletions, against full copies of every
// snapshot.
#include <doctest/doctest.h>
#include <signal.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <thread>

#include "snapstore/volume_files.h"
#include "tests/support/process.h"
#include "tests/unit/difference_check.h"
#include "tests/unit/random_workload.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace fs = std::filesystem;

namespace {

// UMBRA_TEST_SEED repeats a run; UMBRA_TEST_ROUNDS makes it longer.
std::uint64_t seed_of_run() {
    const char* given = std::getenv("UMBRA_TEST_SEED");
    return given != nullptr ? std::stoull(given) : std::random_device()();
}
int rounds_of_run(int usual) {
    const char* given = std::getenv("UMBRA_TEST_ROUNDS");
    return given != nullptr ? std::stoi(given) : usual;
}

using Copies = std::map<Epoch, Picture>;

// Every living snapshot, fully, both ways; and that exactly those live which should.
std::string check_all(Volume& volume, const Copies& copies) {
    std::string wrong;
    for (const auto& snapshot : volume.catalog().snapshots())
        if (copies.count(snapshot.epoch) == 0)
            wrong += "snapshot " + std::to_string(snapshot.epoch) + " should be gone\n";
    for (const auto& [epoch, copy] : copies) {
        if (!volume.catalog().exists(epoch)) {
            wrong += "snapshot " + std::to_string(epoch) + " is gone\n";
            continue;
        }
        std::string text = differences(copy, picture_of_past(volume.past(epoch)));
        if (!text.empty()) wrong += "snapshot " + std::to_string(epoch) + ":\n" + text;
    }
    return wrong;
}

void delete_some(Volume& volume, Copies& copies, RandomWorkload& workload) {
    // Oldest, newest, any, or all.
    auto how = workload.below(12);
    while (!copies.empty()) {
        auto victim = copies.begin();
        if (how < 4)
            std::advance(victim, workload.below(copies.size()));
        else if (how < 7)
            victim = std::prev(copies.end());
        must(volume.delete_snapshot(victim->first));
        copies.erase(victim);
        if (how != 11) return;
    }
}

void compare_histories(TestVolume& volume, const Copies& copies, RandomWorkload& workload) {
    if (copies.empty()) return;
    auto from =
        std::next(copies.begin(), static_cast<std::ptrdiff_t>(workload.below(copies.size())));
    Picture now = volume.live_picture();
    auto to = std::next(from, static_cast<std::ptrdiff_t>(workload.below(
                                  static_cast<std::uint64_t>(std::distance(from, copies.end())))));
    bool to_now = to == from;
    auto found =
        volume->history().difference(from->first, to_now ? std::nullopt : std::optional(to->first));
    INFO("difference of ", from->first, " and ", to_now ? 0 : to->first);
    REQUIRE_MESSAGE(found.has_value(), text_of(found), workload.story());
    CHECK_MESSAGE(check_difference(from->second, to_now ? now : to->second, *found) == "",
                  workload.story());
    for (const auto& [path, node] : from->second) {
        if (workload.below(10) != 0) continue;
        auto versions = volume->history().versions(path);
        REQUIRE_MESSAGE(versions.has_value(), text_of(versions));
        CHECK_MESSAGE(check_versions(copies, now, path, *versions) == "", workload.story());
    }
}

Exactness as_twin() {
    Exactness exactness;
    exactness.inodes = exactness.times = exactness.directory_size = false;
    return exactness;
}

// What happens to the volume between two rounds.
enum class Between { kNothing, kClose, kCloseAndLoseIndex };

void run_model(std::uint64_t seed, int rounds, const TestVolume::Options& options) {
    INFO("seed ", seed, " (UMBRA_TEST_SEED repeats it)");
    TestVolume volume(options);
    TempDir twin("twin");
    Copies copies;
    std::mt19937_64 random(seed);
    for (int round = 0; round < rounds; ++round) {
        RandomWorkload workload(volume.volume(), twin.path(), random());
        for (int i = 0; i < 120; ++i) {
            REQUIRE_NOTHROW(workload.step());
            if (workload.below(25) == 0) {
                Picture copy = volume.live_picture();
                Epoch epoch = volume.snapshot().epoch;
                copies[epoch] = std::move(copy);
            }
            if (workload.below(60) == 0) {
                REQUIRE_NOTHROW(delete_some(volume.volume(), copies, workload));
                REQUIRE_MESSAGE(check_all(volume.volume(), copies) == "", "after a deletion\n",
                                workload.story());
            }
        }
        REQUIRE_MESSAGE(
            differences(picture_of_directory(twin.path()), volume.live_picture(), as_twin()) == "",
            workload.story());
        REQUIRE_MESSAGE(check_all(volume.volume(), copies) == "", "at the end of round ", round,
                        "\n", workload.story());
        compare_histories(volume, copies, workload);

        auto between = static_cast<Between>(random() % 3);
        if (between == Between::kNothing) continue;
        volume.close();
        if (between == Between::kCloseAndLoseIndex)
            fs::remove_all(volume.area() + "/" + kIndexDirectoryName);
        volume.take_events();
        volume.open();
        for (const auto& event : volume.take_events())
            CHECK((between == Between::kCloseAndLoseIndex && event == "index-rebuilt"));
        REQUIRE_MESSAGE(check_all(volume.volume(), copies) == "", "after opening again, ",
                        between == Between::kClose ? "" : "without an index", "\n",
                        workload.story());
    }
    while (!copies.empty()) {
        must(volume->delete_snapshot(copies.begin()->first));
        copies.erase(copies.begin());
        REQUIRE(check_all(volume.volume(), copies) == "");
    }
    std::string left;
    for (const auto& entry : fs::directory_iterator(volume.area() + "/" + kLogDirectoryName))
        left += entry.path().filename().string() + " ";
    CHECK_MESSAGE(must(volume->space_use()).log_bytes == 0, left);
    CHECK(must(volume->space_use()).limbo_bytes == 0);
}

// What a child that ended uncleanly left behind.
std::string collect_copies(const fs::path& pictures, const Volume& volume, Copies& copies) {
    std::string wrong;
    for (const auto& entry : fs::directory_iterator(pictures)) {
        if (!entry.path().extension().empty()) continue;
        Epoch epoch = std::stoull(entry.path().filename());
        bool deleting = fs::exists(entry.path().string() + ".deleted");
        if (!volume.catalog().exists(epoch)) {
            if (!deleting)
                wrong += "snapshot " + std::to_string(epoch) + " was created and is not there\n";
            continue;
        }
        std::ifstream file(entry.path(), std::ios::binary);
        copies[epoch] = decode_picture(std::string(std::istreambuf_iterator<char>(file), {}));
    }
    return wrong;
}

// Snapshots that exist without a picture: the child ended between the creation and writing it down.
void forget_unknown(Volume& volume, const Copies& copies) {
    for (const auto& snapshot : volume.catalog().snapshots())
        if (copies.count(snapshot.epoch) == 0) must(volume.delete_snapshot(snapshot.epoch));
}

void renew_twin(const fs::path& twin, const std::string& share) {
    must_run({"rm", "-rf", twin});
    must_run({"cp", "-a", share, twin});
    must_run({"rm", "-rf", twin / ".umbra"});
}

}  // namespace

TEST_SUITE("model") {
    TEST_CASE(
        "every snapshot stays as it was under random changes, snapshots, deletions and reopening") {
        run_model(seed_of_run(), rounds_of_run(8), {});
    }

    TEST_CASE("the same with so little memory that nothing stays cached") {
        TestVolume::Options options;
        options.memory = 64 << 10;
        run_model(seed_of_run() + 1, rounds_of_run(4), options);
    }

    TEST_CASE(
        "every snapshot stays as it was when processes end without closing the volume or are "
        "killed") {
        std::uint64_t seed = seed_of_run();
        INFO("seed ", seed, " (UMBRA_TEST_SEED repeats it)");
        std::mt19937_64 random(seed);
        TestVolume volume;
        TempDir twin("twin"), pictures("pictures");
        volume.close();
        for (int round = 0; round < rounds_of_run(8); ++round) {
            INFO("round ", round);
            BackgroundProcess child({"/proc/self/exe", kUncleanChildArgument, volume.share(),
                                     twin.path(), pictures.path(), std::to_string(random()),
                                     round % 2 == 0 ? "150" : "100000"});
            if (round % 2 == 0) {
                REQUIRE(child.wait() == 0);
            } else {
                std::this_thread::sleep_for(std::chrono::milliseconds(100 + random() % 400));
                child.send(SIGKILL);
                REQUIRE(child.wait() == 128 + SIGKILL);
            }
            if (random() % 4 == 0) fs::remove_all(volume.area() + "/" + kIndexDirectoryName);
            volume.open();
            Copies copies;
            REQUIRE(collect_copies(pictures.path(), volume.volume(), copies) == "");
            forget_unknown(volume.volume(), copies);
            REQUIRE(check_all(volume.volume(), copies) == "");
            if (random() % 2 == 0) volume.reopen();
            REQUIRE(check_all(volume.volume(), copies) == "");
            volume.close();
            renew_twin(twin.path(), volume.share());
        }
    }
}
