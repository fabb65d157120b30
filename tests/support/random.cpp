#include "tests/support/random.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>

namespace umbra::test {

namespace {

constexpr int kSoakFactor = 20;

std::optional<uint64_t> number_in_environment(const char* name) {
    const char* text = std::getenv(name);
    if (text == nullptr || *text == '\0') return std::nullopt;
    return std::strtoull(text, nullptr, 0);
}

bool soaking() { return number_in_environment("UMBRA_SOAK").value_or(0) != 0; }

}  // namespace

Random::Random(uint64_t seed) {
    uint64_t mixed = seed + 0x9E3779B97F4A7C15ULL;
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9ULL;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBULL;
    state_ = (mixed ^ (mixed >> 31)) | 1;
}

uint64_t Random::next() {
    state_ ^= state_ >> 12;
    state_ ^= state_ << 25;
    state_ ^= state_ >> 27;
    return (state_ * 0x2545F4914F6CDD1DULL) >> 1;
}

int64_t Random::between(int64_t first, int64_t last) {
    return first + static_cast<int64_t>(below(static_cast<uint64_t>(last - first) + 1));
}

std::string Random::bytes(size_t size) {
    std::string text(size, '\0');
    for (size_t at = 0; at < size; at += sizeof(uint64_t)) {
        const uint64_t word = next();
        std::memcpy(text.data() + at, &word, std::min(sizeof word, size - at));
    }
    return text;
}

uint64_t announce_seed(const std::string& what) {
    const auto given = number_in_environment("UMBRA_SEED");
    const uint64_t seed = given ? *given : std::random_device()();
    std::printf("%s: UMBRA_SEED=%llu\n", what.c_str(), static_cast<unsigned long long>(seed));
    std::fflush(stdout);
    return seed;
}

Budget::Budget(std::chrono::milliseconds usual)
    : operations_(number_in_environment("UMBRA_OPS")),
      end_(std::chrono::steady_clock::now() + (soaking() ? usual * kSoakFactor : usual)) {}

bool Budget::spent(uint64_t operations_done) const {
    if (operations_) return operations_done >= *operations_;
    return std::chrono::steady_clock::now() >= end_;
}

int with_soak(int usual) { return soaking() ? usual * kSoakFactor : usual; }

}  // namespace umbra::test
