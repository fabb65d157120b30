// What the loads of scripts/bench have in common: they are timed here, in C++, because an
// interpreter's own overhead would blur what a filesystem costs.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace umbra::bench {

using Arguments = std::vector<std::string>;

// What a load reports: printed as one JSON object.
using Report = std::vector<std::pair<std::string, double>>;

struct Load {
    const char* name;
    const char* usage;
    std::size_t arguments;
    Report (*run)(const Arguments&);
};

std::vector<Load> small_file_loads();
std::vector<Load> file_data_loads();
std::vector<Load> tree_loads();

// Throws std::runtime_error saying what failed and why: a load that fails has no figure.
[[noreturn]] void fail(const std::string& what);

std::uint64_t to_number(const std::string& text);

class Stopwatch {
   public:
    double seconds() const {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - began_).count();
    }

   private:
    std::chrono::steady_clock::time_point began_ = std::chrono::steady_clock::now();
};

// The numbers below `count` in an order that is random and always the same for one seed.
std::vector<std::uint64_t> shuffled(std::uint64_t count, std::uint64_t seed);

}  // namespace umbra::bench
