// Random numbers that one printed seed repeats, and how long random tests run.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>

namespace umbra::test {

// xorshift64* behind splitmix64: the same numbers everywhere for one seed.
class Random {
   public:
    explicit Random(uint64_t seed);

    uint64_t next();
    // 0 .. limit-1; limit must not be 0.
    uint64_t below(uint64_t limit) { return next() % limit; }
    // first .. last
    int64_t between(int64_t first, int64_t last);
    bool chance(unsigned percent) { return below(100) < percent; }
    template <typename Container>
    const auto& one_of(const Container& container) {
        return container[below(container.size())];
    }
    std::string bytes(size_t size);

   private:
    uint64_t state_;
};

// The seed of this run, UMBRA_SEED or a fresh one; prints it together with what it is for, so that
// a failure can be repeated.
uint64_t announce_seed(const std::string& what);

// When a random test is over: after UMBRA_OPS operations where that is set (exactly repeatable),
// else after a time, 20 times as long with UMBRA_SOAK=1.
class Budget {
   public:
    explicit Budget(std::chrono::milliseconds usual);
    bool spent(uint64_t operations_done) const;

   private:
    std::optional<uint64_t> operations_;
    std::chrono::steady_clock::time_point end_;
};

// `usual`, 20 times as many with UMBRA_SOAK=1.
int with_soak(int usual);

}  // namespace umbra::test
