#include "tests/mount/pair.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <stdexcept>

#include "tests/support/scratch.h"

namespace umbra::test {

namespace {

std::filesystem::path made_directory(const std::filesystem::path& path, mode_t mode) {
    if ((::mkdir(path.c_str(), mode) != 0 && errno != EEXIST) || ::chmod(path.c_str(), mode) != 0) {
        throw std::runtime_error("mkdir " + path.string() + ": " + std::strerror(errno));
    }
    return path;
}

std::filesystem::path without_access_times(const std::filesystem::path& path) {
    if (::mount(path.c_str(), path.c_str(), nullptr, MS_BIND, nullptr) != 0 ||
        ::mount(nullptr, path.c_str(), nullptr, MS_BIND | MS_REMOUNT | MS_NOATIME, nullptr) != 0) {
        throw std::runtime_error("bind " + path.string() + ": " + std::strerror(errno));
    }
    return path;
}

}  // namespace

Pair::Pair(FilesystemType type)
    : image_(type),
      plain_(without_access_times(made_directory(image_.path() / "plain", 0755))),
      share_(made_directory(image_.path() / "share", 0755)),
      outside_(made_directory(scratch_directory() / "outside", 0777)),
      folder_below_(::open(share_.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)),
      umbra_(share_) {}

Pair::~Pair() { ::close(folder_below_); }

void Pair::delete_all_snapshots() {
    for (const auto& snapshot : umbra_.snapshots()) umbra_.delete_snapshot(snapshot.token);
}

Pair& shared_pair(FilesystemType type) {
    // Made first, so that it outlives the pairs.
    scratch_directory();
    static std::array<std::unique_ptr<Pair>, 3> pairs;
    auto& pair = pairs.at(static_cast<size_t>(type));
    if (pair && !pair->umbra().daemon_runs()) pair.reset();
    if (!pair) pair = std::make_unique<Pair>(type);
    return *pair;
}

}  // namespace umbra::test
