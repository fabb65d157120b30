// How fast writers may go as the diff area fills, and when it will be full.
#include <doctest/doctest.h>

#include "snapstore/fill_forecast.h"
#include "snapstore/writer_pace.h"

using namespace umbra;
using namespace std::chrono_literals;

namespace {

constexpr std::uint64_t kMiB = 1 << 20;
constexpr std::uint64_t kGiB = 1 << 30;

WriterPace::Clock::time_point at(std::chrono::milliseconds since) {
    return WriterPace::Clock::time_point(1h) + since;
}
FillForecast::Clock::time_point second(int number) {
    return FillForecast::Clock::time_point(1h) + std::chrono::seconds(number);
}

}  // namespace

TEST_SUITE("writer pace") {
    TEST_CASE("free up to 80 %, then slower with every per cent, and never at a stand") {
        for (std::uint64_t limit : {64 * kMiB, 10 * kGiB, 1024 * kGiB, std::uint64_t{1} << 62}) {
            CAPTURE(limit);
            CHECK(WriterPace::rate(0, limit) == 0);
            CHECK(WriterPace::rate(limit / 100 * 80, limit) == 0);
            double before = 1e300;
            for (std::uint64_t percent = 81; percent <= 120; ++percent) {
                const double rate = WriterPace::rate(limit / 100 * percent, limit);
                CHECK(rate >= WriterPace::kLeastBytesPerSecond);
                CHECK(rate <= before);
                before = rate;
            }
            CHECK(before == WriterPace::kLeastBytesPerSecond);
        }
        CHECK(WriterPace::rate(0, 0) == 0);
        CHECK(WriterPace::rate(UINT64_MAX, UINT64_MAX) > 0);
    }

    TEST_CASE("a change waits for what it added and no longer than the longest wait") {
        WriterPace pace;
        const std::uint64_t limit = 100 * kMiB;
        CHECK(pace.charge(50 * kMiB, 70 * kMiB, limit, at(0ms)) == 0ns);
        CHECK(pace.charge(0, limit, limit, at(0ms)) == 0ns);
        const auto half = pace.charge(kMiB / 2, limit, limit, at(0ms));
        CHECK(half == 500ms);
        CHECK(pace.charge(kMiB * 1000, limit, limit, at(0ms)) == 1000ms);
        // Time in which nothing was written is not saved up.
        CHECK(pace.charge(kMiB / 4, limit, limit, at(1h)) == 250ms);
    }

    TEST_CASE("writers beside each other share one pace") {
        WriterPace pace;
        const std::uint64_t limit = 100 * kMiB;
        for (int writer = 1; writer <= 4; ++writer)
            CHECK(pace.charge(kMiB / 4, limit, limit, at(0ms)) == writer * 250ms);
        CHECK(pace.charge(kMiB / 4, limit, limit, at(500ms)) == 750ms);
    }
}

TEST_SUITE("fill forecast") {
    TEST_CASE("steady growth is foretold from the first second on") {
        FillForecast forecast;
        CHECK_FALSE(forecast.lasts(kGiB).has_value());
        forecast.observe(5 * kGiB, second(0));
        CHECK_FALSE(forecast.lasts(kGiB).has_value());
        for (int i = 1; i <= 10; ++i) forecast.observe(5 * kGiB + i * kMiB, second(i));
        CHECK(static_cast<std::int64_t>(forecast.bytes_per_second() + 0.5) ==
              doctest::Approx(kMiB).epsilon(0.01));
        CHECK(forecast.lasts(100 * kMiB)->count() == doctest::Approx(100).epsilon(0.02));
        CHECK(forecast.lasts(0)->count() == 0);
    }

    TEST_CASE("what was long ago counts less") {
        FillForecast forecast;
        for (int i = 0; i <= 600; ++i) forecast.observe(i * 10 * kMiB, second(i));
        const std::uint64_t used = 600 * 10 * kMiB;
        for (int i = 1; i <= 4 * 3600; ++i) forecast.observe(used + i * kMiB, second(600 + i));
        CHECK(forecast.bytes_per_second() == doctest::Approx(kMiB).epsilon(0.05));
    }

    TEST_CASE("what does not grow never fills") {
        FillForecast forecast;
        for (int i = 0; i <= 100; ++i) forecast.observe(kGiB, second(i));
        CHECK_FALSE(forecast.lasts(kGiB).has_value());
        for (int i = 101; i <= 200; ++i) forecast.observe(kGiB - i * 1000, second(i));
        CHECK_FALSE(forecast.lasts(kGiB).has_value());
        FillForecast slow;
        slow.observe(0, second(0));
        slow.observe(1, second(60));
        CHECK_FALSE(slow.lasts(UINT64_MAX).has_value());
        // A clock that stands changes nothing.
        FillForecast standing;
        for (int i = 0; i < 5; ++i) standing.observe(i * kMiB, second(7));
        CHECK(standing.bytes_per_second() == 0);
    }
}
