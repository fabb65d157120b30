#include "snapstore/writer_pace.h"

#include <algorithm>

namespace umbra {

double WriterPace::rate(std::uint64_t used, std::uint64_t limit) {
    const double all = static_cast<double>(limit);
    const double from = all * kFromPercent / 100;
    const double beyond = static_cast<double>(used) - from;
    if (limit == 0 || beyond <= 0) return 0;
    const double part = std::min(1.0, beyond / (all - from));
    const double room = all - std::min(all, static_cast<double>(used));
    const double seconds = part * std::chrono::duration<double>(kTimeLeft).count();
    return std::max(kLeastBytesPerSecond, room / seconds);
}

std::chrono::nanoseconds WriterPace::charge(std::uint64_t bytes, std::uint64_t used,
                                            std::uint64_t limit, Clock::time_point now) {
    const double allowed = rate(used, limit);
    if (allowed <= 0) return {};
    const std::chrono::duration<double> price(static_cast<double>(bytes) / allowed);
    const std::lock_guard lock(mutex_);
    // Nobody pays for longer than the longest wait, nor with time in which nothing was written.
    free_from_ =
        std::max(free_from_, now) + std::chrono::duration_cast<Clock::duration>(std::min(
                                        price, std::chrono::duration<double>(kLongestWait)));
    free_from_ = std::min(free_from_, now + Clock::duration(kLongestWait));
    return free_from_ - now;
}

}  // namespace umbra
