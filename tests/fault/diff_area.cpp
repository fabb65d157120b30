// Faults of the diff area that is absent, of another volume, full or damaged: each has its defined
// answer, and none is that snapshots are lost.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/fault/known_history.h"
#include "tests/support/process.h"
#include "tests/support/ram_image.h"
#include "tests/support/random.h"
#include "tests/support/scratch.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"

namespace umbra::test {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kDiffAreaExitCode = 5;

void init(const fs::path& share, const std::vector<std::string>& options = {}) {
    std::vector<std::string> arguments{"init", share.string()};
    arguments.insert(arguments.end(), options.begin(), options.end());
    const auto result = umbra(arguments);
    INFO(result.err);
    REQUIRE(result.exit_code == 0);
}

bool is_mounted(const fs::path& share) {
    std::ifstream mountinfo("/proc/self/mountinfo");
    for (std::string line; std::getline(mountinfo, line);) {
        if (line.find(" " + share.string() + " ") != std::string::npos) return true;
    }
    return false;
}

bool contains(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

std::string uuid_of(const fs::path& share) {
    const auto result = umbra({"status", share.string(), "--json"});
    REQUIRE(result.exit_code == 0);
    return json::parse(result.out).at("uuid").get<std::string>();
}

// A share on one image, its diff area on another that can go away.
struct SeparateArea {
    explicit SeparateArea(bool whole_filesystem)
        : share_image(FilesystemType::Ext4),
          area_image(FilesystemType::Ext4),
          share(make_folder(share_image)) {
        const fs::path area = whole_filesystem ? area_image.path() : area_image.path() / "area";
        init(share, {"--diff-area", area.string(), "--max-size", "90%"});
    }
    RamImage share_image;
    RamImage area_image;
    fs::path share;
};

void check_absent_area(bool whole_filesystem) {
    SeparateArea place(whole_filesystem);
    UmbraMount mount(place.share);
    Random random(announce_seed("absent diff area"));
    KnownHistory history(mount, random);
    history.grow(3);
    const Tree live = capture(mount.path());
    mount.unmount();
    place.area_image.unmount();

    // Not mounted, not writable, nothing made in its stead.
    const auto refused = umbra({"mount", place.share.string()});
    CHECK(refused.exit_code == kDiffAreaExitCode);
    CHECK(contains(refused.err, place.area_image.path().string()));
    CHECK_FALSE(is_mounted(place.share));
    const auto waited = umbra({"mount", place.share.string(), "--wait", "1"});
    CHECK(waited.exit_code == kDiffAreaExitCode);
    CHECK_FALSE(is_mounted(place.share));
    CHECK(fs::is_empty(place.area_image.path()));

    // Read-only shows the live tree.
    const auto read_only = umbra({"mount", place.share.string(), "--read-only"});
    INFO(read_only.err);
    REQUIRE(read_only.exit_code == 0);
    CHECK(differences(live, capture(place.share)) == kNoDifferences);
    CHECK(::mkdir((place.share / "new").c_str(), 0755) != 0);
    CHECK(errno == EROFS);
    CHECK(umbra({"umount", place.share.string()}).exit_code == 0);
    CHECK(fs::is_empty(place.area_image.path()));

    // --wait comes up when the area does.
    {
        BackgroundProcess waiting({umbra_binary(), "mount", place.share.string(), "--wait", "60"});
        std::this_thread::sleep_for(std::chrono::milliseconds(1500));
        CHECK(waiting.running());
        CHECK_FALSE(is_mounted(place.share));
        place.area_image.mount();
        CHECK(waiting.wait() == 0);
    }
    CHECK(is_mounted(place.share));
    CHECK(history.flaws() == "");
    CHECK(umbra({"umount", place.share.string()}).exit_code == 0);
    mount.mount();
    CHECK(history.flaws() == "");
}

void swap_names(const fs::path& one, const fs::path& two) {
    REQUIRE(::renameat2(AT_FDCWD, one.c_str(), AT_FDCWD, two.c_str(), RENAME_EXCHANGE) == 0);
}

// Flips one bit of a file.
void flip(const fs::path& path, uint64_t offset, int bit) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
    REQUIRE(fd >= 0);
    unsigned char byte = 0;
    REQUIRE(::pread(fd, &byte, 1, static_cast<off_t>(offset)) == 1);
    byte = static_cast<unsigned char>(byte ^ (1u << bit));
    REQUIRE(::pwrite(fd, &byte, 1, static_cast<off_t>(offset)) == 1);
    ::close(fd);
}

fs::path area_of(const fs::path& share) { return share / ".umbra" / "diff"; }

std::vector<fs::path> log_files(const fs::path& share) {
    std::vector<fs::path> files;
    for (const auto& entry : fs::directory_iterator(area_of(share) / "log")) {
        if (entry.path().filename() != "catalog.ulog") files.push_back(entry.path());
    }
    std::sort(files.begin(), files.end());
    return files;
}

// A byte that is not zero: anywhere, which is mostly data, or at the beginning of a record.
uint64_t some_place(const fs::path& file, Random& random) {
    const std::string bytes = contents_of(file);
    REQUIRE(!bytes.empty());
    std::vector<uint64_t> records;
    for (size_t at = bytes.find("UMBL"); at != std::string::npos;
         at = bytes.find("UMBL", at + 64)) {
        records.push_back(at);
    }
    REQUIRE(!records.empty());
    const bool anywhere = random.chance(40);
    for (int attempt = 0; attempt < 1000; ++attempt) {
        const uint64_t place =
            anywhere ? random.below(bytes.size()) : random.one_of(records) + random.below(250);
        if (place < bytes.size() && bytes[place] != 0) return place;
    }
    return records.front();
}

}  // namespace

