// Copies out of a snapshot: each byte is the snapshot's, whatever the live file does meanwhile.
#include <doctest/doctest.h>
#include <fcntl.h>

#include <atomic>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <thread>

#include "snapstore/log_format.h"
#include "snapstore/past_copy.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace {

constexpr std::size_t kSize = 40 * kBlockSize + 1234;

std::string contents(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

// A snapshot's "file", and "copy" beside it to copy to.
struct Ground {
    TestVolume volume;
    const std::string original = noise(kSize, 1);
    ObjectId id;
    Epoch epoch = 0;

    Ground() {
        id = volume.put("file", original);
        volume.put("copy", "");
        epoch = volume.snapshot().epoch;
    }

    std::string copy_of(std::uint64_t offset, std::size_t length, std::uint64_t to = 0) {
        auto past = volume->past(epoch);
        const PastFile file = must(past.open(id));
        volume.put("copy", "");
        OpenFile out = must(volume.live().open(volume.id("copy"), O_RDWR, Caller{}));
        for (std::size_t done = 0; done < length;) {
            const std::size_t count =
                must(copy_from_past(past, file, volume.live(), out,
                                    {offset + done, to + done, length - done}, Caller{}));
            if (count == 0) break;
            done += count;
        }
        volume.live().settle();
        return contents(volume.share() + "/copy").substr(to);
    }

    void check_copies() {
        CHECK(copy_of(0, kSize) == original);
        CHECK(copy_of(0, 10 * kSize) == original);
        CHECK(copy_of(kSize, 1).empty());
        CHECK(copy_of(kSize - 1, 5) == original.substr(kSize - 1));
        CHECK(copy_of(5, 3 * kBlockSize, 777) == original.substr(5, 3 * kBlockSize));
        CHECK(copy_of(17 * kBlockSize, kBlockSize, kBlockSize) ==
              original.substr(17 * kBlockSize, kBlockSize));
    }
};

}  // namespace

TEST_SUITE("past copy") {
    TEST_CASE("of a file that has not changed, changed, shrunk and gone") {
        Ground ground;
        ground.check_copies();
        ground.volume.write("file", 3 * kBlockSize + 5, noise(100, 2));
        ground.volume.write("file", 7 * kBlockSize, noise(4 * kBlockSize, 3));
        ground.volume.write("file", kSize, noise(kBlockSize, 4));
        ground.check_copies();
        ground.volume.truncate("file", 20 * kBlockSize + 77);
        ground.check_copies();
        ground.volume.remove("file");
        ground.check_copies();
        CHECK(ground.volume.scrub().empty());
    }

    TEST_CASE("to its own live object it is left to reading and writing") {
        Ground ground;
        auto past = ground.volume->past(ground.epoch);
        const PastFile file = must(past.open(ground.id));
        OpenFile out = must(ground.volume.live().open(ground.id, O_RDWR, Caller{}));
        CHECK(code_of(copy_from_past(past, file, ground.volume.live(), out, {0, 0, kBlockSize},
                                     Caller{})) == EXDEV);
    }

    TEST_CASE("while others write to the live file") {
        for (std::uint64_t round = 0; round < 20; ++round) {
            Ground ground;
            std::atomic<bool> go_on{true};
            std::thread writer([&] {
                std::mt19937_64 random(round);
                auto file = ground.volume.live().open(ground.id, O_RDWR, Caller{});
                while (file && go_on) {
                    const auto offset = random() % kSize;
                    static_cast<void>(
                        ground.volume.write_to(*file, offset, noise(1 + random() % 9000, round)));
                }
            });
            const bool equal = ground.copy_of(0, kSize) == ground.original;
            const bool still_equal = ground.copy_of(0, kSize) == ground.original;
            go_on = false;
            writer.join();
            CAPTURE(round);
            CHECK(equal);
            CHECK(still_equal);
        }
    }
}
