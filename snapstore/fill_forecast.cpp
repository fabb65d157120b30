#include "snapstore/fill_forecast.h"

#include <cmath>

namespace umbra {

namespace {

using Seconds = std::chrono::duration<double>;

constexpr double kTenYears = 10.0 * 365 * 86400;

}  // namespace

void FillForecast::observe(std::uint64_t used, Clock::time_point now) {
    if (last_ && now > *last_) {
        const double passed = Seconds(now - *last_).count();
        const double fading = std::exp(-passed / Seconds(kMemory).count());
        grown_ = grown_ * fading + (static_cast<double>(used) - static_cast<double>(used_));
        seconds_ = seconds_ * fading + passed;
    } else if (last_) {
        grown_ += static_cast<double>(used) - static_cast<double>(used_);
    }
    if (!last_ || now > *last_) last_ = now;
    used_ = used;
}

double FillForecast::bytes_per_second() const {
    return seconds_ < Seconds(kLeastTime).count() ? 0 : grown_ / seconds_;
}

std::optional<std::chrono::seconds> FillForecast::lasts(std::uint64_t room) const {
    const double rate = bytes_per_second();
    if (rate <= 0) return std::nullopt;
    const double seconds = static_cast<double>(room) / rate;
    if (seconds > kTenYears) return std::nullopt;
    return std::chrono::seconds(static_cast<std::int64_t>(seconds));
}

}  // namespace umbra
