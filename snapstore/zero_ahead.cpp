#include "snapstore/zero_ahead.h"

#include <unistd.h>

#include <algorithm>
#include <vector>

#include "snapstore/undo_log.h"

namespace umbra {

namespace {

constexpr std::uint64_t kStretch = 4ull << 20;
constexpr std::uint64_t kMargin = 2ull << 20;  // start the next stretch when this much is left
constexpr std::uint64_t kSmallRecord = 128ull << 10;
constexpr std::uint64_t kWorthwhile = 256ull << 10;  // a file with fewer small records does without

}  // namespace

ZeroAhead::~ZeroAhead() {
    {
        std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    changed_.notify_all();
    if (thread_.joinable()) thread_.join();
}

void ZeroAhead::follow(std::shared_ptr<LogFile> file, std::uint64_t end) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !working_; });
    file_ = std::move(file);
    zeroed_to_ = end;
    small_bytes_ = 0;
    wanted_ = false;
}

void ZeroAhead::before_append(std::uint64_t offset, std::uint64_t length) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !working_ || offset + length <= zeroed_to_; });
    zeroed_to_ = std::max(zeroed_to_, offset + length);
}

void ZeroAhead::after_append(std::uint64_t end, std::uint64_t length) {
    std::lock_guard lock(mutex_);
    if (length > kSmallRecord) return;
    small_bytes_ += length;
    if (small_bytes_ < kWorthwhile || working_ || zeroed_to_ - std::min(zeroed_to_, end) > kMargin)
        return;
    wanted_ = true;
    if (!thread_.joinable()) thread_ = std::thread([this] { work(); });
    changed_.notify_all();
}

void ZeroAhead::work() {
    std::unique_lock lock(mutex_);
    for (;;) {
        changed_.wait(lock, [&] { return wanted_ || stopping_; });
        if (stopping_) return;
        wanted_ = false;
        if (!file_) continue;
        working_ = true;
        auto file = file_;
        std::uint64_t from = zeroed_to_;
        lock.unlock();
        write_zeros(*file, from);
        lock.lock();
        working_ = false;
        zeroed_to_ = from + kStretch;
        changed_.notify_all();
    }
}

void ZeroAhead::write_zeros(LogFile& file, std::uint64_t from) {
    auto fd = file.descriptor();
    if (!fd) return;
    // Best effort: where there is no room, appends find out themselves.
    std::vector<char> zeros(1 << 20);
    for (std::uint64_t at = from; at < from + kStretch; at += zeros.size())
        if (pwrite((*fd)->get(), zeros.data(), zeros.size(), static_cast<off_t>(at)) < 0) return;
    fdatasync((*fd)->get());
}

}  // namespace umbra
