// How much room a diff area has: its limit, how full it is, and what follows from that: warnings
// with a forecast, how much writers are slowed, whether a change may grow it.
//
// What is known of the filesystem is measured again and again, and no single answer of it is
// believed: a limit in per cent changes, and space counts as scarce, only when two say so in a row.
// Nothing is refused or evicted on account of it: for that only the limit counts, and an append
// that really found no space.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <optional>
#include <string>

#include "snapstore/fill_forecast.h"
#include "snapstore/result.h"
#include "snapstore/size_limit.h"
#include "snapstore/volume.h"
#include "snapstore/writer_pace.h"

namespace umbra {

class VolumeCore;

// Thread-safe. Lock: mutex_, a leaf, but for that of the event log.
class AreaSpace {
   public:
    explicit AreaSpace(VolumeCore& core) : core_(core) {}

    // As area.toml says; in force when it returns. Measures the filesystem. Errors: of that.
    Result<void> configure(const SizeLimit& max_size, OnFull on_full);

    OnFull on_full() const { return on_full_.load(); }
    SizeLimit max_size() const;
    // No value: unbounded.
    std::optional<std::uint64_t> limit_bytes() const;
    // As counted; look_closely() makes it what is on disk, what waits in limbo now and then only.
    std::uint64_t used() const;
    Result<void> look_closely();

    // Would `bytes` more stay within the limit? Otherwise kNeedsSpace with EDQUOT (the filesystem's
    // own want of space is ENOSPC).
    Result<void> check(std::uint64_t bytes) const;

    // After a change that made history take `bytes` more; the caller holds no lock. Looks now and
    // then whether there is something to tell, and returns how long the author of the change is to
    // wait.
    std::chrono::nanoseconds after_change(std::uint64_t bytes);
    // Looks at once: after something that gave space back, or for who asks.
    void look();
    // A change was answered with ENOSPC.
    void note_full(const std::string& why);
    // Fills in what SpaceUse says of limits, fullness and forecast. Measures, and tells nothing.
    void describe(SpaceUse& use);

   private:
    struct Room {
        std::uint64_t used = 0;
        std::uint64_t limit = 0;  // the smaller of the limit and what the filesystem still gives
        std::uint64_t left() const { return limit - std::min(limit, used); }
        unsigned percent() const;
    };
    void look_locked();
    Room measure();  // mutex_ held, as for all below
    void measure_filesystem();
    void apply_limit();
    void tell_fill(const Room& room);
    void tell_throttling(const Room& room);
    void tell_room(const Room& room);
    std::string fill_sentence(const Room& room) const;

    VolumeCore& core_;
    std::atomic<OnFull> on_full_{OnFull::kEvict};
    std::atomic<std::uint64_t> limit_{UINT64_MAX};            // the configured one, in bytes
    std::atomic<std::uint64_t> effective_limit_{UINT64_MAX};  // as last measured
    std::atomic<std::int64_t> next_look_{0};                  // steady clock, nanoseconds
    std::atomic<std::uint64_t> grown_{0};                     // since the last look
    std::atomic<std::uint64_t> look_after_{0};                // so much growth
    std::atomic<bool> throttling_{false};
    std::atomic<bool> full_{false};
    WriterPace pace_;

    mutable std::mutex mutex_;  // guards all below
    SizeLimit max_size_;
    std::uint64_t filesystem_bytes_ = 0;                   // its size, as believed
    std::optional<std::uint64_t> filesystem_bytes_other_;  // what the last answer said instead
    std::uint64_t free_bytes_ = 0;                         // the last answer,
    std::uint64_t free_bytes_before_ = 0;                  // ... and the one before
    std::chrono::steady_clock::time_point index_measured_{};
    std::chrono::steady_clock::time_point limbo_measured_{};
    FillForecast forecast_;
    unsigned told_ = 0;  // how many of the warnings are in force
};

}  // namespace umbra
