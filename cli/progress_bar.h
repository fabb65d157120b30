// How far something long is, on stderr while that is a terminal: bytes, rate, time left.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace umbra {

class ProgressBar {
   public:
    ProgressBar();
    ~ProgressBar() { clear(); }
    ProgressBar(const ProgressBar&) = delete;
    ProgressBar& operator=(const ProgressBar&) = delete;

    void show(std::uint64_t done, std::uint64_t total);
    // Takes the bar away, before something else is printed.
    void clear();

   private:
    bool terminal_;
    bool shown_ = false;
    std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// " 45%  1.2 GiB of 2.7 GiB  310.0 MiB/s  0:05 left": what the bar says after `seconds`.
std::string progress_text(std::uint64_t done, std::uint64_t total, double seconds);

}  // namespace umbra
