// Large volumes: files as long as a filesystem allows, and millions of them, served by a daemon
// that is allowed 300 MiB of memory, caches and all.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <system_error>
#include <vector>

#include "snapstore/unique_fd.h"
#include "tests/support/process.h"
#include "tests/support/ram_image.h"
#include "tests/support/random.h"
#include "tests/support/scratch.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::uint64_t kLimitBytes = 300ull << 20;
constexpr std::size_t kBlock = 4096;

bool soak() {
    const char* wanted = std::getenv("UMBRA_SOAK");
    return wanted != nullptr && std::string(wanted) == "1";
}

// A memory cgroup, of either version; programs started with prefix() live in it.
class MemoryLimit {
   public:
    MemoryLimit() {
        const fs::path version_1 = "/sys/fs/cgroup/memory";
        const bool old = fs::exists(version_1 / "memory.limit_in_bytes");
        folder_ = (old ? version_1 : fs::path("/sys/fs/cgroup")) /
                  ("umbra-test-" + std::to_string(::getpid()));
        std::error_code failed;
        fs::create_directory(folder_, failed);
        procs_ = folder_ / "cgroup.procs";
        write(folder_ / (old ? "memory.limit_in_bytes" : "memory.max"));
    }
    ~MemoryLimit() {
        if (!folder_.empty()) ::rmdir(folder_.c_str());
    }
    std::optional<std::string> missing() const {
        if (limited_) return std::nullopt;
        return "no memory cgroup";
    }
    // How often the limit could not be kept without ending a process.
    std::uint64_t kills() const {
        std::ifstream version_1(folder_ / "memory.oom_control"),
            version_2(folder_ / "memory.events");
        std::string key;
        for (std::uint64_t number = 0; version_1 >> key >> number || version_2 >> key >> number;)
            if (key == "oom_kill") return number;
        return 0;
    }
    // Moves a process there.
    void take(pid_t pid) const {
        std::ofstream file(procs_);
        file << pid;
        file.close();
        REQUIRE(file);
    }

   private:
    void write(const fs::path& file) {
        std::ofstream out(file);
        out << kLimitBytes;
        out.close();
        limited_ = static_cast<bool>(out);
    }

    fs::path folder_, procs_;
    bool limited_ = false;
};

std::uint64_t most_memory(pid_t pid) {
    std::ifstream status("/proc/" + std::to_string(pid) + "/status");
    for (std::string line; std::getline(status, line);)
        if (line.starts_with("VmHWM:")) return std::strtoull(line.c_str() + 6, nullptr, 10) << 10;
    return 0;
}

std::string block_of(std::uint64_t offset, int version) {
    std::string text;
    while (text.size() < kBlock)
        text += std::to_string(offset) + " version " + std::to_string(version) + "\n";
    return text.substr(0, kBlock);
}

void write_block(int fd, std::uint64_t offset, const std::string& data) {
    const ssize_t count = ::pwrite(fd, data.data(), data.size(), static_cast<off_t>(offset));
    INFO("at " << offset << ": " << std::generic_category().message(errno));
    REQUIRE(count == static_cast<ssize_t>(data.size()));
}

std::string read_block(int fd, std::uint64_t offset, std::size_t size) {
    std::string data(size, '?');
    const ssize_t count = ::pread(fd, data.data(), size, static_cast<off_t>(offset));
    REQUIRE(count >= 0);
    data.resize(static_cast<std::size_t>(count));
    return data;
}

// Overwrites blocks at random offsets up to the very end of a file of this size, with a snapshot
// between each two rounds, and reads every version back from its snapshot.
void check_large_file(FilesystemType type, std::uint64_t size) {
    MemoryLimit memory;
    UMBRA_SKIP_IF(memory.missing());
    RamImage image(type, 4096);
    UmbraMount mount(make_folder(image));
    // None of the snapshots is to be evicted.
    must_run(
        {umbra_binary(), "storage", "resize", mount.share().string(), "--max-size", "unbounded"});
    memory.take(mount.daemon_pid());
    Random random(announce_seed("large file"));
    const fs::path file = mount.path() / "large";
    const UniqueFd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
    REQUIRE(fd.valid());
    REQUIRE(::ftruncate(fd.get(), static_cast<off_t>(size)) == 0);

    const int blocks = soak() ? 20000 : 500;
    std::vector<std::uint64_t> offsets{0, size - kBlock, size / 2};
    for (int i = 0; i < blocks; ++i) offsets.push_back(random.below(size - kBlock));
    // Their 16 KiB neighbourhoods must not meet, so that each block is known by itself.
    std::map<std::uint64_t, std::uint64_t> apart;
    for (const auto offset : offsets) apart.try_emplace(offset / (64 << 10), offset);
    std::vector<std::string> tokens;
    for (int version = 0; version < 3; ++version) {
        for (const auto& [place, offset] : apart) {
            if (version > 0 && place % 3 == 0) continue;  // these are written once
            write_block(fd.get(), offset, block_of(offset, version));
        }
        tokens.push_back(mount.create_snapshot());
    }
    for (const auto& [place, offset] : apart)
        write_block(fd.get(), offset, std::string(kBlock, 'z'));
    REQUIRE(::ftruncate(fd.get(), static_cast<off_t>(size / 3)) == 0);
    for (int version = 0; version < 3; ++version) {
        const fs::path past =
            mount.snapshot_path(tokens[static_cast<std::size_t>(version)]) / "large";
        const UniqueFd old(::open(past.c_str(), O_RDONLY | O_CLOEXEC));
        REQUIRE(old.valid());
        struct stat status {};
        REQUIRE(::fstat(old.get(), &status) == 0);
        CHECK(static_cast<std::uint64_t>(status.st_size) == size);
        int wrong = 0;
        for (const auto& [place, offset] : apart) {
            const int there = place % 3 == 0 ? 0 : version;
            wrong += read_block(old.get(), offset, kBlock) != block_of(offset, there) ? 1 : 0;
        }
        CHECK(wrong == 0);
        CHECK(read_block(old.get(), size - 10, 10).size() == 10);
    }
    CHECK(memory.kills() == 0);
    CHECK(most_memory(mount.daemon_pid()) < kLimitBytes);
    mount.kill_daemon();
    mount.remount();
    CHECK(mount.snapshots().size() == 3);
    mount.unmount();
    mount.mount();
}

