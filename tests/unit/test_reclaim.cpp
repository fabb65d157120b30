// Deleting gives space back: at once, only what nobody needs, from anywhere in the chain.
#include <doctest/doctest.h>
#include <fcntl.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "snapstore/log_format.h"
#include "snapstore/volume_files.h"
#include "tests/support/ram_image.h"
#include "tests/support/skip.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

std::uint64_t log_bytes(TestVolume& volume) { return must(volume->space_use()).log_bytes; }
std::uint64_t limbo_bytes(TestVolume& volume) { return must(volume->space_use()).limbo_bytes; }

bool near(std::uint64_t a, std::uint64_t b, std::uint64_t slack = 256 << 10) {
    return a <= b + slack && b <= a + slack;
}

// Bytes really given back by deleting a snapshot, and what had been foretold.
struct Freed {
    std::uint64_t foretold = 0;
    std::uint64_t really = 0;
};
Freed delete_and_measure(TestVolume& volume, Epoch epoch) {
    auto use = [&] {
        auto space = must(volume->space_use());
        return space.log_bytes + space.limbo_bytes;
    };
    Freed freed;
    freed.foretold = must(volume->exclusive_bytes(epoch));
    auto before = use();
    must(volume->delete_snapshot(epoch));
    freed.really = before - use();
    return freed;
}

}  // namespace

