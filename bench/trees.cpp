// Loads on trees of many small files: d00000/f000, d00000/f001, ...
#include <fcntl.h>
#include <ftw.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <exception>
#include <functional>
#include <thread>

#include "bench/workload.h"
#include "snapstore/unique_fd.h"

namespace umbra::bench {

namespace {

constexpr std::uint64_t kFilesInDirectory = 100;

std::string directory_path(const std::string& tree, std::uint64_t number) {
    char name[32];
    std::snprintf(name, sizeof name, "/d%05llu", static_cast<unsigned long long>(number));
    return tree + name;
}

std::string file_path(const std::string& tree, std::uint64_t number) {
    char name[32];
    std::snprintf(name, sizeof name, "/f%03llu",
                  static_cast<unsigned long long>(number % kFilesInDirectory));
    return directory_path(tree, number / kFilesInDirectory) + name;
}

Report make_tree(const Arguments& arguments) {
    const std::string& tree = arguments[0];
    const std::uint64_t count = to_number(arguments[1]);
    const std::string content(to_number(arguments[2]), 'x');
    const Stopwatch watch;
    for (std::uint64_t number = 0; number < count; ++number) {
        if (number % kFilesInDirectory == 0) {
            const std::string directory = directory_path(tree, number / kFilesInDirectory);
            if (::mkdir(directory.c_str(), 0755) != 0) fail("mkdir " + directory);
        }
        const std::string path = file_path(tree, number);
        const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
        if (!file.valid() || ::write(file.get(), content.data(), content.size()) !=
                                 static_cast<ssize_t>(content.size())) {
            fail("write " + path);
        }
    }
    return {{"seconds", watch.seconds()}, {"operations", static_cast<double>(count)}};
}

Report read_tree(const Arguments& arguments) {
    const std::string& tree = arguments[0];
    const std::uint64_t count = to_number(arguments[1]), thread_count = to_number(arguments[2]);
    std::atomic<std::uint64_t> failed{0};
    const Stopwatch watch;
    std::vector<std::thread> threads;
    for (std::uint64_t thread = 0; thread < thread_count; ++thread) {
        threads.emplace_back([&, thread] {
            char buffer[65536];
            for (std::uint64_t number = thread; number < count; number += thread_count) {
                const UniqueFd file(::open(file_path(tree, number).c_str(), O_RDONLY | O_CLOEXEC));
                if (!file.valid() || ::read(file.get(), buffer, sizeof buffer) <= 0) ++failed;
            }
        });
    }
    for (auto& thread : threads) thread.join();
    if (failed != 0) {
        errno = EIO;
        fail("reading " + std::to_string(failed) + " files of " + tree);
    }
    return {{"seconds", watch.seconds()}, {"operations", static_cast<double>(count)}};
}

// Changes COUNT files of the tree, spread evenly over it: overwrites their first bytes and gives
// them another mode.
Report change_tree(const Arguments& arguments) {
    const std::string& tree = arguments[0];
    const std::uint64_t files = to_number(arguments[1]), count = to_number(arguments[2]);
    const std::uint64_t seed = to_number(arguments[3]);
    const std::string content = "change " + std::to_string(seed) + "\n";
    const Stopwatch watch;
    for (std::uint64_t index = 0; index < count; ++index) {
        const std::string path = file_path(tree, index * (files / count));
        const UniqueFd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
        if (!file.valid() || ::pwrite(file.get(), content.data(), content.size(), 0) < 0 ||
            ::fchmod(file.get(), seed % 2 == 0 ? 0600 : 0640) != 0) {
            fail("change " + path);
        }
    }
    return {{"seconds", watch.seconds()}, {"operations", static_cast<double>(count)}};
}

}  // namespace

std::vector<Load> tree_loads() {
    return {{"make-tree", "DIRECTORY FILES BYTES", 3, make_tree},
            {"read-tree", "DIRECTORY FILES THREADS", 3, read_tree},
            {"change-tree", "DIRECTORY FILES COUNT SEED", 4, change_tree}};
}

}  // namespace umbra::bench