// `count` files in folders of 1,000, made below the mount: that is not what is tested.
void make_files(const fs::path& root, int count) {
    for (int first = 0; first < count; first += 1000) {
        const fs::path folder = root / std::to_string(first / 1000);
        REQUIRE(::mkdir(folder.c_str(), 0755) == 0);
        const UniqueFd directory(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        for (int i = first; i < first + 1000; ++i) {
            const UniqueFd file(::openat(directory.get(), std::to_string(i).c_str(),
                                         O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
            REQUIRE(file.valid());
            if (i % 1000 == 0) REQUIRE(::write(file.get(), "original", 8) == 8);
        }
    }
}

}  // namespace

TEST_SUITE("large") {
    TEST_CASE("the largest file of XFS, overwritten at random offsets up to its end") {
        UMBRA_NEEDS_MOUNTS();
        check_large_file(FilesystemType::Xfs, (std::uint64_t{1} << 63) - 1);
    }

    TEST_CASE("the largest file of ext4, overwritten at random offsets up to its end") {
        UMBRA_NEEDS_MOUNTS();
        check_large_file(FilesystemType::Ext4, (std::uint64_t{16} << 40) - kBlock);
    }

    TEST_CASE("millions of files") {
        UMBRA_NEEDS_MOUNTS();
        MemoryLimit memory;
        UMBRA_SKIP_IF(memory.missing());
        const int count = soak() ? 5'000'000 : 50'000;
        // XFS gives inodes a quarter of it at most.
        RamImage image(FilesystemType::Xfs, soak() ? 12288 : 1024);
        UmbraMount mount(make_folder(image));
        mount.unmount();
        make_files(mount.share(), count);
        mount.mount();
        memory.take(mount.daemon_pid());
        const std::string token = mount.create_snapshot();
        for (int folder = 0; folder < count / 1000; folder += 5) {
            const fs::path place = mount.path() / std::to_string(folder);
            write_file(place / std::to_string(folder * 1000), "changed");
            fs::remove(place / std::to_string(folder * 1000 + 1));
            fs::rename(place / std::to_string(folder * 1000 + 2), place / "renamed");
        }
        const auto names_in = [](const fs::path& folder) {
            ProcessOptions patient;
            patient.timeout = std::chrono::minutes(60);
            const std::string count = "find " + folder.string() + " -uid 0 | wc -l";
            return std::stol(must_run({"sh", "-c", count}, patient));
        };
        const int folders = count / 1000, changed = (folders + 4) / 5;
        CHECK(names_in(mount.path()) == 1 + folders + count - changed);
        CHECK(names_in(mount.snapshot_path(token)) == 1 + folders + count);
        CHECK(contents_of(mount.snapshot_path(token) / "0" / "0") == "original");
        CHECK(contents_of(mount.path() / "0" / "0") == "changed");
        const json changes = json::parse(must_run(
            {umbra_binary(), "snapshot", "diff", mount.share().string(), token, "--json"}));
        CHECK(changes.size() == static_cast<std::size_t>(3 * changed));
        CHECK(memory.kills() == 0);
        CHECK(most_memory(mount.daemon_pid()) < kLimitBytes);
        mount.kill_daemon();
        mount.remount();
        memory.take(mount.daemon_pid());
        CHECK(contents_of(mount.snapshot_path(token) / "0" / "0") == "original");
        CHECK(memory.kills() == 0);
        mount.unmount();
        mount.mount();
    }
}

}  // namespace umbra::test
