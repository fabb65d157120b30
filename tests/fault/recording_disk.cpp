// Does what stands below the power-loss test do its work?
#include "tests/support/recording_disk.h"

#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>

#include "tests/support/disk_replay.h"
#include "tests/support/loop_device.h"
#include "tests/support/scratch.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"

namespace umbra::test {

namespace {

namespace fs = std::filesystem;

constexpr size_t kDiskBytes = 1 << 20;
constexpr size_t kBlock = 8192;

using Kind = DiskOperation::Kind;

struct AlignedBlock {
    explicit AlignedBlock(char fill) : bytes(std::aligned_alloc(4096, kBlock), &std::free) {
        std::memset(bytes.get(), fill, kBlock);
    }
    std::unique_ptr<void, void (*)(void*)> bytes;
};

// Past the page cache of the device.
class RawDevice {
   public:
    explicit RawDevice(const fs::path& file)
        : loop_(file.string(), LoopDevice::Access::kDirect),
          fd_(::open(loop_.node().c_str(), O_RDWR | O_DIRECT | O_CLOEXEC)) {
        REQUIRE(fd_.valid());
    }
    void write(off_t offset, char fill) const {
        const AlignedBlock block(fill);
        REQUIRE(::pwrite(fd_.get(), block.bytes.get(), kBlock, offset) == kBlock);
    }
    void flush() const { REQUIRE(::fsync(fd_.get()) == 0); }

   private:
    LoopDevice loop_;
    UniqueFd fd_;
};

std::vector<fs::path> images(const fs::path& folder, const std::string& name) {
    std::vector<fs::path> paths;
    for (int disk = 0; disk < 2; ++disk) {
        paths.push_back(folder / (name + std::to_string(disk)));
        write_file(paths.back(), std::string(kDiskBytes, '.'));
    }
    return paths;
}

std::string sectors(const fs::path& image) {
    const std::string bytes = contents_of(image);
    std::string text;
    for (size_t at = 0; at < 6 * kDiskSector; at += kDiskSector) {
        const std::string sector = bytes.substr(at, kDiskSector);
        text += sector == std::string(kDiskSector, sector[0]) ? sector[0] : '?';
    }
    return text;
}

}  // namespace

TEST_SUITE("recording-disk") {
    TEST_CASE("writes and flushes of two disks arrive in one order; unflushed writes may be lost") {
        UMBRA_SKIP_IF(missing_for_mounts());
        const TempDir folder;
        const auto live = images(folder.path(), "live");
        const auto bases = images(folder.path(), "base");
        const auto cut = images(folder.path(), "cut");
        RecordingDisks disks(live);
        size_t begin = 0;
        {
            const RawDevice first(disks.path(0)), second(disks.path(1));
            begin = disks.position();  // attaching flushes
            first.write(0, 'a');
            first.flush();
            second.write(0, 'b');
            first.write(kBlock, 'c');
            first.write(2 * kBlock, 'd');
            first.flush();
            second.write(kBlock, 'e');
        }
        const Recording recording = disks.recording();
        struct {
            Kind kind;
            int disk;
        } const expected[] = {{Kind::kWrite, 0}, {Kind::kFlush, 0}, {Kind::kWrite, 1},
                              {Kind::kWrite, 0}, {Kind::kWrite, 0}, {Kind::kFlush, 0},
                              {Kind::kWrite, 1}};
        REQUIRE(recording.operations.size() >= begin + std::size(expected));  // closing may flush
        for (size_t i = 0; i < std::size(expected); ++i) {
            CHECK(recording.operations[begin + i].kind == expected[i].kind);
            CHECK(recording.operations[begin + i].disk == expected[i].disk);
        }
        CHECK(sectors(live[0]) == "aaccdd");
        CHECK(sectors(live[1]) == "bbee..");

        const auto outcomes = [&](size_t point, size_t disk) {
            std::set<std::string> seen;
            Random random(announce_seed("disks after " + std::to_string(point)));
            DiskReplay replay(recording, bases, cut);
            for (int i = 0; i < 300; ++i) {
                replay.cut(begin + point, random);
                seen.insert(sectors(cut[disk]));
            }
            return seen;
        };
        CHECK(outcomes(1, 0) == std::set<std::string>{"......", "a.....", "aa....", ".a...."});
        CHECK(outcomes(2, 0) == std::set<std::string>{"aa...."});
        CHECK(outcomes(2, 1) == std::set<std::string>{"......"});
        const auto unflushed = outcomes(5, 0);
        CHECK(unflushed.count("aa....") == 1);
        CHECK(unflushed.count("aaccdd") == 1);
        CHECK(unflushed.count("aacc..") == 1);
        CHECK(unflushed.count("aa..dd") == 1);
        CHECK(unflushed.count("aaccd.") == 1);  // torn
        for (const auto& outcome : unflushed) CHECK(outcome.substr(0, 2) == "aa");
        // The flush of one disk is none of the other.
        CHECK(outcomes(6, 0) == std::set<std::string>{"aaccdd"});
        CHECK(outcomes(6, 1).count("......") == 1);
    }
}

}  // namespace umbra::test
