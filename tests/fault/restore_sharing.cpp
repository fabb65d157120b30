// What a restored file has in common with what is there is shared where the filesystem can.
#include <doctest/doctest.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/support/process.h"
#include "tests/support/ram_image.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"
#include "tests/support/tree.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {

namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kFileBytes = 128 << 20;
constexpr std::uint64_t kChangedBytes = 1 << 20;

std::uint64_t used_bytes(const fs::path& place) {
    ::sync();
    struct statvfs status {};
    REQUIRE(::statvfs(place.c_str(), &status) == 0);
    return (status.f_blocks - status.f_bfree) * status.f_frsize;
}

// Restores a large file with a small change; returns by how much the disk has filled. The file as
// it was before stays for undoing.
std::uint64_t cost_of_restoring(FilesystemType type, const std::string& method) {
    const RamImage image(type, 1024);
    UmbraMount mount(make_folder(image));
    const fs::path file = mount.path() / "large";
    std::string text;
    for (std::uint64_t line = 0; text.size() < kFileBytes; ++line)
        text += std::to_string(line * 2654435761u) + "\n";
    text.resize(kFileBytes);
    write_file(file, text);
    const std::string token = mount.create_snapshot();
    {
        std::fstream change(file, std::ios::in | std::ios::out | std::ios::binary);
        change.seekp(50 << 20);
        change << std::string(kChangedBytes, 'x');
    }
    const std::uint64_t before = used_bytes(image.path());
    must_run({umbra_binary(), "restore", file.string(), "--from", token, "--method", method});
    CHECK(contents_of(file) == text);
    const std::uint64_t after = used_bytes(image.path());
    return after > before ? after - before : 0;
}

}  // namespace

TEST_SUITE("restore-jobs") {
    TEST_CASE("a large file with a small change costs the change (reflink)") {
        UMBRA_NEEDS_MOUNTS();
        for (const auto type : {FilesystemType::Xfs, FilesystemType::Btrfs}) {
            CAPTURE(to_string(type));
            CHECK(cost_of_restoring(type, "replace") < 16 * kChangedBytes);
        }
        // The measure tells: where nothing can be shared, it is the whole file.
        CHECK(cost_of_restoring(FilesystemType::Ext4, "replace") > kFileBytes / 2);
    }
}

}  // namespace umbra::test
