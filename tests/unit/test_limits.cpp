// A diff area at its limit, or on a full filesystem.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/ram_image.h"
#include "tests/support/skip.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

TestVolume::Options limited(std::uint64_t bytes, OnFull on_full) {
    TestVolume::Options options;
    options.limit = {SizeLimit::Kind::kBytes, bytes};
    options.on_full = on_full;
    return options;
}

// Without the warnings on the way to the limit (test_space.cpp).
std::vector<Event> events_of(TestVolume& volume) {
    auto events = volume.take_event_list();
    std::erase_if(events, [](const Event& event) {
        return event.id == EventId::kAreaFilling || event.id == EventId::kAreaAlmostFull ||
               event.id == EventId::kAreaNearlyFull;
    });
    return events;
}

std::vector<Epoch> living(TestVolume& volume) {
    std::vector<Epoch> epochs;
    for (const auto& snapshot : volume->catalog().snapshots()) epochs.push_back(snapshot.epoch);
    return epochs;
}

// Four snapshots, each of which needs 8 MiB: together 32 MiB, and the live file.
std::vector<Epoch> fill(TestVolume& volume) {
    volume.put("file", noise(8 * kMiB, 0));
    volume.put("more", noise(12 * kMiB, 100));
    std::vector<Epoch> epochs;
    for (std::uint64_t i = 1; i <= 4; ++i) {
        epochs.push_back(volume.snapshot("number " + std::to_string(i)).epoch);
        volume.write("file", 0, noise(8 * kMiB, i));
    }
    return epochs;
}

int write_code(TestVolume& volume, const std::string& path, std::uint64_t offset, std::size_t size,
               std::uint64_t seed) {
    auto file = must(volume.live().open(volume.id(path), O_RDWR, Caller{}));
    return code_of(volume.write_to(file, offset, noise(size, seed)));
}

}  // namespace

