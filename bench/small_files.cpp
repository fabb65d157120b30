// Loads of one operation on many small files of one directory: f000000, f000001, ...
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <functional>

#include "bench/workload.h"
#include "snapstore/unique_fd.h"

namespace umbra::bench {

namespace {

std::string file_name(char prefix, std::uint64_t number) {
    char name[32];
    std::snprintf(name, sizeof name, "%c%06llu", prefix, static_cast<unsigned long long>(number));
    return name;
}

UniqueFd open_directory(const std::string& path) {
    UniqueFd directory(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!directory.valid()) fail("open " + path);
    return directory;
}

// Times `operation` on the files of DIRECTORY COUNT in the order given.
Report time_each(const Arguments& arguments, const std::vector<std::uint64_t>& order,
                 const std::function<bool(int directory, std::uint64_t number)>& operation) {
    const UniqueFd directory = open_directory(arguments[0]);
    const Stopwatch watch;
    for (const std::uint64_t number : order) {
        if (!operation(directory.get(), number))
            fail("file " + std::to_string(number) + " of " + arguments[0]);
    }
    return {{"seconds", watch.seconds()}, {"operations", static_cast<double>(order.size())}};
}

std::vector<std::uint64_t> in_order(const std::string& count) {
    std::vector<std::uint64_t> order(to_number(count));
    for (std::uint64_t index = 0; index < order.size(); ++index) order[index] = index;
    return order;
}

std::vector<std::uint64_t> at_random(const std::string& count) {
    return shuffled(to_number(count), 1);
}

Report create(const Arguments& arguments) {
    const std::string content(to_number(arguments[2]), 'x');
    return time_each(arguments, in_order(arguments[1]), [&](int directory, std::uint64_t number) {
        const UniqueFd file(::openat(directory, file_name('f', number).c_str(),
                                     O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
        if (!file.valid()) return false;
        return ::write(file.get(), content.data(), content.size()) ==
               static_cast<ssize_t>(content.size());
    });
}

Report stat_files(const Arguments& arguments) {
    return time_each(arguments, at_random(arguments[1]), [](int directory, std::uint64_t number) {
        struct stat status {};
        return ::fstatat(directory, file_name('f', number).c_str(), &status, AT_SYMLINK_NOFOLLOW) ==
               0;
    });
}

Report open_read(const Arguments& arguments) {
    std::string buffer(65536, '\0');
    return time_each(arguments, at_random(arguments[1]), [&](int directory, std::uint64_t number) {
        const UniqueFd file(
            ::openat(directory, file_name('f', number).c_str(), O_RDONLY | O_CLOEXEC));
        return file.valid() && ::read(file.get(), buffer.data(), buffer.size()) > 0;
    });
}

// To a name that begins with r, or back.
Report rename_files(const Arguments& arguments, char from, char to) {
    return time_each(arguments, at_random(arguments[1]), [&](int directory, std::uint64_t number) {
        return ::renameat(directory, file_name(from, number).c_str(), directory,
                          file_name(to, number).c_str()) == 0;
    });
}

Report rename_away(const Arguments& arguments) { return rename_files(arguments, 'f', 'r'); }
Report rename_back(const Arguments& arguments) { return rename_files(arguments, 'r', 'f'); }

Report change_mode(const Arguments& arguments) {
    // Another mode than the one they have, or there would be nothing to do.
    const auto mode = static_cast<mode_t>(std::stoul(arguments[2], nullptr, 8));
    return time_each(arguments, at_random(arguments[1]), [&](int directory, std::uint64_t number) {
        return ::fchmodat(directory, file_name('f', number).c_str(), mode, 0) == 0;
    });
}

Report unlink_files(const Arguments& arguments) {
    return time_each(arguments, at_random(arguments[1]), [](int directory, std::uint64_t number) {
        return ::unlinkat(directory, file_name('f', number).c_str(), 0) == 0;
    });
}

}  // namespace

std::vector<Load> small_file_loads() {
    return {{"create", "DIRECTORY COUNT BYTES", 3, create},
            {"stat", "DIRECTORY COUNT", 2, stat_files},
            {"open-read", "DIRECTORY COUNT", 2, open_read},
            {"rename", "DIRECTORY COUNT", 2, rename_away},
            {"rename-back", "DIRECTORY COUNT", 2, rename_back},
            {"chmod", "DIRECTORY COUNT OCTAL-MODE", 3, change_mode},
            {"unlink", "DIRECTORY COUNT", 2, unlink_files}};
}

}  // namespace umbra::bench
