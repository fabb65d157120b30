// What a diff area takes and may take: counted is what is on disk; it is warned in time; its limit
// can be changed and nothing goes that did not have to.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <random>
#include <string>
#include <thread>

#include "snapstore/job_journal.h"
#include "snapstore/volume_files.h"
#include "tests/support/process.h"
#include "tests/support/ram_image.h"
#include "tests/support/skip.h"
#include "tests/unit/random_workload.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace fs = std::filesystem;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;

// As du(1) counts, regular files only.
std::uint64_t disk_use(const fs::path& folder) {
    std::uint64_t bytes = 0;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
        struct stat status {};
        if (::lstat(entry.path().c_str(), &status) == 0 && S_ISREG(status.st_mode))
            bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
    }
    return bytes;
}

std::uint64_t log_on_disk(TestVolume& volume) {
    const fs::path log = fs::path(volume.area()) / kLogDirectoryName;
    struct stat catalog {};
    REQUIRE(::stat((log / kCatalogFileName).c_str(), &catalog) == 0);
    return disk_use(log) - static_cast<std::uint64_t>(catalog.st_blocks) * 512;
}

void check_accounting(TestVolume& volume, bool nothing_active) {
    const fs::path area = volume.area();
    const auto limbo_on_disk = [&] {
        return disk_use(fs::path(volume.share()) / ".umbra" / "limbo");
    };
    // Filesystems and the index tidy up in the background: looked at until nothing moved meanwhile.
    SpaceUse use;
    std::uint64_t on_disk = 0;
    std::uint64_t index = 0;
    bool moved = true;
    for (int attempt = 0; attempt < 50 && moved; ++attempt) {
        on_disk = disk_use(area) + limbo_on_disk();
        index = disk_use(area / kIndexDirectoryName);
        use = must(volume->space_use());
        moved = on_disk != disk_use(area) + limbo_on_disk() ||
                index != disk_use(area / kIndexDirectoryName);
        if (moved) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    CHECK_FALSE(moved);
    CHECK(use.limbo_bytes == limbo_on_disk());
    CHECK(use.index_bytes == index);
    CHECK(use.used_bytes() + use.reserved_bytes == on_disk);
    const std::uint64_t log = log_on_disk(volume);
    CHECK(use.log_bytes <= log);
    // What is reserved ahead of the end of the file that is appended to, at least a part of a
    // block.
    CHECK(log - use.log_bytes <= (nothing_active ? 4096 : 13 * kMiB));
}

TestVolume::Options limited(std::uint64_t bytes, OnFull on_full) {
    TestVolume::Options options;
    options.limit = {SizeLimit::Kind::kBytes, bytes};
    options.on_full = on_full;
    return options;
}

// So many snapshots, each of which alone needs 8 MiB.
std::vector<Epoch> fill(TestVolume& volume, int snapshots) {
    volume.put("file", noise(8 * kMiB, 0));
    std::vector<Epoch> epochs;
    for (int i = 1; i <= snapshots; ++i) {
        epochs.push_back(volume.snapshot("number " + std::to_string(i)).epoch);
        volume.write("file", 0, noise(8 * kMiB, static_cast<std::uint64_t>(i)));
    }
    return epochs;
}

std::vector<Epoch> living(TestVolume& volume) {
    std::vector<Epoch> epochs;
    for (const auto& snapshot : volume->catalog().snapshots()) epochs.push_back(snapshot.epoch);
    return epochs;
}

Volume::ResizeOptions to_bytes(std::uint64_t bytes, bool evict = false, bool dry_run = false) {
    Volume::ResizeOptions options;
    options.max_size = SizeLimit{SizeLimit::Kind::kBytes, bytes};
    options.evict = evict;
    options.dry_run = dry_run;
    return options;
}

std::vector<Epoch> epochs_of(const std::vector<Snapshot>& snapshots) {
    std::vector<Epoch> epochs;
    for (const auto& snapshot : snapshots) epochs.push_back(snapshot.epoch);
    return epochs;
}

std::size_t count(const std::vector<std::string>& names, const std::string& name) {
    return static_cast<std::size_t>(std::count(names.begin(), names.end(), name));
}

std::uint64_t test_seed() {
    const char* given = std::getenv("UMBRA_TEST_SEED");
    return given != nullptr ? std::stoull(given) : std::random_device()();
}

// Random changes, snapshots, and deletions from anywhere; after each round counted is what is
// there.
void account(const std::optional<std::string>& place, std::uint64_t seed, int rounds) {
    INFO("seed ", seed);
    TestVolume::Options options;
    options.place = place;
    TestVolume volume(options);
    TempDir twin(place ? fs::path(*place) : scratch_directory(), "twin");
    RandomWorkload workload(volume.volume(), twin.path(), seed);
    for (int round = 0; round < rounds; ++round) {
        for (int i = 0; i < 60; ++i) workload.step();
        check_accounting(volume, false);
        const auto epochs = living(volume);
        if (epochs.size() < 3 || workload.below(2) == 0) {
            must(volume->create_snapshot({}));
            continue;
        }
        must(volume->delete_snapshot(epochs[workload.below(epochs.size())]));
        check_accounting(volume, true);
    }
}

}  // namespace

