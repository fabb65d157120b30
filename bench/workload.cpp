// umbra-bench-workload LOAD ARGUMENT...: runs one load and prints how long it took as JSON.
#include "bench/workload.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <exception>
#include <random>
#include <stdexcept>

namespace umbra::bench {

void fail(const std::string& what) { throw std::runtime_error(what + ": " + std::strerror(errno)); }

std::uint64_t to_number(const std::string& text) {
    std::size_t end = 0;
    const std::uint64_t number = std::stoull(text, &end);
    if (end != text.size()) throw std::runtime_error("'" + text + "' is not a number");
    return number;
}

std::vector<std::uint64_t> shuffled(std::uint64_t count, std::uint64_t seed) {
    std::vector<std::uint64_t> order(count);
    for (std::uint64_t index = 0; index < count; ++index) order[index] = index;
    std::mt19937_64 random(seed);
    std::shuffle(order.begin(), order.end(), random);
    return order;
}

namespace {

std::vector<Load> all_loads() {
    std::vector<Load> all;
    for (const auto& some : {small_file_loads(), file_data_loads(), tree_loads()}) {
        all.insert(all.end(), some.begin(), some.end());
    }
    return all;
}

void print(const Report& report) {
    std::string line;
    for (const auto& [name, value] : report) {
        char number[64];
        std::snprintf(number, sizeof number, "%.9f", value);
        line += (line.empty() ? "{\"" : ", \"") + name + "\": " + number;
    }
    std::printf("%s}\n", line.c_str());
}

int usage() {
    std::fprintf(stderr, "usage: umbra-bench-workload LOAD ARGUMENT...\n");
    for (const auto& load : all_loads()) std::fprintf(stderr, "  %s %s\n", load.name, load.usage);
    return 2;
}

}  // namespace

}  // namespace umbra::bench

int main(int count, char** words) {
    using namespace umbra::bench;
    const Arguments arguments(words + std::min(count, 2), words + count);
    for (const auto& load : all_loads()) {
        if (count < 2 || std::strcmp(words[1], load.name) != 0) continue;
        if (arguments.size() != load.arguments) return usage();
        try {
            print(load.run(arguments));
        } catch (const std::exception& error) {
            std::fprintf(stderr, "umbra-bench-workload %s: %s\n", load.name, error.what());
            return 1;
        }
        return 0;
    }
    return usage();
}