TEST_SUITE("limits") {
    TEST_CASE(
        "evict: the oldest go, only as many as needed, each announced, and the others stay as they "
        "were") {
        TestVolume volume(limited(44 * kMiB, OnFull::kEvict));
        auto epochs = fill(volume);
        CHECK(living(volume) == epochs);
        CHECK(events_of(volume).empty());
        std::vector<std::pair<Epoch, bool>> hooked;
        volume->set_snapshot_hook([&](const Snapshot& snapshot, bool created) {
            hooked.push_back({snapshot.epoch, created});
        });
        auto copies = std::vector{volume.past_picture(epochs[2]), volume.past_picture(epochs[3])};
        // 12 MiB more: one eviction is not quite enough with what is there, two are.
        CHECK(write_code(volume, "more", 0, 12 * kMiB, 5) == 0);
        auto left = living(volume);
        CHECK(left.size() >= 2);
        CHECK(left.size() < 4);
        CHECK(left.back() == epochs[3]);
        auto events = events_of(volume);
        REQUIRE(events.size() == 4 - left.size());
        CHECK(hooked.size() == events.size());
        for (std::size_t i = 0; i < events.size(); ++i) {
            CHECK(events[i].name() == "snapshot-evicted");
            CHECK(events[i].severity() == Severity::kWarning);
            CHECK(events[i].message.find("number " + std::to_string(i + 1)) != std::string::npos);
            CHECK(hooked[i] == std::pair<Epoch, bool>{epochs[i], false});
        }
        for (std::size_t i = 2; i < 4; ++i)
            CHECK(differences(copies[i - 2], volume.past_picture(epochs[i])) == "");
        CHECK(volume.used_bytes() <= 44 * kMiB);
        CHECK(volume.past_content(epochs[3], "file") == noise(8 * kMiB, 3));
    }

    TEST_CASE("evict: a held snapshot is passed over") {
        TestVolume volume(limited(40 * kMiB, OnFull::kEvict));
        auto epochs = fill(volume);
        REQUIRE(living(volume) == epochs);
        must(volume->hold(epochs[0], {"keep", std::nullopt}));
        must(volume->hold(epochs[1], {"over", 1000}));  // expired
        CHECK(write_code(volume, "more", 0, 8 * kMiB, 5) == 0);
        auto left = living(volume);
        CHECK(left.front() == epochs[0]);
        CHECK(std::find(left.begin(), left.end(), epochs[1]) == left.end());
        CHECK(left.back() == epochs[3]);
        CHECK(volume.past_content(epochs[0], "file") == noise(8 * kMiB, 0));
    }

    TEST_CASE("refuse, or every snapshot held: the write is ENOSPC, reads go on, nothing is lost") {
        for (OnFull policy : {OnFull::kEvict, OnFull::kRefuse}) {
            TestVolume volume(limited(40 * kMiB, policy));
            auto epochs = fill(volume);
            REQUIRE(living(volume) == epochs);
            if (policy == OnFull::kEvict)
                for (Epoch epoch : epochs) must(volume->hold(epoch, {"keep", std::nullopt}));
            auto live = volume.live_picture();
            auto file = must(volume.live().open(volume.id("more"), O_RDWR, Caller{}));
            auto refused = volume.write_to(file, 0, noise(12 * kMiB, 5));
            REQUIRE_FALSE(refused.has_value());
            CHECK(refused.error().code == ENOSPC);
            CHECK(refused.error().kind == ErrorKind::kDiffArea);
            CHECK(refused.error().message.find(volume.area()) != std::string::npos);
            CHECK(differences(live, volume.live_picture(), {.inodes = false}) == "");
            CHECK(living(volume) == epochs);
            auto events = events_of(volume);
            REQUIRE(events.size() == 1);
            CHECK(events[0].id == EventId::kAreaFull);
            for (std::size_t i = 0; i < 4; ++i)
                CHECK(volume.past_content(epochs[i], "file") == noise(8 * kMiB, i));
            // What needs no preserving still works, and after a deletion everything does.
            volume.make_directory("new");
            volume.put("new/file", noise(4 * kMiB, 1));
            CHECK(must(volume->release(epochs[0], "keep").or_else([&](const Error&) {
                      return Result<Snapshot>(Snapshot{});
                  })).holds.empty());
            must(volume->delete_snapshot(epochs[0]));
            must(volume.write_to(file, 0, noise(6 * kMiB, 5)));
            CHECK(living(volume).size() == 3);
            for (std::size_t i = 1; i < 4; ++i)
                CHECK(volume.past_content(epochs[i], "file") == noise(8 * kMiB, i));
            CHECK(volume.past_content(epochs[3], "more") == noise(12 * kMiB, 100));
        }
    }

    TEST_CASE(
        "evict with a limit smaller than one write: all snapshots go, and the write goes through") {
        TestVolume volume(limited(2 * kMiB, OnFull::kEvict));
        volume.put("file", noise(8 * kMiB, 0));
        auto snapshot = volume.snapshot();
        static_cast<void>(snapshot);
        CHECK(write_code(volume, "file", 0, 8 * kMiB, 1) == 0);
        CHECK(living(volume).empty());
        CHECK(must(volume->space_use()).log_bytes == 0);
        auto events = events_of(volume);
        REQUIRE(events.size() == 1);
        CHECK(events[0].id == EventId::kSnapshotEvicted);
    }

    TEST_CASE("removed files count, and their removal makes room like everything else") {
        TestVolume volume(limited(40 * kMiB, OnFull::kEvict));
        std::vector<Epoch> epochs;
        for (int i = 0; i < 12; ++i) {
            volume.put("file", noise(8 * kMiB, static_cast<std::uint64_t>(i)));
            epochs.push_back(volume.snapshot().epoch);
            volume.remove("file");
            CHECK(volume.used_bytes() <= 50 * kMiB);
        }
        auto left = living(volume);
        CHECK(left.size() >= 3);
        CHECK(left.size() <= 5);
        CHECK(left.back() == epochs.back());
        CHECK(volume.past_content(epochs.back(), "file") == noise(8 * kMiB, 11));
    }

    TEST_CASE("a full filesystem under the diff area is answered like a limit") {
        UMBRA_SKIP_IF(missing_for_image(FilesystemType::Ext4));
        for (OnFull policy : {OnFull::kEvict, OnFull::kRefuse}) {
            INFO("policy ", static_cast<int>(policy));
            RamImage image(FilesystemType::Ext4, 96);
            TempDir folder;
            CreateOptions create;
            create.share = folder.path();
            create.diff_area = (image.path() / "area").string();
            create.max_size = {SizeLimit::Kind::kUnbounded, 0};
            create.on_full = policy;
            must(Volume::create(create));
            std::vector<std::string> events;
            auto volume =
                must(Volume::open({folder.path(), false, 16 << 20}, [&](const Event& event) {
                    if (event.id == EventId::kSnapshotEvicted || event.id == EventId::kAreaFull ||
                        event.id == EventId::kSnapshotFailed)
                        events.emplace_back(event.name());
                }));
            auto& live = volume->live();
            auto file = must(live.create(live.root(), "file", 0644, O_RDWR, Caller{})).file;
            auto write = [&](std::uint64_t seed) {
                std::string data = noise(8 * kMiB, seed);
                return live.write(file, 0, data.size(), Caller{}, [&](int fd) -> ssize_t {
                    return pwrite(fd, data.data(), data.size(), 0);
                });
            };
            must(write(0));
            std::vector<Epoch> epochs;
            int refused = 0;
            for (std::uint64_t i = 1; i <= 20 && refused == 0; ++i) {
                auto snapshot = volume->create_snapshot({});
                REQUIRE_MESSAGE((snapshot.has_value() || snapshot.error().code == ENOSPC),
                                text_of(snapshot));
                if (!snapshot) {
                    ++refused;
                    break;
                }
                epochs.push_back(snapshot->epoch);
                auto written = write(i);
                if (written) continue;
                CHECK_MESSAGE(written.error().code == ENOSPC, written.error().text());
                ++refused;
            }
            auto content = [&](Epoch epoch) {
                auto past = volume->past(epoch);
                auto opened = must(past.open(must(past.resolve("file")).id));
                std::string text(opened.size, '\0');
                must(past.read(opened, 0, std::as_writable_bytes(std::span(text))));
                return text;
            };
            auto snapshots = volume->catalog().snapshots();
            if (policy == OnFull::kEvict) {
                CHECK(refused == 0);
                CHECK(snapshots.size() >= 3);
                CHECK(events.size() == 20 - snapshots.size());
                for (const auto& name : events) CHECK(name == "snapshot-evicted");
            } else {
                CHECK(refused == 1);
                CHECK(std::count(events.begin(), events.end(), "snapshot-evicted") == 0);
                CHECK(snapshots.size() == epochs.size());
                CHECK(snapshots.size() >= 5);
            }
            for (std::size_t i = 0; i < epochs.size(); ++i)
                if (volume->catalog().exists(epochs[i]))
                    CHECK(content(epochs[i]) == noise(8 * kMiB, i));
            if (policy == OnFull::kRefuse) {
                must(volume->delete_snapshot(snapshots.front().epoch));
                CHECK(text_of(write(50)) == "done");
                CHECK(content(epochs.back()) == noise(8 * kMiB, epochs.size() - 1));
            }
            volume.reset();
            volume = must(Volume::open({folder.path(), false, 16 << 20}, [](const Event&) {}));
            for (std::size_t i = 0; i < epochs.size(); ++i)
                if (volume->catalog().exists(epochs[i]))
                    CHECK(content(epochs[i]) == noise(8 * kMiB, i));
        }
    }

    TEST_CASE("a full filesystem of share and diff area together is answered too") {
        UMBRA_SKIP_IF(missing_for_image(FilesystemType::Ext4));
        RamImage image(FilesystemType::Ext4, 96);
        TestVolume::Options options;
        options.place = image.path();
        TestVolume volume(options);
        volume.put("file", noise(8 * kMiB, 0));
        std::string filler = noise(kMiB, 9);
        for (std::uint64_t i = 1; i <= 20; ++i) {
            REQUIRE(volume->create_snapshot({}).has_value());
            CHECK(write_code(volume, "file", 0, 8 * kMiB, i) == 0);
        }
        auto left = living(volume);
        CHECK(left.size() >= 2);
        CHECK(left.back() == 20);
        CHECK(volume.past_content(20, "file") == noise(8 * kMiB, 19));
    }
}