TEST_SUITE("space") {
    TEST_CASE("what is counted is what is on disk") {
        const std::uint64_t seed = test_seed();
        MESSAGE("UMBRA_TEST_SEED=", seed);
        account(std::nullopt, seed, 30);
        for (FilesystemType type : {FilesystemType::Ext4, FilesystemType::Xfs}) {
            UMBRA_SKIP_IF(missing_for_image(type));
            RamImage image(type, 1024);
            account(image.path().string(), seed + 1, 20);
        }
    }

    TEST_CASE("journals of restore jobs are counted") {
        TestVolume volume;
        volume.snapshot();
        const std::string id = must(volume->jobs().create(0, 1'700'000'000)).id;
        must(volume->jobs().begin_run(id, ::getpid()));
        const std::string record(100'000, 'r');
        for (int i = 0; i < 20; ++i) must(volume->jobs().append(id, ::getpid(), record, i == 19));
        CHECK(volume->jobs().end_run(id, ::getpid()));
        CHECK(must(volume->space_use()).job_bytes >= 2'000'000);
        check_accounting(volume, false);
        volume.close();
        volume.open();
        CHECK(must(volume->space_use(false)).job_bytes >= 2'000'000);
        check_accounting(volume, false);
        must(volume->jobs().remove(id));
        CHECK(must(volume->space_use()).job_bytes == 0);
        check_accounting(volume, false);
    }

    TEST_CASE("what is counted is what is on disk after a process ended without closing") {
        UMBRA_SKIP_IF(missing_for_image(FilesystemType::Ext4));
        RamImage image(FilesystemType::Ext4, 1024);
        TestVolume::Options options;
        options.place = image.path();
        TestVolume volume(options);
        volume.snapshot();
        volume.close();
        TempDir twin(image.path(), "twin"), pictures("pictures");
        const std::uint64_t seed = test_seed();
        MESSAGE("UMBRA_TEST_SEED=", seed);
        std::mt19937_64 random(seed);
        for (int round = 0; round < 6; ++round) {
            BackgroundProcess child({"/proc/self/exe", kUncleanChildArgument, volume.share(),
                                     twin.path(), pictures.path(), std::to_string(random()),
                                     round % 2 == 0 ? "100" : "100000"});
            if (round % 2 == 0) {
                REQUIRE(child.wait() == 0);
            } else {
                std::this_thread::sleep_for(std::chrono::milliseconds(100 + random() % 300));
                child.send(SIGKILL);
                REQUIRE(child.wait() == 128 + SIGKILL);
            }
            volume.open();
            check_accounting(volume, true);
            auto epochs = living(volume);
            must(volume->delete_snapshot(epochs[random() % epochs.size()]));
            check_accounting(volume, true);
            volume.snapshot();
            volume.close();
            must_run({"rm", "-rf", twin.path()});
            must_run({"cp", "-a", volume.share(), twin.path()});
            must_run({"rm", "-rf", (fs::path(twin.path()) / ".umbra").string()});
        }
        volume.open();
        for (const auto& snapshot : volume->catalog().snapshots())
            must(volume->delete_snapshot(snapshot.epoch));
        check_accounting(volume, true);
        const SpaceUse use = must(volume->space_use());
        CHECK(use.log_bytes + use.limbo_bytes == 0);
    }

    TEST_CASE("files that grow and shrink while they wait in limbo are counted as they are") {
        TestVolume volume;
        volume.put("file", noise(4 * kMiB, 0));
        volume.put("other", noise(2 * kMiB, 0));
        auto first = volume.snapshot();
        auto file = must(volume.live().open(volume.id("file"), O_RDWR, Caller{}));
        volume.remove("file");
        volume.snapshot();
        must(volume.write_to(file, 4 * kMiB, noise(6 * kMiB, 1)));
        check_accounting(volume, false);
        CHECK(must(volume->space_use()).limbo_bytes == 10 * kMiB);
        // Gone with its snapshots, nothing of it stays counted.
        volume.remove("other");
        AttributeChange change;
        change.size = kMiB;
        must(volume.live().change_attributes(file.id, change, Caller{}, &file));
        for (const auto& snapshot : volume->catalog().snapshots())
            if (snapshot.epoch != first.epoch) must(volume->delete_snapshot(snapshot.epoch));
        must(volume->delete_snapshot(first.epoch));
        CHECK(must(volume->space_use(false)).limbo_bytes == 0);
    }

    TEST_CASE("deleting from the middle gives space back at once, as du(1) sees it") {
        for (FilesystemType type : {FilesystemType::Ext4, FilesystemType::Xfs}) {
            UMBRA_SKIP_IF(missing_for_image(type));
            RamImage image(type, 1024);
            TestVolume::Options options;
            options.place = image.path();
            TestVolume volume(options);
            auto epochs = fill(volume, 5);
            for (std::size_t i : {2UL, 1UL, 3UL}) {
                const std::uint64_t before = log_on_disk(volume);
                must(volume->delete_snapshot(epochs[i]));
                CHECK(before - log_on_disk(volume) >= 8 * kMiB);
            }
            CHECK(volume.past_content(epochs[0], "file") == noise(8 * kMiB, 0));
            CHECK(volume.past_content(epochs[4], "file") == noise(8 * kMiB, 4));
        }
    }

    TEST_CASE("warnings: each once on the way up, again after it had been less full") {
        TestVolume volume(limited(100 * kMiB, OnFull::kRefuse));
        volume.put("file", noise(40 * kMiB, 0));
        auto first = volume.snapshot();
        volume.write("file", 0, noise(40 * kMiB, 1));
        auto second = volume.snapshot();
        CHECK(volume.take_events().empty());
        volume.write("file", 0, noise(39 * kMiB, 2));
        CHECK(volume.take_events().empty());
        volume.write("file", 39 * kMiB, noise(kMiB, 3));
        volume.put("small", noise(11 * kMiB, 0));
        volume.snapshot();
        auto events = volume.take_event_list();
        REQUIRE(events.size() == 1);
        CHECK(events[0].id == EventId::kAreaFilling);
        CHECK(events[0].message.find(volume.area()) != std::string::npos);
        CHECK(events[0].message.find(" 80 %") != std::string::npos);
        volume.write("small", 0, noise(5 * kMiB, 1));
        CHECK(volume.take_events().empty());
        volume.write("small", 5 * kMiB, noise(6 * kMiB, 1));
        CHECK(volume.take_events() == std::vector<std::string>{"diff-area-almost-full"});
        // 91 %: two snapshots gone, all of it may be said again.
        must(volume->delete_snapshot(first.epoch));
        must(volume->delete_snapshot(second.epoch));
        CHECK(volume.take_events().empty());
        volume.put("large", noise(90 * kMiB, 0));
        volume.snapshot();
        auto file = must(volume.live().open(volume.id("large"), O_RDWR, Caller{}));
        ::sleep(1);  // what was seen for less time tells no rate
        int code = 0;
        for (std::uint64_t at = 0; at < 90 * kMiB && code == 0; at += kMiB)
            code = code_of(volume.write_to(file, at, noise(kMiB, at)));
        CHECK(code == ENOSPC);
        CHECK(code_of(volume.write_to(file, 89 * kMiB, noise(kMiB, 1))) == ENOSPC);
        CHECK(volume.take_events() ==
              std::vector<std::string>{"diff-area-filling", "diff-area-almost-full",
                                       "diff-area-nearly-full", "diff-area-full"});
        const SpaceUse use = must(volume->space_use());
        CHECK(use.used_percent >= 97);
        CHECK(use.used_percent <= 100);
        CHECK(use.effective_limit_bytes == 100 * kMiB);
        CHECK(use.growth_bytes_per_second > 0);
        CHECK(use.full_in_seconds.has_value());
    }

    TEST_CASE("a full filesystem below an unbounded area is warned of as well") {
        UMBRA_SKIP_IF(missing_for_image(FilesystemType::Ext4));
        RamImage image(FilesystemType::Ext4, 128);
        TestVolume::Options options;
        options.place = image.path();
        TestVolume volume(options);
        volume.put("file", noise(20 * kMiB, 0));
        volume.snapshot();
        volume.write("file", 0, noise(20 * kMiB, 1));
        CHECK(volume.take_events().empty());
        volume.snapshot();
        volume.put("filler", noise(8 * kMiB, 0));
        for (int i = 1; i < 400 && must(volume->space_use()).used_percent < 97; ++i)
            volume.put("filler" + std::to_string(i), noise(256 << 10, 0));
        // What others fill is looked at now and then.
        std::this_thread::sleep_for(std::chrono::milliseconds(300));
        volume.write("file", 0, noise(16 << 10, 2));
        const SpaceUse use = must(volume->space_use());
        CAPTURE(use.used_percent);
        CAPTURE(use.filesystem_free_bytes);
        CHECK(count(volume.take_events(), "diff-area-nearly-full") == 1);
        CHECK_FALSE(use.limit_bytes.has_value());
        CHECK(use.effective_limit_bytes < 128 * kMiB);
    }

    TEST_CASE("throttle: writers wait from 80 % on, the longer the fuller; then the oldest go") {
        TestVolume volume(limited(100 * kMiB, OnFull::kThrottle));
        std::vector<std::chrono::nanoseconds> waits;
        volume->set_slow_hook([&](auto wait) { waits.push_back(wait); });
        auto epochs = fill(volume, 9);
        CHECK(waits.empty());
        CHECK(volume.take_events().empty());
        must(volume->hold(epochs[0], {"keep", std::nullopt}));
        auto file = must(volume.live().open(volume.id("file"), O_RDWR, Caller{}));
        for (int round = 0; round < 2; ++round) {
            volume.snapshot();
            for (std::uint64_t at = 0; at < 8 * kMiB; at += 64 << 10)
                must(volume.write_to(file, at, noise(64 << 10, at + 1)));
        }
        REQUIRE(waits.size() > 10);
        auto slower = waits.back();
        CHECK(count(volume.take_events(), "writers-throttled") == 1);
        volume.snapshot();
        volume.write("file", 0, noise(8 * kMiB, 77));
        CHECK(waits.back() >= slower);
        for (auto wait : waits) CHECK(wait <= std::chrono::seconds(1));
        // At the limit the oldest goes that nothing holds, and no more than needed.
        volume.snapshot();
        volume.write("file", 0, noise(8 * kMiB, 78));
        auto events = volume.take_events();
        CHECK(count(events, "snapshot-evicted") >= 1);
        CHECK(count(events, "snapshot-evicted") <= 2);
        auto left = living(volume);
        CHECK(left.front() == epochs[0]);
        CHECK(std::find(left.begin(), left.end(), epochs[1]) == left.end());
        CHECK(volume.used_bytes() <= 100 * kMiB);
        CHECK(volume.used_bytes() > 80 * kMiB);
        // Reading is not slowed, nor is what adds nothing.
        waits.clear();
        CHECK(volume.past_content(epochs[0], "file") == noise(8 * kMiB, 0));
        volume.put("new", noise(kMiB, 1));
        volume.write("new", 0, noise(kMiB, 2));
        waits.clear();
        volume.write("new", 0, noise(kMiB, 3));
        CHECK(waits.empty());
        // Released when there is room.
        for (Epoch epoch : living(volume))
            if (epoch != epochs[0]) must(volume->delete_snapshot(epoch));
        volume.write("file", 0, noise(kMiB, 80));
        CHECK(waits.empty());
    }

    TEST_CASE("resize: below what is used it is refused, and says what would have to go") {
        TestVolume volume(limited(100 * kMiB, OnFull::kEvict));
        auto epochs = fill(volume, 6);
        must(volume->hold(epochs[1], {"keep", std::nullopt}));
        const std::uint64_t used = volume.used_bytes();
        auto refused = must(volume->resize(to_bytes(30 * kMiB)));
        CHECK_FALSE(refused.done);
        CHECK(refused.possible);
        CHECK(refused.missing_bytes >= used - 30 * kMiB);
        CHECK(refused.missing_bytes < used - 29 * kMiB);
        CHECK(epochs_of(refused.to_delete) == std::vector{epochs[0], epochs[2], epochs[3]});
        CHECK(living(volume) == epochs);
        CHECK(must(volume->space_use()).limit_bytes == 100 * kMiB);
        // The same when it is only tried, with --evict.
        auto tried = must(volume->resize(to_bytes(30 * kMiB, true, true)));
        CHECK_FALSE(tried.done);
        CHECK(epochs_of(tried.to_delete) == epochs_of(refused.to_delete));
        CHECK(living(volume) == epochs);
        volume.take_events();
        // And done: those, each announced, and no other.
        auto done = must(volume->resize(to_bytes(30 * kMiB, true)));
        CHECK(done.done);
        CHECK(epochs_of(done.to_delete) == epochs_of(refused.to_delete));
        CHECK(living(volume) == std::vector{epochs[1], epochs[4], epochs[5]});
        CHECK(count(volume.take_events(), "snapshot-evicted") == 3);
        CHECK(volume.used_bytes() <= 30 * kMiB);
        CHECK(must(volume->space_use()).limit_bytes == 30 * kMiB);
        CHECK(volume.past_content(epochs[1], "file") == noise(8 * kMiB, 1));
        CHECK(volume.past_content(epochs[4], "file") == noise(8 * kMiB, 4));
        volume.reopen();
        CHECK(volume->identity().max_size == SizeLimit{SizeLimit::Kind::kBytes, 30 * kMiB});
        CHECK(living(volume) == std::vector{epochs[1], epochs[4], epochs[5]});
    }

    TEST_CASE("resize: what is held is never deleted; then nothing is changed at all") {
        TestVolume volume(limited(100 * kMiB, OnFull::kEvict));
        auto epochs = fill(volume, 5);
        for (std::size_t i : {0UL, 2UL, 4UL}) must(volume->hold(epochs[i], {"keep", std::nullopt}));
        volume.take_events();
        auto refused = must(volume->resize(to_bytes(20 * kMiB, true)));
        CHECK_FALSE(refused.done);
        CHECK_FALSE(refused.possible);
        CHECK(epochs_of(refused.held) == std::vector{epochs[0], epochs[2], epochs[4]});
        CHECK(living(volume) == epochs);
        CHECK(volume.take_events().empty());
        CHECK(volume->identity().max_size.value == 100 * kMiB);
    }

    TEST_CASE("resize is in force at once, in both directions, and for the policy") {
        TestVolume volume(limited(40 * kMiB, OnFull::kRefuse));
        auto epochs = fill(volume, 4);
        volume.snapshot();
        auto file = must(volume.live().open(volume.id("file"), O_RDWR, Caller{}));
        CHECK(code_of(volume.write_to(file, 0, noise(8 * kMiB, 9))) == ENOSPC);
        volume.take_events();
        CHECK(must(volume->resize(to_bytes(80 * kMiB))).done);
        CHECK(code_of(volume.write_to(file, 0, noise(8 * kMiB, 9))) == 0);
        Volume::ResizeOptions policy;
        policy.on_full = OnFull::kEvict;
        CHECK(must(volume->resize(policy)).done);
        CHECK(volume->identity().on_full == OnFull::kEvict);
        for (std::uint64_t i = 0; i < 6; ++i) {
            volume.snapshot();
            volume.write("file", 0, noise(8 * kMiB, i));
        }
        CHECK(living(volume).front() != epochs.front());
        Volume::ResizeOptions unbounded;
        unbounded.max_size = SizeLimit{SizeLimit::Kind::kUnbounded, 0};
        unbounded.on_full = OnFull::kThrottle;
        CHECK(must(volume->resize(unbounded)).done);
        CHECK_FALSE(must(volume->space_use()).limit_bytes.has_value());
        volume.reopen();
        CHECK(volume->identity().on_full == OnFull::kThrottle);
        CHECK(volume->identity().max_size.kind == SizeLimit::Kind::kUnbounded);
    }

    TEST_CASE("sizes that cannot be are refused, and nothing changes") {
        UMBRA_SKIP_IF(missing_for_image(FilesystemType::Ext4));
        RamImage image(FilesystemType::Ext4, 96);
        TestVolume::Options options;
        options.place = image.path();
        TestVolume volume(options);
        for (std::uint64_t bytes : {std::uint64_t{1}, kMiB - 1, 97 * kMiB, UINT64_MAX}) {
            auto result = volume->resize(to_bytes(bytes, true));
            REQUIRE_FALSE(result.has_value());
            CHECK(result.error().kind == ErrorKind::kUsage);
            CHECK(volume->identity().max_size.kind == SizeLimit::Kind::kUnbounded);
            TempDir folder(image.path(), "other");
            CreateOptions create;
            create.share = folder.path();
            create.max_size = {SizeLimit::Kind::kBytes, bytes};
            auto created = Volume::create(create);
            REQUIRE_FALSE(created.has_value());
            CHECK(created.error().kind == ErrorKind::kUsage);
            CHECK(fs::is_empty(folder.path()));
        }
        CHECK(must(volume->resize(to_bytes(kMiB))).done);
    }
}