TEST_SUITE("reclaim") {
    TEST_CASE("creating, changing and deleting over and over takes no more space in the end") {
        TestVolume volume;
        for (int i = 0; i < 20; ++i)
            volume.put("file" + std::to_string(i), noise(200'000, static_cast<std::uint64_t>(i)));
        std::uint64_t after_first = 0;
        for (int round = 0; round < 12; ++round) {
            auto snapshot = volume.snapshot();
            for (int i = 0; i < 20; ++i)
                volume.put("file" + std::to_string(i),
                           noise(200'000, static_cast<std::uint64_t>(round * 100 + i)));
            volume.remove("file7");
            volume.put("file7", noise(200'000, 7));
            CHECK(log_bytes(volume) + limbo_bytes(volume) > 3 * kMiB);
            must(volume->delete_snapshot(snapshot.epoch));
            CHECK(log_bytes(volume) == 0);
            CHECK(limbo_bytes(volume) == 0);
            if (round == 2) after_first = volume.used_bytes();
        }
        CHECK(near(volume.used_bytes(), after_first));
        for (const auto& entry : fs::directory_iterator(volume.area() + "/" + kLogDirectoryName))
            CHECK(entry.path().filename() == kCatalogFileName);
        CHECK(fs::is_empty(volume.share() + "/.umbra/limbo"));
    }

    TEST_CASE("a chain of snapshots that rolls keeps its size") {
        TestVolume volume;
        volume.put("file", noise(2 * kMiB, 0));
        std::vector<Epoch> chain;
        std::uint64_t usual = 0;
        for (int round = 0; round < 30; ++round) {
            chain.push_back(volume.snapshot().epoch);
            volume.write("file", 0, noise(kMiB, static_cast<std::uint64_t>(round)));
            if (chain.size() < 5) continue;
            must(volume->delete_snapshot(chain.front()));
            chain.erase(chain.begin());
            if (round == 6) usual = log_bytes(volume);
        }
        CHECK(near(log_bytes(volume), usual));
        CHECK(usual >= 4 * kMiB);
        CHECK(usual < 5 * kMiB);
    }

    TEST_CASE("what only a snapshot in the middle needs comes back at once, and was foretold") {
        UMBRA_SKIP_IF(missing_for_image(FilesystemType::Ext4));
        RamImage image(FilesystemType::Ext4, 512);
        for (bool on_disk : {false, true}) {
            TestVolume::Options options;
            if (on_disk) options.place = image.path();
            TestVolume volume(options);
            volume.put("each time", noise(8 * kMiB, 0));
            volume.put("second only", noise(8 * kMiB, 0));
            volume.put("halves", noise(8 * kMiB, 0));
            auto first = volume.snapshot();
            volume.write("each time", 0, noise(8 * kMiB, 1));
            volume.write("halves", 0, noise(4 * kMiB, 1));
            auto second = volume.snapshot();
            volume.write("each time", 0, noise(8 * kMiB, 2));
            volume.write("halves", 0,
                         noise(8 * kMiB, 2));  // the upper half is the first snapshot's too
            volume.put("removed", noise(4 * kMiB, 3));
            auto third = volume.snapshot();
            volume.write("each time", 0, noise(8 * kMiB, 3));
            volume.remove("removed");
            auto fourth = volume.snapshot();
            volume.write("second only", 0, noise(8 * kMiB, 1));

            auto before = volume.past_picture(first.epoch);
            auto last = volume.past_picture(fourth.epoch);
            Freed freed = delete_and_measure(volume, second.epoch);
            CHECK(near(freed.really, 12 * kMiB));
            CHECK(near(freed.foretold, freed.really));
            freed = delete_and_measure(volume, third.epoch);
            CHECK(near(freed.really, 12 * kMiB));
            CHECK(near(freed.foretold, freed.really));
            CHECK(differences(before, volume.past_picture(first.epoch)) == "");
            CHECK(differences(last, volume.past_picture(fourth.epoch)) == "");
            freed = delete_and_measure(volume, first.epoch);
            CHECK(near(freed.really, 16 * kMiB));
            CHECK(near(freed.foretold, freed.really));
            CHECK(differences(last, volume.past_picture(fourth.epoch)) == "");
            freed = delete_and_measure(volume, fourth.epoch);
            CHECK(near(freed.really, 8 * kMiB));
            CHECK(near(freed.foretold, freed.really));
            CHECK(log_bytes(volume) + limbo_bytes(volume) == 0);
        }
    }

    TEST_CASE("what another snapshot needs too is nobody's alone") {
        TestVolume volume;
        volume.put("file", noise(4 * kMiB, 0));
        auto first = volume.snapshot();
        auto second = volume.snapshot();
        volume.write("file", 0, noise(4 * kMiB, 1));
        volume.remove("file");
        CHECK(must(volume->exclusive_bytes(first.epoch)) < 64 << 10);
        CHECK(must(volume->exclusive_bytes(second.epoch)) < 64 << 10);
        CHECK(volume->exclusive_bytes(77).error().kind == ErrorKind::kNotFound);
        must(volume->delete_snapshot(first.epoch));
        CHECK(must(volume->exclusive_bytes(second.epoch)) >= 4 * kMiB);
        CHECK(volume.past_content(second.epoch, "file") == noise(4 * kMiB, 0));
    }

    TEST_CASE(
        "space is given back though a reader still reads the snapshot, who is told that it is "
        "gone") {
        TestVolume volume;
        volume.put("file", noise(kMiB, 0));
        volume.put("removed", noise(kMiB, 1));
        auto snapshot = volume.snapshot();
        auto past = volume->past(snapshot.epoch);
        auto changed = must(past.open(must(past.resolve("file")).id));
        auto removed = must(past.open(must(past.resolve("removed")).id));
        volume.write("file", 0, noise(kMiB, 2));
        volume.remove("removed");
        must(volume->delete_snapshot(snapshot.epoch));
        char buffer[100];
        auto bytes = std::as_writable_bytes(std::span(buffer));
        CHECK(code_of(past.read(changed, 0, bytes)) == ESTALE);
        CHECK(code_of(past.read(removed, 0, bytes)) == ESTALE);
        CHECK(code_of(past.lookup(past.root(), "file")) == ESTALE);
        CHECK(code_of(past.list(past.root())) == ESTALE);
        CHECK(code_of(past.status(changed.id)) == ESTALE);
        CHECK(code_of(past.attributes(changed.id)) == ESTALE);
        CHECK(log_bytes(volume) == 0);
    }

    TEST_CASE("a deletion that was interrupted is finished when the volume is opened") {
        TestVolume volume;
        volume.put("file", noise(2 * kMiB, 0));
        auto first = volume.snapshot();
        volume.write("file", 0, noise(2 * kMiB, 1));
        volume.remove("file");
        auto second = volume.snapshot();
        volume.put("other", "x");
        auto copy = volume.past_picture(second.epoch);
        volume.close();
        {
            // Begun, and then the power went.
            UniqueFd log(::open((volume.area() + "/" + kLogDirectoryName).c_str(),
                                O_RDONLY | O_DIRECTORY | O_CLOEXEC));
            must(must(Catalog::open(log.get(), false))->begin_delete(first.epoch));
        }
        fs::remove(volume.area() + "/" + kCleanMarkName);
        volume.open();
        CHECK(volume->catalog().unfinished_deletions().empty());
        CHECK_FALSE(volume->catalog().exists(first.epoch));
        CHECK(log_bytes(volume) + limbo_bytes(volume) < 64 << 10);
        CHECK(differences(copy, volume.past_picture(second.epoch)) == "");
        must(volume->delete_snapshot(second.epoch));
        CHECK(log_bytes(volume) == 0);
    }

    TEST_CASE("what is given back is not taken for damage when the index ends there") {
        TestVolume volume;
        volume.put("changed twice", noise(64 << 10, 0));
        volume.put("changed once", noise(64 << 10, 1));
        volume.snapshot();
        volume.write("changed twice", 0, noise(4096, 2));
        auto middle = volume.snapshot();
        volume.write("changed once", 0, noise(4096, 3));  // stays
        auto file = must(volume.live().open(volume.id("changed twice"), O_RDWR, Caller{}));
        // The last that the index hears of; behind it lie the deferred bytes, which go with it.
        must(volume.write_later(file, 0, noise(4096, 4)));
        volume.live().settle();
        volume.snapshot();
        must(volume->delete_snapshot(middle.epoch));

        // As a killed process leaves it.
        const TempDir copies;
        const std::string copy = copies.path() / "share";
        fs::copy(volume.share(), copy, fs::copy_options::recursive);
        std::string told;
        auto opened = Volume::open({copy}, [&](const Event& event) {
            if (event.id != EventId::kUncleanEnd) told += event.message;
        });
        CHECK_MESSAGE(opened.has_value(), text_of(opened));
        CHECK(told == "");
    }

    TEST_CASE("a snapshot that is held stays until it is released or the hold expires") {
        TestVolume volume;
        Volume::SnapshotOptions options;
        options.hold_reason = "backup";
        auto snapshot = must(volume->create_snapshot(options));
        auto refused = volume->delete_snapshot(snapshot.epoch);
        REQUIRE_FALSE(refused.has_value());
        CHECK(refused.error().kind == ErrorKind::kRefused);
        CHECK(refused.error().message.find("backup") != std::string::npos);
        CHECK(refused.error().message.find(snapshot.token) != std::string::npos);
        must(volume->hold(snapshot.epoch, {"second", std::nullopt}));
        must(volume->hold(snapshot.epoch, {"past", 1000}));
        volume.reopen();
        CHECK(volume->catalog().find(snapshot.epoch)->holds.size() == 3);
        CHECK(must(volume->release(snapshot.epoch, "backup")).holds.size() == 2);
        CHECK(volume->release(snapshot.epoch, "backup").error().kind == ErrorKind::kNotFound);
        CHECK(volume->delete_snapshot(snapshot.epoch).error().kind == ErrorKind::kRefused);
        // The same reason again replaces the end, but by no earlier one.
        CHECK(volume->hold(snapshot.epoch, {"second", 1000}).error().kind == ErrorKind::kRefused);
        CHECK(must(volume->hold(snapshot.epoch, {"past", 2000})).holds.size() == 2);
        CHECK(must(volume->release(snapshot.epoch, "second")).holds.size() == 1);
        must(volume->delete_snapshot(snapshot.epoch));
        CHECK(volume->delete_snapshot(snapshot.epoch).error().kind == ErrorKind::kNotFound);
        CHECK(volume->hold(snapshot.epoch, {"late", std::nullopt}).error().kind ==
              ErrorKind::kNotFound);
        CHECK(volume->release(snapshot.epoch, "").error().kind == ErrorKind::kNotFound);
    }
}
