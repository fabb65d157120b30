// Holds: nothing deletes, evicts or shortens them before they are released or have run out,
// whatever the clock does.
#include <doctest/doctest.h>

#include <algorithm>
#include <atomic>
#include <memory>

#include "snapstore/token.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace {

constexpr std::int64_t kNow = 1'800'000'000;
constexpr std::int64_t kDay = 86400;

// Clocks that a test sets.
struct SetClock {
    std::shared_ptr<std::atomic<std::int64_t>> wall =
        std::make_shared<std::atomic<std::int64_t>>(kNow);
    std::shared_ptr<std::atomic<std::int64_t>> steady =
        std::make_shared<std::atomic<std::int64_t>>(1000);

    Clock clock() const {
        Clock made;
        made.wall = [wall = wall] {
            struct timespec now {};
            now.tv_sec = wall->load();
            return now;
        };
        made.steady_seconds = [steady = steady] { return steady->load(); };
        return made;
    }
    void pass(std::int64_t seconds) {
        *wall += seconds;
        *steady += seconds;
    }
};

TestVolume::Options with(const SetClock& clock) {
    TestVolume::Options options;
    options.clock = clock.clock();
    return options;
}

}  // namespace

TEST_SUITE("deletion guard") {
    TEST_CASE("a held snapshot is deleted when its hold has run out, and no sooner") {
        SetClock clock;
        TestVolume volume(with(clock));
        auto snapshot = volume.snapshot();
        must(volume->hold(snapshot.epoch, {"audit", kNow + kDay}));
        auto refused = volume->delete_snapshot(snapshot.epoch);
        CHECK(code_of(refused) == EBUSY);
        CHECK(refused.error().kind == ErrorKind::kRefused);
        // Why, and until when.
        CHECK(refused.error().text().find("audit") != std::string::npos);
        CHECK(refused.error().text().find("2027-01-16 08:00:00 UTC") != std::string::npos);
        clock.pass(kDay - 1);
        volume.reopen();
        CHECK(code_of(volume->delete_snapshot(snapshot.epoch)) == EBUSY);
        clock.pass(1);
        CHECK(code_of(volume->delete_snapshot(snapshot.epoch)) == 0);
    }

    TEST_CASE("a hold may be made longer, never shorter, but by releasing it") {
        SetClock clock;
        TestVolume volume(with(clock));
        Epoch epoch = volume.snapshot().epoch;
        must(volume->hold(epoch, {"audit", kNow + kDay}));
        auto shorter = volume->hold(epoch, {"audit", kNow + kDay - 1});
        CHECK(code_of(shorter) == EBUSY);
        CHECK(shorter.error().kind == ErrorKind::kRefused);
        CHECK(volume->catalog().find(epoch)->holds == std::vector<Hold>{{"audit", kNow + kDay}});
        must(volume->hold(epoch, {"audit", kNow + kDay}));
        must(volume->hold(epoch, {"audit", kNow + 2 * kDay}));
        must(volume->hold(epoch, {"audit", std::nullopt}));
        CHECK(code_of(volume->hold(epoch, {"audit", kNow + 9 * kDay})) == EBUSY);
        // Another reason is another hold.
        must(volume->hold(epoch, {"law", kNow + kDay}));
        CHECK(volume->catalog().find(epoch)->holds.size() == 2);
        must(volume->release(epoch, "audit"));
        CHECK(code_of(volume->delete_snapshot(epoch)) == EBUSY);
        must(volume->release(epoch, "law"));
        must(volume->hold(epoch, {"audit", kNow + 10}));
        clock.pass(11);
        // One that has run out holds nothing, and may be given again.
        must(volume->hold(epoch, {"audit", kNow + 20}));
        clock.pass(10);
        CHECK(code_of(volume->delete_snapshot(epoch)) == 0);
    }

    TEST_CASE("a clock that is set ahead ends no hold while the volume is in use") {
        SetClock clock;
        TestVolume volume(with(clock));
        Epoch epoch = volume.snapshot().epoch;
        must(volume->hold(epoch, {"audit", kNow + 30 * kDay}));
        *clock.wall += 365 * kDay;
        CHECK(code_of(volume->delete_snapshot(epoch)) == EBUSY);
        clock.pass(29 * kDay);
        CHECK(code_of(volume->delete_snapshot(epoch)) == EBUSY);
        clock.pass(kDay);
        CHECK(code_of(volume->delete_snapshot(epoch)) == 0);
    }

    TEST_CASE("a clock that is set back makes no hold run out early, and keeps the order") {
        SetClock clock;
        TestVolume volume(with(clock));
        std::vector<Snapshot> taken;
        taken.push_back(volume.snapshot());
        must(volume->hold(taken[0].epoch, {"audit", kNow + kDay}));
        for (std::int64_t back : {std::int64_t{1}, 3600 * kDay, kDay, std::int64_t{0}}) {
            *clock.wall -= back;
            taken.push_back(volume.snapshot());
            taken.push_back(volume.snapshot());
            volume.reopen();
        }
        CHECK(code_of(volume->delete_snapshot(taken[0].epoch)) == EBUSY);
        // Deleting the newest does not give its token out again.
        must(volume->delete_snapshot(taken.back().epoch));
        volume.reopen();
        taken.push_back(volume.snapshot());
        for (std::size_t i = 1; i < taken.size(); ++i) {
            CAPTURE(i);
            CHECK(taken[i - 1].token < taken[i].token);
            CHECK(taken[i - 1].epoch < taken[i].epoch);
            const auto before = taken[i - 1].created, now = taken[i].created;
            CHECK(std::pair(before.tv_sec, before.tv_nsec) < std::pair(now.tv_sec, now.tv_nsec));
        }
        const auto listed = volume->catalog().snapshots();
        CHECK(std::is_sorted(listed.begin(), listed.end(),
                             [](const auto& a, const auto& b) { return a.token < b.token; }));
        // Back to normal: time goes on behind the last token.
        *clock.wall = kNow + 2 * kDay;
        CHECK(volume.snapshot().token == format_token(kNow + 2 * kDay));
    }

    TEST_CASE("what is held is not evicted; what is not held goes in its stead") {
        SetClock clock;
        TestVolume::Options options = with(clock);
        options.limit = {SizeLimit::Kind::kBytes, 3u << 20};
        TestVolume volume(options);
        volume.put("file", noise(600'000, 1));
        std::vector<Epoch> epochs;
        for (int round = 0; round < 12; ++round) {
            epochs.push_back(volume.snapshot().epoch);
            if (round == 0) must(volume->hold(epochs[0], {"audit", kNow + kDay}));
            if (round == 2) *clock.wall += 365 * kDay;  // a jump ends it no sooner
            volume.write("file", 0, noise(600'000, static_cast<std::uint64_t>(round + 2)));
        }
        CHECK(volume->catalog().exists(epochs[0]));
        CHECK_FALSE(volume->catalog().exists(epochs[1]));
        CHECK(volume.past_content(epochs[0], "file") == noise(600'000, 1));
    }
}
