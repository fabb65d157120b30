// The clocks that a volume looks at, so that a test can set them.
#pragma once

#include <cstdint>
#include <ctime>
#include <functional>

namespace umbra {

struct Clock {
    // Seconds since 1970, as the administrator (or an attacker, or a dead battery) sets them.
    std::function<struct timespec()> wall = [] {
        struct timespec now {};
        clock_gettime(CLOCK_REALTIME, &now);
        return now;
    };
    // Seconds since some moment; nobody can set them, and sleeping counts.
    std::function<std::int64_t()> steady_seconds = [] {
        struct timespec now {};
        clock_gettime(CLOCK_BOOTTIME, &now);
        return static_cast<std::int64_t>(now.tv_sec);
    };
};

}  // namespace umbra
