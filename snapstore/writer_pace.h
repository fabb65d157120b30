// How much writers are slowed as the diff area nears its limit (policy `throttle`): what they add
// is let through at a rate that falls as room gets scarce. One pace for all of them.
#pragma once

#include <chrono>
#include <cstdint>
#include <mutex>

namespace umbra {

// Thread-safe; its mutex is a leaf.
class WriterPace {
   public:
    using Clock = std::chrono::steady_clock;
    // Slowing begins when this part of the limit is used.
    static constexpr unsigned kFromPercent = 80;
    // No change waits longer, however much it adds.
    static constexpr std::chrono::milliseconds kLongestWait{1000};
    // Writers always get so much.
    static constexpr double kLeastBytesPerSecond = 1 << 20;

    // Bytes per second that may be added when `used` of `limit` is used; 0: as many as they like.
    // At 90 % what is left would last for half of kTimeLeft, at 99 % for nearly all of it.
    static double rate(std::uint64_t used, std::uint64_t limit);

    // How long the author of a change that has added `bytes` is to wait.
    std::chrono::nanoseconds charge(std::uint64_t bytes, std::uint64_t used, std::uint64_t limit,
                                    Clock::time_point now);

   private:
    static constexpr std::chrono::seconds kTimeLeft{300};

    std::mutex mutex_;
    Clock::time_point free_from_{};  // when all that was added has been paid for
};

}  // namespace umbra
