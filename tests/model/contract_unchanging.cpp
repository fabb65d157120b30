// A snapshot does not change: not while what it shows is being changed for the first time, and not
// when snapshots around it are deleted.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>

#include "tests/support/random.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"
#include "tests/support/tree.h"

namespace umbra::test {

namespace {

namespace fs = std::filesystem;

constexpr int kFiles = 12;
constexpr int kReaders = 4;
constexpr size_t kFileSize = 400'000;

fs::path file(const fs::path& folder, int number) {
    return folder / ("file" + std::to_string(number));
}

// Returns their contents.
std::vector<std::string> make_files(const fs::path& folder, Random& random) {
    std::vector<std::string> contents;
    fs::create_directory(folder);
    for (int number = 0; number < kFiles; ++number) {
        contents.push_back(random.bytes(kFileSize));
        write_file(file(folder, number), contents.back());
    }
    return contents;
}

// Reads whole files past the kernel's cache until told to stop, each in one request, so that much
// may happen while that is being answered; counts those that are wrong.
void read_directly(const fs::path& folder, const std::vector<std::string>& contents, uint64_t seed,
                   const std::atomic<bool>& stop, std::atomic<int>& wrong) {
    constexpr size_t kRoom = (kFileSize / 4096 + 1) * 4096;
    Random random(seed);
    void* memory = nullptr;
    if (::posix_memalign(&memory, 4096, kRoom) != 0) std::abort();
    const std::unique_ptr<void, void (*)(void*)> buffer(memory, ::free);
    while (!stop) {
        const auto number = static_cast<int>(random.below(kFiles));
        const std::string& expected = contents[static_cast<size_t>(number)];
        const int fd = ::open(file(folder, number).c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC);
        for (int times = 0; times < 20 && !stop; ++times) {
            const ssize_t count = ::pread(fd, memory, kRoom, 0);
            if (count != static_cast<ssize_t>(kFileSize) ||
                std::memcmp(memory, expected.data(), kFileSize) != 0) {
                ++wrong;
            }
        }
        ::close(fd);
    }
}

// Overwrites, cuts, renames and removes everything, each file in its turn.
void change_everything(const fs::path& folder, Random& random) {
    for (int number = 0; number < kFiles; ++number) {
        const fs::path path = file(folder, number);
        const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
        for (int part = 0; part < 25; ++part) {
            const std::string bytes = random.bytes(16'000);
            (void)!::pwrite(fd, bytes.data(), bytes.size(),
                            static_cast<off_t>(random.below(380'000)));
        }
        if (number % 2 == 0) (void)!::ftruncate(fd, static_cast<off_t>(random.below(400'000)));
        ::close(fd);
        ::chmod(path.c_str(), static_cast<mode_t>(0600 + number));
        const fs::path other = folder / ("other" + std::to_string(number));
        if (number % 3 == 0) ::unlink(path.c_str());
        if (number % 3 == 1) ::rename(path.c_str(), other.c_str());
        if (number % 3 == 2) ::rename(path.c_str(), file(folder, (number + 1) % kFiles).c_str());
    }
}

void change_while_reading(FilesystemType type, int rounds) {
    Share share(type);
    Random random(announce_seed("a snapshot while things change on " + to_string(type)));
    int looks = 0;
    for (int round = 0; round < with_soak(rounds); ++round) {
        const fs::path folder = share.path("round " + std::to_string(round));
        const std::vector<std::string> contents = make_files(folder, random);
        const Tree before = capture(folder);
        const std::string token = share.mount().create_snapshot();
        const fs::path then = share.mount().snapshot_path(token) / folder.filename();
        std::atomic<bool> changed{false};
        std::atomic<int> wrong{0};
        std::vector<std::thread> readers;
        for (int number = 0; number < kReaders; ++number) {
            readers.emplace_back(read_directly, then, std::cref(contents), random.next(),
                                 std::cref(changed), std::ref(wrong));
        }
        std::thread changer([&, seed = random.next()] {
            Random own(seed);
            change_everything(folder, own);
            changed = true;
        });
        // The first look is the hard one: nothing of the snapshot is in the kernel's caches yet.
        do {
            CHECK(differences(before, capture(then)) == kNoDifferences);
            ++looks;
        } while (!changed);
        changer.join();
        for (auto& reader : readers) reader.join();
        CHECK(wrong == 0);
        CHECK(differences(before, capture(then)) == kNoDifferences);
        share.mount().delete_snapshot(token);
        fs::remove_all(folder);
    }
    std::printf("  %d looks while things changed\n", looks);
}

std::string read_uncached(const fs::path& path) {
    drop_kernel_caches();
    return contents_of(path);
}

}  // namespace

TEST_SUITE("contract") {
    TEST_CASE("a snapshot stays as it is while everything in it is being changed") {
        UMBRA_NEEDS_MOUNTS();
        change_while_reading(FilesystemType::Ext4, 6);
        change_while_reading(FilesystemType::Xfs, 3);
        change_while_reading(FilesystemType::Btrfs, 3);
    }

    // Found by the model: the second record of one epoch that says where a file's contents began to
    // change was taken for the first.
    TEST_CASE("deleting a snapshot keeps the hole that a truncation took from an older one") {
        UMBRA_NEEDS_MOUNTS();
        Share share(FilesystemType::Ext4);
        constexpr size_t kBlock = 16384;
        const fs::path path = share.path("sparse");
        // Data in blocks 0 and 9, a hole between.
        std::string contents =
            std::string(kBlock, 'a') + std::string(8 * kBlock, '\0') + std::string(kBlock, 'b');
        {
            const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
            REQUIRE(fd >= 0);
            REQUIRE(::pwrite(fd, contents.data(), kBlock, 0) == static_cast<ssize_t>(kBlock));
            REQUIRE(::pwrite(fd, contents.data() + 9 * kBlock, kBlock, 9 * kBlock) ==
                    static_cast<ssize_t>(kBlock));
            ::close(fd);
        }
        const auto write_block = [&](size_t block, char letter) {
            const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
            const std::string bytes(kBlock, letter);
            REQUIRE(::pwrite(fd, bytes.data(), kBlock, static_cast<off_t>(block * kBlock)) ==
                    static_cast<ssize_t>(kBlock));
            ::close(fd);
        };
        const std::string first = share.mount().create_snapshot();
        write_block(0, 'c');
        const std::string second = share.mount().create_snapshot();
        write_block(0, 'd');
        REQUIRE(::truncate(path.c_str(), 0) == 0);
        write_block(5, 'e');
        const std::string third = share.mount().create_snapshot();
        share.mount().delete_snapshot(second);
        CHECK(read_uncached(share.mount().snapshot_path(first) / "sparse") == contents);
        share.mount().remount();
        CHECK(read_uncached(share.mount().snapshot_path(first) / "sparse") == contents);
        CHECK(read_uncached(share.mount().snapshot_path(third) / "sparse") ==
              std::string(5 * kBlock, '\0') + std::string(kBlock, 'e'));
    }
}

}  // namespace umbra::test
