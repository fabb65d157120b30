// Every kind of change that a snapshot must survive, each on things of its own.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace umbra::test {

// `directory` is the change's own, absolute. Descriptors and mappings that stay open over snapshots
// are kept in the process and given up by release_held().
struct Change {
    std::string name;
    std::function<void(const std::filesystem::path& directory)> prepare;
    // Called once for each round, counting from 1, with a snapshot between any two.
    std::function<void(const std::filesystem::path& directory, int round)> apply;
};

// Both throw std::runtime_error when a call fails that must not.
const std::vector<Change>& all_changes();

void release_held();

}  // namespace umbra::test
