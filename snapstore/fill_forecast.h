// When something that grows will be full: the rate of its growth, in which what was lately counts
// more than what was long ago.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

namespace umbra {

// Not thread-safe.
class FillForecast {
   public:
    using Clock = std::chrono::steady_clock;
    // After this time what was observed counts 1/e of what is observed now.
    static constexpr std::chrono::minutes kMemory{30};

    // So much is used at this time. Less than before counts as negative growth.
    void observe(std::uint64_t used, Clock::time_point now);
    // Bytes per second, negative where it shrinks; 0 until kLeastTime has been observed.
    double bytes_per_second() const;
    // How long `room` bytes last; no value when it does not grow, or lasts for more than ten years.
    std::optional<std::chrono::seconds> lasts(std::uint64_t room) const;

   private:
    static constexpr std::chrono::seconds kLeastTime{1};

    std::optional<Clock::time_point> last_;
    std::uint64_t used_ = 0;
    // Both fade alike, so that a young forecast is the mean of all there was.
    double grown_ = 0;
    double seconds_ = 0;
};

}  // namespace umbra
