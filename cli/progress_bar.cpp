#include "cli/progress_bar.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <iostream>

#include "cli/output.h"

namespace umbra {

namespace {

constexpr int kBarWidth = 24;
constexpr double kRateAfterSeconds = 0.5;  // sooner it is a guess
constexpr std::uint64_t kLongestMinutes = 99999;

}  // namespace

std::string progress_text(std::uint64_t done, std::uint64_t total, double seconds) {
    done = std::min(done, total);
    const double part = total == 0 ? 1 : static_cast<double>(done) / static_cast<double>(total);
    std::string text = fmt::format("{:3}%  {} of {}", static_cast<int>(part * 100),
                                   human_size(done), human_size(total));
    if (seconds < kRateAfterSeconds || done == 0) return text;
    const double rate = static_cast<double>(done) / seconds;
    const double left = static_cast<double>(total - done) / rate;
    const std::uint64_t minutes =
        std::min(static_cast<std::uint64_t>(std::min(left / 60, 1e6)), kLongestMinutes);
    return text + fmt::format("  {}/s  {}:{:02} left", human_size(static_cast<std::uint64_t>(rate)),
                              minutes, static_cast<std::uint64_t>(left) % 60);
}

ProgressBar::ProgressBar() : terminal_(::isatty(STDERR_FILENO) == 1) {}

void ProgressBar::show(std::uint64_t done, std::uint64_t total) {
    if (!terminal_) return;
    const std::chrono::duration<double> passed = std::chrono::steady_clock::now() - begin_;
    const auto filled = total == 0 ? kBarWidth
                                   : static_cast<int>(static_cast<double>(std::min(done, total)) /
                                                      static_cast<double>(total) * kBarWidth);
    std::cerr << fmt::format("\r[{:<{}}] {}\033[K",
                             std::string(static_cast<std::size_t>(filled), '#'), kBarWidth,
                             progress_text(done, total, passed.count()))
              << std::flush;
    shown_ = true;
}

void ProgressBar::clear() {
    if (shown_) std::cerr << "\r\033[K" << std::flush;
    shown_ = false;
}

}  // namespace umbra
