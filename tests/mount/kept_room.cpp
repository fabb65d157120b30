// Room that is not an ordinary user's to have: what ext4 keeps for root, and what quotas leave.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <vector>

#include "tests/mount/make.h"
#include "tests/support/process.h"
#include "tests/support/scratch.h"
#include "tests/support/skip.h"
#include "tests/support/umbra_mount.h"
#include "tests/support/unprivileged.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMiB = 1 << 20;
const Caller kUser{kOwnerId, kOwnerId, {}, 022};

fs::path open_folder(const fs::path& path) {
    make::directory(path.string(), 0777);
    return path;
}

using Take = std::function<long(int fd, off_t at)>;  // of one more MiB

long write_more(int fd, off_t at) {
    static const std::string block = pattern(kMiB);
    return ::pwrite(fd, block.data(), block.size(), at);
}

long allocate_more(int fd, off_t at) { return ::fallocate(fd, 0, at, kMiB); }

// Takes until it is refused (or something is written in part); returns errno's name.
std::string take_all(const Caller& caller, const fs::path& file, const Take& take) {
    return text_as(caller, [&]() -> std::string {
        const int fd = ::open(file.c_str(), O_CREAT | O_WRONLY, 0644);
        if (fd < 0) return "open: " + errno_name(errno);
        for (off_t at = 0; at < (off_t{1} << 40); at += kMiB)
            if (take(fd, at) < 0) return errno_name(errno);
        return "no end";
    });
}

std::uint64_t free_bytes(const fs::path& path) {
    struct statvfs status {};
    REQUIRE(::statvfs(path.c_str(), &status) == 0);
    return status.f_bfree * status.f_frsize;
}

void keeps_reserve(const Take& take) {
    // 5 per cent are root's; some 3 MiB ext4 keeps for itself.
    const RamImage image(FilesystemType::Ext4, 128);
    const UmbraMount mounted(open_folder(image.path() / "share"));
    CHECK(take_all(kUser, mounted.path() / "his", take) == "ENOSPC");
    CHECK(free_bytes(image.path()) > 7 * kMiB);
    CHECK(call_as(kUser, [&] { return ::truncate((mounted.path() / "his").c_str(), 0); }).error ==
          0);
    // Root's it is.
    CHECK(take_all({}, mounted.path() / "root's", take) == "ENOSPC");
    CHECK(free_bytes(image.path()) < 5 * kMiB);
}

std::string block_of(char what) { return std::string(16384, what); }

}  // namespace

TEST_SUITE("kept room") {
    TEST_CASE("room that ext4 keeps for root is not written to by others") {
        UMBRA_NEEDS_MOUNTS();
        keeps_reserve(write_more);
    }

    TEST_CASE("room that ext4 keeps for root is not allocated by others") {
        UMBRA_NEEDS_MOUNTS();
        keeps_reserve(allocate_more);
    }

    // Where a write may be refused for its author alone, it is made before it is answered.
    TEST_CASE("a quota's limit is said, and what was answered is there") {
        UMBRA_NEEDS_MOUNTS();
        const RamImage image(FilesystemType::Btrfs, 512);
        const fs::path share = image.path() / "share";
        must_run({"btrfs", "subvolume", "create", share.string()});
        ::chmod(share.c_str(), 0777);
        make::directory((image.path() / "area").string(), 0700);
        const auto made =
            umbra({"init", share.string(), "--diff-area", (image.path() / "area").string()});
        REQUIRE_MESSAGE(made.exit_code == 0, made.err);
        must_run({"btrfs", "quota", "enable", image.path().string()});
        must_run({"btrfs", "qgroup", "limit", "24M", share.string()});
        UmbraMount mounted(share);
        const fs::path file = mounted.path() / "file";
        CHECK(take_all(kUser, file, write_more) == "EDQUOT");

        mounted.create_snapshot();
        const off_t blocks = static_cast<off_t>(fs::file_size(file) / block_of('x').size());
        std::vector<off_t> written;
        int refused = 0;
        const int fd = ::open(file.c_str(), O_WRONLY | O_CLOEXEC);
        for (off_t i = 0; i < blocks; ++i) {
            const std::string block = block_of('n');
            const auto at = i * static_cast<off_t>(block.size());
            if (::pwrite(fd, block.data(), block.size(), at) ==
                static_cast<ssize_t>(block.size())) {
                written.push_back(at);
            } else {
                ++refused;
            }
        }
        // Whatever was put off would have been made by now; and without the limit root's own files
        // in the share can be written again.
        static_cast<void>(::fsync(fd));
        ::close(fd);
        CHECK(refused > 0);
        must_run({"btrfs", "qgroup", "limit", "none", "0/256", image.path().string()});
        mounted.remount();
        const int again = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
        int lost = 0;
        for (const off_t at : written) {
            std::string block(16384, '\0');
            if (::pread(again, block.data(), block.size(), at) != 16384 || block != block_of('n'))
                ++lost;
        }
        ::close(again);
        CHECK(lost == 0);
    }
}

}  // namespace umbra::test