TEST_SUITE("diff_area") {
    TEST_CASE("a diff area that is absent at mount") {
        UMBRA_NEEDS_MOUNTS();
        SUBCASE("its filesystem is not mounted, and it was a folder there") {
            check_absent_area(false);
        }
        SUBCASE("its filesystem is not mounted, and it was the whole of it") {
            check_absent_area(true);
        }
    }

    TEST_CASE("the diff area of another volume is refused, naming both") {
        UMBRA_NEEDS_MOUNTS();
        const RamImage image(FilesystemType::Ext4);
        const fs::path one = make_folder(image, "one");
        const fs::path two = make_folder(image, "two");
        init(one, {"--diff-area", (image.path() / "area of one").string()});
        init(two, {"--diff-area", (image.path() / "area of two").string()});
        UmbraMount mount(one);
        Random random(announce_seed("another volume's diff area"));
        KnownHistory history(mount, random);
        history.grow(2);
        const std::string uuid_one = uuid_of(one);
        const std::string uuid_two = uuid_of(two);
        mount.unmount();
        swap_names(image.path() / "area of one", image.path() / "area of two");
        const auto refused = umbra({"mount", one.string()});
        CHECK(refused.exit_code == kDiffAreaExitCode);
        CHECK(contains(refused.err, uuid_one));
        CHECK(contains(refused.err, uuid_two));
        CHECK_FALSE(is_mounted(one));
        swap_names(image.path() / "area of one", image.path() / "area of two");
        mount.mount();
        CHECK(history.flaws() == "");
    }

    TEST_CASE("an older copy of the diff area is refused, naming both sequence numbers") {
        UMBRA_NEEDS_MOUNTS();
        const RamImage image(FilesystemType::Ext4);
        const fs::path share = make_folder(image);
        const fs::path area = image.path() / "area";
        init(share, {"--diff-area", area.string()});
        UmbraMount mount(share);
        Random random(announce_seed("older copy of the diff area"));
        KnownHistory history(mount, random);
        history.grow(1);
        mount.unmount();
        const fs::path copy = image.path() / "copy";
        must_run({"cp", "-a", area.string(), copy.string()});
        mount.mount();
        history.grow(2);
        mount.unmount();
        swap_names(area, copy);
        const auto refused = umbra({"mount", share.string()});
        INFO(refused.err);
        CHECK(refused.exit_code == kDiffAreaExitCode);
        CHECK(contains(refused.err, "sequence"));
        CHECK_FALSE(is_mounted(share));
        swap_names(area, copy);
        mount.mount();
        CHECK(history.flaws() == "");
    }

    TEST_CASE("a bit that flips in the undo log is never read as data") {
        UMBRA_NEEDS_MOUNTS();
        const RamImage image(FilesystemType::Ext4);
        const fs::path share = make_folder(image);
        init(share, {"--max-size", "80%"});
        UmbraMount mount(share);
        Random random(announce_seed("bit flips in the log"));
        KnownHistory history(mount, random);
        history.grow(4);
        mount.unmount();
        const auto files = log_files(share);
        REQUIRE(files.size() >= 4);
        int felt = 0;
        for (int round = 0; round < with_soak(24); ++round) {
            const fs::path& file = random.one_of(files);
            const uint64_t place = some_place(file, random);
            const int bit = static_cast<int>(random.below(8));
            CAPTURE(file.filename().string());
            CAPTURE(place);
            CAPTURE(bit);
            flip(file, place, bit);
            mount.mount();
            size_t damaged = 0;
            CHECK(history.wrong(damaged) == "");
            felt += damaged > 0;
            // One block or one record: a handful of names, in the snapshots that share it.
            CHECK(damaged <= history.names() / 2);
            mount.unmount();
            flip(file, place, bit);
        }
        // Else the test would prove nothing.
        CHECK(felt > 0);
        mount.mount();
        CHECK(history.flaws() == "");
    }

    TEST_CASE("a bit that flips in the list of snapshots loses none silently") {
        UMBRA_NEEDS_MOUNTS();
        const RamImage image(FilesystemType::Ext4);
        const fs::path share = make_folder(image);
        init(share, {"--max-size", "80%"});
        UmbraMount mount(share);
        Random random(announce_seed("bit flips in the catalog"));
        KnownHistory history(mount, random);
        history.grow(3);
        mount.unmount();
        const fs::path catalog = area_of(share) / "log" / "catalog.ulog";
        const std::string bytes = contents_of(catalog);
        for (int round = 0; round < with_soak(10); ++round) {
            // Also in the last record, which looks like a torn write then.
            const uint64_t place =
                round < 3 ? bytes.size() - 1 - random.below(40) : random.below(bytes.size());
            CAPTURE(place);
            flip(catalog, place, static_cast<int>(random.below(8)));
            const auto result = umbra({"mount", share.string()});
            if (result.exit_code == 0) {
                CHECK(history.flaws() == "");
                CHECK(umbra({"umount", share.string()}).exit_code == 0);
            } else {
                CHECK(result.exit_code == kDiffAreaExitCode);
                CHECK(contains(result.err, "catalog"));
                CHECK_FALSE(is_mounted(share));
            }
            write_file(catalog, bytes);
        }
        mount.mount();
        CHECK(history.flaws() == "");
    }

    TEST_CASE("an index that is lost or damaged is rebuilt") {
        UMBRA_NEEDS_MOUNTS();
        const RamImage image(FilesystemType::Ext4);
        const fs::path share = make_folder(image);
        init(share, {"--max-size", "80%"});
        UmbraMount mount(share);
        Random random(announce_seed("index lost"));
        KnownHistory history(mount, random);
        history.grow(3);
        // Also one gone from the middle: what it alone needed must not come back.
        const std::string deleted = std::next(history.expected().begin())->first;
        mount.unmount();
        const fs::path index = area_of(share) / "index";
        const auto each_file = [&](const auto& visit) {
            for (const auto& entry : fs::directory_iterator(index)) visit(entry.path());
        };
        const std::vector<std::pair<std::string, std::function<void()>>> faults{
            {"removed", [&] { fs::remove_all(index); }},
            {"emptied", [&] { each_file([](const fs::path& file) { fs::remove(file); }); }},
            {"cut",
             [&] {
                 each_file(
                     [](const fs::path& file) { fs::resize_file(file, fs::file_size(file) / 2); });
             }},
            {"garbage",
             [&] {
                 each_file([&](const fs::path& file) {
                     write_file(file, random.bytes(fs::file_size(file)));
                 });
             }},
            {"CURRENT gone", [&] { fs::remove(index / "CURRENT"); }},
            {"tables gone",
             [&] {
                 each_file([](const fs::path& file) {
                     if (file.extension() == ".sst") fs::remove(file);
                 });
             }},
        };
        for (const auto& fault : faults) {
            const std::string& name = fault.first;
            CAPTURE(name);
            fault.second();
            const auto result = umbra({"mount", share.string()});
            INFO(result.err);
            REQUIRE(result.exit_code == 0);
            CHECK(contains(result.err, "rebuil"));
            CHECK(history.flaws() == "");
            // It works on: new changes preserve, a clean end leaves an index that is used.
            write_file(share / "after", name);
            CHECK(umbra({"umount", share.string()}).exit_code == 0);
            const auto again = umbra({"mount", share.string()});
            CHECK(again.exit_code == 0);
            CHECK_FALSE(contains(again.err, "rebuil"));
            CHECK(history.flaws() == "");
            CHECK(umbra({"umount", share.string()}).exit_code == 0);
        }
        mount.mount();
    }
}

}  // namespace umbra::test
