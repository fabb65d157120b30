// Creating, changing and deleting over and over: the daemon's memory and what lies on disk stay as
// they were.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/support/ram_image.h"
#include "tests/support/random.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {

namespace {

namespace fs = std::filesystem;

constexpr size_t kKept = 4;
constexpr size_t kFileSize = 256 << 10;

struct Sizes {
    uint64_t memory = 0;
    uint64_t log = 0;
    uint64_t index = 0;
    uint64_t files = 0;

    void raise(const Sizes& other) {
        memory = std::max(memory, other.memory);
        log = std::max(log, other.log);
        index = std::max(index, other.index);
        files = std::max(files, other.files);
    }
};

uint64_t resident_bytes(pid_t process) {
    std::ifstream lines("/proc/" + std::to_string(process) + "/status");
    for (std::string word; lines >> word;) {
        uint64_t kib = 0;
        if (word == "VmRSS:" && lines >> kib) return kib << 10;
    }
    return 0;
}

uint64_t disk_use(const fs::path& folder, uint64_t& files) {
    uint64_t bytes = 0;
    for (const auto& entry : fs::recursive_directory_iterator(folder)) {
        struct stat status {};
        if (::lstat(entry.path().c_str(), &status) != 0) continue;
        ++files;
        bytes += static_cast<uint64_t>(status.st_blocks) * 512;
    }
    return bytes;
}

Sizes sizes_of(const UmbraMount& mount, const fs::path& share) {
    Sizes sizes;
    sizes.memory = resident_bytes(mount.daemon_pid());
    sizes.log = disk_use(share / ".umbra" / "diff" / "log", sizes.files);
    sizes.index = disk_use(share / ".umbra" / "diff" / "index", sizes.files);
    disk_use(share / ".umbra" / "limbo", sizes.files);
    return sizes;
}

void change(const UmbraMount& mount, Random& random, int cycle) {
    const int fd = ::open((mount.path() / "data").c_str(), O_WRONLY | O_CLOEXEC);
    REQUIRE(fd >= 0);
    const std::string bytes = random.bytes(32 << 10);
    const auto offset = static_cast<off_t>(random.below(kFileSize - bytes.size()));
    CHECK(::pwrite(fd, bytes.data(), bytes.size(), offset) == static_cast<ssize_t>(bytes.size()));
    ::close(fd);
    const fs::path turning = mount.path() / ("turn" + std::to_string(cycle % 3));
    fs::remove(turning);
    write_file(turning, random.bytes(10'000));
    fs::permissions(mount.path() / "data", cycle % 2 == 0 ? fs::perms(0600) : fs::perms(0644));
}

}  // namespace

TEST_SUITE("cycles") {
    // 10,000 with UMBRA_SOAK=1.
    TEST_CASE("creating, changing and deleting by the hundred leaves memory and disk flat") {
        UMBRA_NEEDS_MOUNTS();
        const RamImage image(FilesystemType::Ext4, 1024);
        const fs::path share = make_folder(image);
        must_run({umbra_binary(), "init", share.string()});
        UmbraMount mount(share, {make_folder(image, "mountpoint"), {"-o", "memory=16M"}, {}});
        Random random(announce_seed("cycles"));
        write_file(mount.path() / "data", random.bytes(kFileSize));
        const int cycles = with_soak(1) == 1 ? 300 : 10'000;
        std::vector<std::string> kept;
        Sizes first, last;
        for (int cycle = 0; cycle < cycles; ++cycle) {
            // By the mount itself: no process for each.
            const std::string label = "cycle" + std::to_string(cycle);
            REQUIRE(fs::create_directory(mount.snapshots_path() / label));
            kept.push_back(label);
            change(mount, random, cycle);
            if (kept.size() > kKept) {
                const auto victim = kept.begin() + static_cast<ptrdiff_t>(random.below(kKept));
                const int code =
                    ::rmdir((mount.snapshots_path() / *victim).c_str()) == 0 ? 0 : errno;
                CAPTURE(cycle);
                CAPTURE(mount.daemon_runs());
                REQUIRE(code == 0);
                kept.erase(victim);
            }
            if (cycle < cycles / 10) first.raise(sizes_of(mount, share));
            if (cycle >= cycles - cycles / 10) last.raise(sizes_of(mount, share));
        }
        MESSAGE("memory ", first.memory >> 10, " then ", last.memory >> 10, " KiB, log ",
                first.log >> 10, " then ", last.log >> 10, " KiB, index ", first.index >> 10,
                " then ", last.index >> 10, " KiB, files ", first.files, " then ", last.files);
        // Caches fill up to what they may take.
        CHECK(last.memory <= first.memory + (16ull << 20));
        CHECK(last.log <= first.log + (1ull << 20));
        CHECK(last.index <= first.index + (1ull << 20));
        CHECK(last.files <= first.files + 12);
        CHECK(mount.snapshots().size() == kKept);
    }
}

}  // namespace umbra::test
