// Neighbours are preserved in the same wait, and what a snapshot shows stays the same by it.
#include <doctest/doctest.h>

#include <filesystem>
#include <map>
#include <string>

#include "snapstore/volume_files.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace {

std::string numbered(const std::string& text, int number) { return text + std::to_string(number); }

void change_mode(TestVolume& volume, const std::string& path, mode_t mode) {
    AttributeChange change;
    change.mode = mode;
    must(volume.live().change_attributes(volume.id(path), change, Caller{}));
}

std::uint64_t log_bytes(TestVolume& volume) { return must(volume->space_use()).log_bytes; }

// How many of the calls made something be preserved, and so had to wait.
template <typename Call>
int count_waits(TestVolume& volume, int calls, Call&& call) {
    int waits = 0;
    for (int i = 0; i < calls; ++i) {
        const auto before = log_bytes(volume);
        call(i);
        waits += log_bytes(volume) != before;
    }
    return waits;
}

void fill(TestVolume& volume, const std::string& directory, int files) {
    volume.make_directory(directory);
    for (int i = 0; i < files; ++i) volume.put(numbered(directory + "/", i), "contents");
}

}  // namespace

TEST_SUITE("preserve ahead") {
    TEST_CASE("one change of attributes preserves those of a small directory") {
        TestVolume volume;
        fill(volume, "d", 16);
        volume.snapshot();
        CHECK(count_waits(volume, 16,
                          [&](int i) { change_mode(volume, numbered("d/", i), 0600); }) == 1);
        volume.snapshot();  // and again
        CHECK(count_waits(volume, 16,
                          [&](int i) { change_mode(volume, numbered("d/", i), 0640); }) == 1);
    }

    TEST_CASE("one new name makes those that follow free") {
        TestVolume volume;
        fill(volume, "d", 15);
        volume.snapshot();
        CHECK(count_waits(volume, 100, [&](int i) { volume.put(numbered("d/new", i), "x"); }) == 1);
        CHECK(count_waits(volume, 100, [&](int i) { volume.remove(numbered("d/new", i)); }) == 0);
    }

    TEST_CASE("changes in one directory after another wait for a few of them only") {
        TestVolume volume;
        for (int i = 0; i < 60; ++i) fill(volume, numbered("d", i), 12);
        for (int i = 0; i < 60; ++i) fill(volume, numbered("d0/below", i), 1);
        volume.snapshot();
        auto modes = [&](int i) {
            change_mode(volume, numbered("d", i / 12) + numbered("/", i % 12), 0600);
        };
        const int waits = count_waits(volume, 60 * 12, modes);
        CHECK(waits > 0);
        CHECK(waits <= 12);
        auto names = [&](int i) { volume.put(numbered("d", i) + "/new", "x"); };
        CHECK(count_waits(volume, 60, names) <= 6);
        auto deeper = [&](int i) { volume.put(numbered("d0/below", i) + "/new", "x"); };
        CHECK(count_waits(volume, 60, deeper) <= 6);
    }

    TEST_CASE("where space is scarce nothing is preserved that need not be") {
        TestVolume::Options options;
        options.limit = {SizeLimit::Kind::kBytes, 4 << 20};
        options.on_full = OnFull::kRefuse;
        TestVolume volume(options);
        fill(volume, "d", 16);
        volume.put("large", noise(4 << 20, 1));
        volume.snapshot();
        for (int i = 0; volume.used_bytes() < (4 << 20) / 128 * 127; ++i)
            volume.write("large", static_cast<std::uint64_t>(i) << 14, noise(1 << 14, 2));
        CHECK(count_waits(volume, 16,
                          [&](int i) { change_mode(volume, numbered("d/", i), 0600); }) == 16);
    }

    // The directory's names are all recorded in some epochs and not in others; snapshots go in any
    // order; the index is made anew.
    TEST_CASE("snapshots show the names that were there") {
        for (const int going_first : {0, 1, 2, 3}) {
            CAPTURE(going_first);
            TestVolume volume;
            fill(volume, "d", 10);
            fill(volume, "d/in it", 3);
            std::map<Epoch, Picture> pictures;
            std::vector<Snapshot> snapshots;
            for (int round = 0; round < 4; ++round) {
                snapshots.push_back(volume.snapshot());
                pictures[snapshots.back().epoch] = volume.live_picture();
                if (round == 2) continue;  // nothing happens
                volume.put(numbered("d/made in round ", round), "x");
                volume.put(numbered("d/in it/made in round ", round), "x");
                volume.remove(numbered("d/", round));
                volume.put(numbered("d/", round), "another");
                volume.rename("d/9", "d/moved");
                volume.put("d/9", numbered("round ", round));
                volume.rename("d/8", "d/9");
                volume.rename("d/moved", "d/8");
                if (round == 1) volume.rename("d/in it", "moved");
                if (round == 1) volume.make_directory("d/in it");
            }
            const auto check = [&] {
                for (const auto& one : pictures) {  // no structured binding: CAPTURE is a lambda
                    const Epoch epoch = one.first;
                    CAPTURE(epoch);
                    CHECK(differences(one.second, volume.past_picture(epoch)) == "");
                }
            };
            check();
            must(volume->delete_snapshot(snapshots[static_cast<std::size_t>(going_first)].epoch));
            pictures.erase(snapshots[static_cast<std::size_t>(going_first)].epoch);
            check();
            volume.put("d/after a deletion", "x");
            check();
            volume.close();
            std::filesystem::remove_all(volume.area() + "/" + kIndexDirectoryName);
            volume.open();
            check();
            CHECK(volume.scrub().empty());
        }
    }

    TEST_CASE("a name is looked for in the record of every other name only as of its epoch") {
        TestVolume volume;
        fill(volume, "d", 2);
        const auto first = volume.snapshot();
        volume.put("d/second epoch", "x");  // from here on all of d is recorded
        const auto second = volume.snapshot();
        volume.remove("d/second epoch");
        auto then = must(volume->past(second.epoch).list(volume.id("d")));
        CHECK(then.size() == 3);
        CHECK(code_of(volume->past(first.epoch).lookup(volume.id("d"), "second epoch")) == ENOENT);
        CHECK(code_of(volume->past(second.epoch).lookup(volume.id("d"), "second epoch")) == 0);
    }
}
