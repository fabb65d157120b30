// Two changes of a file's contents in one epoch, in every order, between snapshots that are deleted
// again: cutting a file and growing it, or moving what is in it, are the changes that meet in the
// records of a past end.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/falloc.h>

#include <map>
#include <string>
#include <vector>

#include "tests/support/ram_image.h"
#include "tests/support/skip.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace {

constexpr std::uint64_t kBlock = 16384;
constexpr std::uint64_t kSize = 6 * kBlock + 777;

struct Change {
    const char* name;
    void (*make)(TestVolume& volume, const std::string& path);
};

void allocate(TestVolume& volume, const std::string& path, int mode, std::uint64_t offset,
              std::uint64_t length) {
    auto file = must(volume.live().open(volume.id(path), O_RDWR, Caller{}));
    // A file that an earlier change has cut may be too short to collapse or insert in.
    const int code = code_of(volume.live().allocate(file, mode, offset, length, Caller{}));
    REQUIRE((code == 0 || code == EINVAL));
}

// All at places where two of them overlap in part, within blocks and at their limits.
const std::vector<Change>& changes() {
    static const std::vector<Change> kChanges = {
        {"cut", [](TestVolume& v, const std::string& p) { v.truncate(p, 3 * kBlock + 100); }},
        {"cut more", [](TestVolume& v, const std::string& p) { v.truncate(p, kBlock); }},
        {"empty", [](TestVolume& v, const std::string& p) { v.truncate(p, 0); }},
        {"grow", [](TestVolume& v, const std::string& p) { v.truncate(p, 9 * kBlock + 5); }},
        {"write", [](TestVolume& v, const std::string& p) { v.write(p, 2 * kBlock, "over"); }},
        {"write behind the end",
         [](TestVolume& v, const std::string& p) { v.write(p, 8 * kBlock + 9, "far"); }},
        {"punch",
         [](TestVolume& v, const std::string& p) {
             allocate(v, p, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, kBlock + 4096, 3 * kBlock);
         }},
        {"zero and grow",
         [](TestVolume& v, const std::string& p) {
             allocate(v, p, FALLOC_FL_ZERO_RANGE, 5 * kBlock + 1, 3 * kBlock);
         }},
        {"collapse",
         [](TestVolume& v, const std::string& p) {
             allocate(v, p, FALLOC_FL_COLLAPSE_RANGE, kBlock + 4096, 2 * kBlock);
         }},
        {"insert",
         [](TestVolume& v, const std::string& p) {
             allocate(v, p, FALLOC_FL_INSERT_RANGE, 2 * kBlock + 4096, kBlock + 8192);
         }},
    };
    return kChanges;
}

// How the files begin, and what is made of them before the second snapshot: nothing, so that it is
// like the first; less; or data where the first has holes, behind what was the end meanwhile.
struct Beginning {
    const char* name;
    void (*make)(TestVolume& volume, const std::string& path);
    void (*change)(TestVolume& volume, const std::string& path);
};

void make_whole(TestVolume& volume, const std::string& path) {
    volume.put(path, noise(kSize, path.size()));
}

const std::vector<Beginning>& beginnings() {
    static const std::vector<Beginning> kBeginnings = {
        {"alike", make_whole, [](TestVolume&, const std::string&) {}},
        {"less", make_whole,
         [](TestVolume& v, const std::string& p) { v.truncate(p, 3 * kBlock + 100); }},
        {"holes filled",
         [](TestVolume& v, const std::string& p) {
             v.put(p, noise(kBlock, 1));
             v.write(p, 4 * kBlock, noise(kBlock, 2));
             v.truncate(p, kSize);
         },
         [](TestVolume& v, const std::string& p) {
             v.truncate(p, kBlock);
             v.write(p, 0, noise(kSize, 3));
         }},
    };
    return kBeginnings;
}

using Contents = std::map<std::string, std::string>;

struct Case {
    std::string path;
    const Beginning* beginning;
    const Change* first;
    const Change* second;
};

std::vector<Case> cases() {
    std::vector<Case> all;
    for (const auto& beginning : beginnings())
        for (const auto& first : changes())
            for (const auto& second : changes())
                all.push_back({std::string(beginning.name) + ", " + first.name + ", " + second.name,
                               &beginning, &first, &second});
    return all;
}

Contents live_contents(TestVolume& volume) {
    Contents contents;
    for (const auto& [path, node] : volume.live_picture())
        if (S_ISREG(node.mode)) contents[path] = node.content;
    return contents;
}

std::string wrong_in(TestVolume& volume, Epoch epoch, const Contents& expected) {
    std::string wrong;
    for (const auto& [path, content] : expected)
        if (volume.past_content(epoch, path) != content) wrong += path + "\n";
    return wrong;
}

void check_sequences(int deleted, bool reopen) {
    RamImage image(FilesystemType::Ext4, 512);
    TestVolume::Options options;
    options.place = image.path();
    TestVolume volume(options);
    const auto all = cases();
    for (const auto& one : all) one.beginning->make(volume, one.path);
    std::vector<Snapshot> snapshots;
    std::vector<Contents> copies;
    const auto take = [&] {
        copies.push_back(live_contents(volume));
        snapshots.push_back(volume.snapshot());
    };
    take();
    for (const auto& one : all) one.beginning->change(volume, one.path);
    take();
    for (const auto& one : all) {
        one.first->make(volume, one.path);
        one.second->make(volume, one.path);
    }
    take();
    for (const auto& one : all) one.first->make(volume, one.path);
    const Contents now = live_contents(volume);
    for (std::size_t i = 0; i < snapshots.size(); ++i)
        CHECK(wrong_in(volume, snapshots[i].epoch, copies[i]) == "");
    must(volume->delete_snapshot(snapshots[static_cast<std::size_t>(deleted)].epoch));
    if (reopen) volume.reopen();
    for (std::size_t i = 0; i < snapshots.size(); ++i) {
        INFO("snapshot ", i, " after deleting ", deleted);
        if (static_cast<int>(i) != deleted)
            CHECK(wrong_in(volume, snapshots[i].epoch, copies[i]) == "");
    }
    CHECK((live_contents(volume) == now));
}

}  // namespace

TEST_SUITE("content sequences") {
    TEST_CASE("two changes after the second of two snapshots, which is deleted") {
        UMBRA_SKIP_IF(missing_for_image(FilesystemType::Ext4));
        check_sequences(1, false);
    }
    TEST_CASE("the same with the last of three deleted") {
        UMBRA_SKIP_IF(missing_for_image(FilesystemType::Ext4));
        check_sequences(2, false);
    }
    TEST_CASE("the same with the first deleted, and the volume opened again") {
        UMBRA_SKIP_IF(missing_for_image(FilesystemType::Ext4));
        check_sequences(0, true);
    }
}
