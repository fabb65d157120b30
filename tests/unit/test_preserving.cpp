// Each change of the live tree, alone: what every snapshot shows afterwards is exactly what was
// there.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "snapstore/log_format.h"
#include "tests/support/ram_image.h"
#include "tests/support/skip.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace {

constexpr std::uint64_t kBlock = kBlockSize;

// `round` differs each time, so that a change can be made in several epochs.
struct Operation {
    const char* name;
    std::function<void(TestVolume&, int round)> run;
    bool needs_disk = false;  // tmpfs cannot do it
};

void prepare(TestVolume& volume) {
    volume.make_directory("d");
    volume.make_directory("d/e");
    volume.make_directory("empty");
    volume.make_directory("empty2");
    volume.put("small", "a few bytes");
    volume.put("d/large", noise(10 * kBlock + 777, 1));
    volume.put("d/other", noise(5000, 2));
    volume.put("d/e/deep", noise(kBlock, 3));
    volume.put("zero", "");
    volume.put("sparse", "");
    volume.write("sparse", 5 * kBlock + 5, noise(3 * kBlock, 4));
    volume.truncate("sparse", 20 * kBlock);
    volume.put("one", noise(9000, 5));
    volume.link("one", "two");
    volume.link("one", "d/three");
    must(volume.live().make_symlink(volume.id(""), "symlink", "d/large", Caller{}));
    must(volume.live().make_node(volume.id(""), "fifo", S_IFIFO | 0600, 0, Caller{}));
    must(volume.live().make_node(volume.id(""), "device", S_IFBLK | 0600, 0x107, Caller{}));
    must(volume.live().set_extended(volume.id("small"), "trusted.first", "value", 0, Caller{}));
    must(volume.live().set_extended(volume.id("d"), "trusted.of directory",
                                    std::string("\0\xff", 2), 0, Caller{}));
}

std::string numbered(const char* text, int round) { return text + std::to_string(round); }

AttributeChange sized(std::uint64_t size) {
    AttributeChange change;
    change.size = size;
    return change;
}

void allocate(TestVolume& volume, const std::string& path, int mode, std::uint64_t offset,
              std::uint64_t length) {
    auto file = must(volume.live().open(volume.id(path), O_RDWR, Caller{}));
    must(volume.live().allocate(file, mode, offset, length, Caller{}));
}

// Removes and makes again, so that the next round has it too.
void remove_and_renew(TestVolume& volume, const std::string& path, int round) {
    volume.remove(path);
    volume.put(path, noise(20000, static_cast<std::uint64_t>(round)));
}

const std::vector<Operation>& operations() {
    static const std::vector<Operation> kOperations = {
        {"create a file",
         [](TestVolume& v, int r) { v.put(numbered("d/new", r), noise(30000, 9)); }},
        {"create an existing file without truncating it",
         [](TestVolume& v, int) {
             must(v.live().create(v.id(""), "small", 0644, O_RDWR, Caller{}));
         }},
        {"create an existing file, truncating it",
         [](TestVolume& v, int) { v.put("d/large", noise(3 * kBlock, 7)); }},
        {"make a directory with contents",
         [](TestVolume& v, int r) {
             v.make_directory(numbered("d/dir", r));
             v.put(numbered("d/dir", r) + "/file", "text");
         }},
        {"make a symlink",
         [](TestVolume& v, int r) {
             must(v.live().make_symlink(v.id("d"), numbered("link", r), "x", Caller{}));
         }},
        {"make a device",
         [](TestVolume& v, int r) {
             must(v.live().make_node(v.id("d"), numbered("dev", r), S_IFCHR | 0600, 0x103,
                                     Caller{}));
         }},
        {"link", [](TestVolume& v, int r) { v.link("small", numbered("d/linked", r)); }},
        {"unlink a file", [](TestVolume& v, int r) { remove_and_renew(v, "d/large", r); }},
        {"unlink one of several names",
         [](TestVolume& v, int r) {
             if (r == 0) v.remove("two");
         }},
        {"unlink all names of a file",
         [](TestVolume& v, int r) {
             if (r != 0) return;
             for (const char* name : {"one", "two", "d/three"}) v.remove(name);
         }},
        {"unlink names of a file in several epochs",
         [](TestVolume& v, int r) {
             static const char* const kNames[] = {"two", "d/three", "one"};
             if (r < 3) v.remove(kNames[r]);
         }},
        {"unlink what is no file",
         [](TestVolume& v, int r) {
             if (r != 0) return;
             for (const char* name : {"symlink", "fifo", "device"}) v.remove(name);
         }},
        {"remove an empty directory",
         [](TestVolume& v, int) {
             v.remove("empty");
             v.make_directory("empty");
         }},
        {"remove a whole tree",
         [](TestVolume& v, int r) {
             if (r != 0) return;
             for (const char* name : {"d/e/deep", "d/e", "d/large", "d/other", "d/three", "d"})
                 v.remove(name);
         }},
        {"rename a file",
         [](TestVolume& v, int r) {
             r % 2 == 0 ? v.rename("small", "d/e/renamed") : v.rename("d/e/renamed", "small");
         }},
        {"rename a directory",
         [](TestVolume& v, int r) {
             r % 2 == 0 ? v.rename("d", "empty/moved") : v.rename("empty/moved", "d");
         }},
        {"rename over a file",
         [](TestVolume& v, int r) {
             v.rename("small", "d/large");
             v.put("small", noise(100, static_cast<std::uint64_t>(r)));
         }},
        {"rename over a name of several",
         [](TestVolume& v, int r) {
             v.rename("small", "two");
             v.put("small", numbered("x", r));
         }},
        {"rename over a symlink",
         [](TestVolume& v, int r) {
             if (r == 0) v.rename("d/other", "symlink");
         }},
        {"rename over an empty directory",
         [](TestVolume& v, int) {
             v.rename("empty2", "empty");
             v.make_directory("empty2");
         }},
        {"rename to another name of the same file",
         [](TestVolume& v, int) { v.rename("one", "two"); }},
        {"exchange two files",
         [](TestVolume& v, int) { v.rename("small", "d/large", RENAME_EXCHANGE); }},
        {"exchange a file and a directory",
         [](TestVolume& v, int) { v.rename("small", "d/e", RENAME_EXCHANGE); }},
        {"rename without replacing",
         [](TestVolume& v, int r) {
             r % 2 == 0 ? v.rename("small", "fresh", RENAME_NOREPLACE)
                        : v.rename("fresh", "small", RENAME_NOREPLACE);
         }},
        {"save as editors do",
         [](TestVolume& v, int r) {
             v.put("d/large.tmp", noise(50000, static_cast<std::uint64_t>(r)));
             v.rename("d/large.tmp", "d/large");
         }},
        {"overwrite within a block",
         [](TestVolume& v, int r) {
             v.write("d/large", 3 * kBlock + 100 + static_cast<std::uint64_t>(r), "overwritten");
         }},
        {"overwrite over block borders",
         [](TestVolume& v, int r) {
             v.write("d/large", 2 * kBlock - 10 + static_cast<std::uint64_t>(r) * kBlock,
                     noise(2 * kBlock + 20, 8));
         }},
        {"overwrite the last block",
         [](TestVolume& v, int) { v.write("d/large", 10 * kBlock + 776, "behind"); }},
        {"append",
         [](TestVolume& v, int r) {
             v.write("d/other", 5000 + static_cast<std::uint64_t>(r) * kBlock, noise(kBlock, 8));
         }},
        {"write far behind the end",
         [](TestVolume& v, int r) {
             v.write("small", static_cast<std::uint64_t>(r + 1) * 50 * kBlock, "far");
         }},
        {"write into an empty file",
         [](TestVolume& v, int r) {
             v.write("zero", 0, noise(100 + 100 * static_cast<std::size_t>(r), 8));
         }},
        {"write into a hole",
         [](TestVolume& v, int r) {
             v.write("sparse", static_cast<std::uint64_t>(r) * kBlock + 3, "no hole any more");
         }},
        {"truncate within a block",
         [](TestVolume& v, int r) {
             v.truncate("d/large", 5 * kBlock + 100 - static_cast<std::uint64_t>(r) * kBlock);
         }},
        {"truncate at a block border",
         [](TestVolume& v, int r) {
             v.truncate("d/large", (8 - 2 * static_cast<std::uint64_t>(r)) * kBlock);
         }},
        {"truncate to nothing",
         [](TestVolume& v, int r) {
             v.truncate("d/large", 0);
             v.write("d/large", 0, noise(30000, static_cast<std::uint64_t>(r)));
         }},
        {"truncate up",
         [](TestVolume& v, int r) {
             v.truncate("d/other", 100'000 * static_cast<std::uint64_t>(r + 1));
         }},
        {"truncate down and up again",
         [](TestVolume& v, int r) {
             v.truncate("d/large", 100);
             v.truncate("d/large", 9 * kBlock + 5);
             v.write("d/large", 50, noise(5 * kBlock, static_cast<std::uint64_t>(r)));
         }},
        {"truncate within a hole",
         [](TestVolume& v, int r) {
             v.truncate("sparse", (15 - static_cast<std::uint64_t>(r)) * kBlock + 7);
         }},
        {"truncate the data of a sparse file away and up",
         [](TestVolume& v, int) {
             v.truncate("sparse", kBlock / 2);
             v.truncate("sparse", 20 * kBlock);
         }},
        {"open with O_TRUNC",
         [](TestVolume& v, int r) {
             auto file = must(v.live().open(v.id("d/large"), O_WRONLY | O_TRUNC, Caller{}));
             must(v.write_to(file, 0, noise(20000, static_cast<std::uint64_t>(r))));
         }},
        {"allocate space",
         [](TestVolume& v, int r) {
             allocate(v, "small", 0, 0, 3 * kBlock * static_cast<std::uint64_t>(r + 1));
         }},
        {"allocate space behind the end",
         [](TestVolume& v, int) { allocate(v, "small", FALLOC_FL_KEEP_SIZE, 0, 3 * kBlock); }},
        {"punch a hole",
         [](TestVolume& v, int r) {
             allocate(v, "d/large", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                      kBlock + 5000 * static_cast<std::uint64_t>(r), 2 * kBlock);
         }},
        {"punch a hole into a sparse file",
         [](TestVolume& v, int) {
             allocate(v, "sparse", FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 7 * kBlock);
         }},
        {"zero a range",
         [](TestVolume& v, int r) {
             allocate(v, "d/large", FALLOC_FL_ZERO_RANGE,
                      kBlock + 5000 * static_cast<std::uint64_t>(r), 2 * kBlock);
         },
         true},
        {"zero a range beyond the end",
         [](TestVolume& v, int r) {
             allocate(v, "d/large", FALLOC_FL_ZERO_RANGE, 10 * kBlock,
                      (2 + static_cast<std::uint64_t>(r)) * kBlock);
         },
         true},
        {"collapse a range",
         [](TestVolume& v, int) {
             allocate(v, "d/large", FALLOC_FL_COLLAPSE_RANGE, kBlock + 4096, 2 * kBlock);
         },
         true},
        {"insert a range",
         [](TestVolume& v, int) {
             allocate(v, "d/large", FALLOC_FL_INSERT_RANGE, kBlock + 4096, 3 * kBlock);
         },
         true},
        {"copy a range",
         [](TestVolume& v, int r) {
             auto in = must(v.live().open(v.id("d/large"), O_RDONLY, Caller{}));
             auto out = must(v.live().open(v.id("small"), O_RDWR, Caller{}));
             CHECK(must(v.live().copy_range(in, 100, out, 3 + static_cast<std::uint64_t>(r),
                                            3 * kBlock, Caller{})) == 3 * kBlock);
         }},
        {"copy a range within a file",
         [](TestVolume& v, int) {
             auto file = must(v.live().open(v.id("d/large"), O_RDWR, Caller{}));
             CHECK(must(v.live().copy_range(file, 0, file, 5 * kBlock, 3 * kBlock, Caller{})) ==
                   3 * kBlock);
         }},
        {"change the mode",
         [](TestVolume& v, int r) {
             for (const char* path : {"small", "d", "fifo", ""}) {
                 AttributeChange change;
                 change.mode = 0700 + static_cast<mode_t>(r);
                 must(v.live().change_attributes(v.id(path), change, Caller{}));
             }
         }},
        {"change the owner",
         [](TestVolume& v, int r) {
             for (const char* path : {"small", "d", "symlink", "device"}) {
                 AttributeChange change;
                 change.uid = 1000 + static_cast<uid_t>(r);
                 change.gid = 2000 + static_cast<gid_t>(r);
                 must(v.live().change_attributes(v.id(path), change, Caller{}));
             }
         }},
        {"change the times",
         [](TestVolume& v, int r) {
             for (const char* path : {"small", "d", "symlink"}) {
                 AttributeChange change;
                 change.modification_time_change = change.access_time_change = TimeChange::kSet;
                 change.modification_time = change.access_time = {1000 + r, 5};
                 must(v.live().change_attributes(v.id(path), change, Caller{}));
             }
         }},
        {"everything with one setattr",
         [](TestVolume& v, int r) {
             AttributeChange change = sized(7 + static_cast<std::uint64_t>(r));
             change.mode = 0600;
             change.uid = 1000;
             change.modification_time_change = TimeChange::kSet;
             change.modification_time = {5, 5};
             must(v.live().change_attributes(v.id("d/large"), change, Caller{}));
         }},
        {"set xattrs",
         [](TestVolume& v, int r) {
             must(v.live().set_extended(v.id("small"), "trusted.first", numbered("changed", r), 0,
                                        Caller{}));
             must(v.live().set_extended(v.id("small"), numbered("trusted.new", r), "x", 0,
                                        Caller{}));
             must(v.live().set_extended(v.id("d"), numbered("trusted.new", r), noise(200, 1), 0,
                                        Caller{}));
         }},
        {"remove xattrs",
         [](TestVolume& v, int r) {
             if (r != 0) return;
             must(v.live().remove_extended(v.id("small"), "trusted.first"));
             must(v.live().remove_extended(v.id("d"), "trusted.of directory"));
         }},
        {"set an ACL",
         [](TestVolume& v, int r) {
             // version 2; user::rwx, user:1000+r:r--, group::r-x, mask::r-x, other::---
             std::string acl("\x02\0\0\0", 4);
             auto entry = [&](std::uint16_t tag, std::uint16_t permission, std::uint32_t id) {
                 acl.append(reinterpret_cast<const char*>(&tag), 2)
                     .append(reinterpret_cast<const char*>(&permission), 2)
                     .append(reinterpret_cast<const char*>(&id), 4);
             };
             entry(1, 7, ~0u);
             entry(2, 4, 1000 + static_cast<std::uint32_t>(r));
             entry(4, 5, ~0u);
             entry(16, 5, ~0u);
             entry(32, 0, ~0u);
             must(
                 v.live().set_extended(v.id("small"), "system.posix_acl_access", acl, 0, Caller{}));
             must(v.live().set_extended(v.id("d"), "system.posix_acl_default", acl, 0, Caller{}));
         }},
        {"write to a file without a name",
         [](TestVolume& v, int r) {
             auto file = must(v.live().open(v.id("d/large"), O_RDWR, Caller{}));
             v.remove("d/large");
             must(v.write_to(file, 100, noise(4 * kBlock, 5)));
             must(v.live().change_attributes(file.id, sized(6 * kBlock), Caller{}));
             v.snapshot();
             must(v.write_to(file, 0, noise(8 * kBlock, 6)));
             v.put("d/large", noise(10 * kBlock, static_cast<std::uint64_t>(r)));
         }},
        {"write to a file that a rename replaced",
         [](TestVolume& v, int r) {
             auto file = must(v.live().open(v.id("d/large"), O_RDWR, Caller{}));
             v.rename("small", "d/large");
             must(v.write_to(file, 100, noise(4 * kBlock, 5)));
             v.put("small", noise(300, static_cast<std::uint64_t>(r)));
         }},
        {"give an unnamed file a name",
         [](TestVolume& v, int r) {
             auto created = must(v.live().create_unnamed(v.id("d"), 0644, O_RDWR, Caller{}));
             must(v.write_to(created.file, 0, noise(20000, 5)));
             v.snapshot();
             must(v.write_to(created.file, 10, noise(20000, 6)));
             must(v.live().link(created.file.id, v.id("d"), numbered("was unnamed", r)));
             v.snapshot();
             must(v.write_to(created.file, 20, noise(20000, 7)));
         }},
        {"operations that fail",
         [](TestVolume& v, int) {
             CHECK(code_of(v.live().remove_directory(v.id(""), "d")) == ENOTEMPTY);
             CHECK(code_of(v.live().unlink(v.id(""), "d")) == EISDIR);
             CHECK(code_of(v.live().remove_directory(v.id(""), "small")) == ENOTDIR);
             CHECK(code_of(v.live().rename(v.id(""), "small", v.id(""), "d", 0)) == EISDIR);
             CHECK(code_of(v.live().rename(v.id(""), "empty", v.id(""), "d", 0)) == ENOTEMPTY);
             CHECK(code_of(v.live().rename(v.id(""), "d", v.id("d/e"), "x", 0)) == EINVAL);
             CHECK(code_of(v.live().rename(v.id(""), "small", v.id("d"), "large",
                                           RENAME_NOREPLACE)) == EEXIST);
             CHECK(code_of(v.live().rename(v.id(""), "small", v.id("d"), "missing",
                                           RENAME_EXCHANGE)) == ENOENT);
             CHECK(code_of(v.live().rename(v.id(""), "small", v.id("d"), "large",
                                           RENAME_WHITEOUT)) == EINVAL);
             CHECK(code_of(v.live().link(v.id("d"), v.id(""), "x")) == EPERM);
             CHECK(code_of(v.live().link(v.id("small"), v.id("d"), "large")) == EEXIST);
             CHECK(code_of(v.live().make_directory(v.id(""), "small", 0755, Caller{})) == EEXIST);
             CHECK(code_of(v.live().create(v.id(""), "small", 0644, O_RDWR | O_EXCL, Caller{})) ==
                   EEXIST);
             CHECK(code_of(v.live().create(v.id(""), "symlink", 0644, O_RDWR, Caller{})) == ELOOP);
             CHECK(code_of(v.live().unlink(v.id(""), "missing")) == ENOENT);
             CHECK(code_of(v.live().change_attributes(v.id("d"), sized(5), Caller{})) == EISDIR);
             CHECK(code_of(v.live().set_extended(v.id("small"), "trusted.first", "y", XATTR_CREATE,
                                                 Caller{})) == EEXIST);
             CHECK(code_of(v.live().remove_extended(v.id("small"), "trusted.missing")) == ENODATA);
         }},
    };
    return kOperations;
}

using Copies = std::map<Epoch, Picture>;

// Takes copies of all snapshots that are made, also by the operation itself.
void note_snapshots(TestVolume& volume, Copies& copies) {
    volume->set_snapshot_hook([&](const Snapshot& snapshot, bool created) {
        if (created)
            copies[snapshot.epoch] = volume.live_picture();
        else
            copies.erase(snapshot.epoch);
    });
}

std::string check_all(TestVolume& volume, const Copies& copies) {
    std::string wrong;
    for (const auto& [epoch, copy] : copies) {
        std::string text = differences(copy, volume.past_picture(epoch));
        if (!text.empty()) wrong += "snapshot " + std::to_string(epoch) + ":\n" + text;
    }
    return wrong;
}

// The operation in four epochs; then the snapshots go in this order (numbers of those left; -1: the
// newest).
void check_operation(const Operation& operation, const std::vector<int>& order,
                     const TestVolume::Options& options) {
    INFO(std::string(operation.name));
    TestVolume volume(options);
    prepare(volume);
    Copies copies;
    note_snapshots(volume, copies);
    for (int round = 0; round < 4; ++round) {
        volume.snapshot();
        operation.run(volume, round);
        REQUIRE(check_all(volume, copies) == "");
    }
    for (int which : order) {
        auto victim = which < 0 ? std::prev(copies.end()) : std::next(copies.begin(), which);
        must(volume->delete_snapshot(victim->first));
        REQUIRE(check_all(volume, copies) == "");
    }
    while (!copies.empty()) must(volume->delete_snapshot(copies.begin()->first));
    CHECK(must(volume->space_use()).log_bytes == 0);
    CHECK(must(volume->space_use()).limbo_bytes == 0);
}

}  // namespace

TEST_SUITE("preserving") {
    TEST_CASE("each operation leaves every snapshot as it was, the oldest going first") {
        for (const auto& operation : operations())
            if (!operation.needs_disk) check_operation(operation, {0, 0}, {});
    }

    TEST_CASE("each operation leaves every snapshot as it was, the newest going first") {
        for (const auto& operation : operations())
            if (!operation.needs_disk) check_operation(operation, {-1, -1}, {});
    }

    TEST_CASE("each operation leaves every snapshot as it was, middle ones going first") {
        for (const auto& operation : operations())
            if (!operation.needs_disk) check_operation(operation, {1, 1}, {});
    }

    TEST_CASE("the same on ext4, with what tmpfs cannot do") {
        UMBRA_SKIP_IF(missing_for_image(FilesystemType::Ext4));
        RamImage image(FilesystemType::Ext4, 1024);
        TestVolume::Options options;
        options.place = image.path();
        for (const auto& operation : operations()) check_operation(operation, {1}, options);
    }

    TEST_CASE("holes of the past are holes, and lseek never calls data one") {
        TestVolume volume;
        prepare(volume);
        auto snapshot = volume.snapshot();
        volume.truncate("sparse", 0);
        volume.write("sparse", 0, noise(20 * kBlock, 1));
        auto past = volume->past(snapshot.epoch);
        auto file = must(past.open(must(past.resolve("sparse")).id));
        CHECK(file.size == 20 * kBlock);
        CHECK(must(past.seek(file, 0, SEEK_DATA)) == 5 * kBlock);
        CHECK(must(past.seek(file, 5 * kBlock + 1, SEEK_HOLE)) == 9 * kBlock);
        CHECK(code_of(past.seek(file, 9 * kBlock, SEEK_DATA)) == ENXIO);
        CHECK(must(past.seek(file, 0, SEEK_HOLE)) == 0);
        CHECK(code_of(past.seek(file, 20 * kBlock, SEEK_HOLE)) == ENXIO);
        CHECK(code_of(past.seek(file, 20 * kBlock, SEEK_DATA)) == ENXIO);
        // Where nothing was changed the live file's own holes show.
        auto later = volume.snapshot();
        volume.put("other sparse", "");
        volume.truncate("other sparse", 10 * kBlock);
        auto last = volume.snapshot();
        static_cast<void>(later);
        auto live_past = volume->past(last.epoch);
        auto other = must(live_past.open(must(live_past.resolve("other sparse")).id));
        CHECK(must(live_past.seek(other, 100, SEEK_HOLE)) == 100);
        CHECK(code_of(live_past.seek(other, 0, SEEK_DATA)) == ENXIO);
    }

    TEST_CASE("names that are not single ones, and Umbra's own, are refused") {
        TestVolume volume;
        ObjectId root = volume.id("");
        for (const std::string& bad : {std::string(""), std::string("."), std::string(".."),
                                       std::string("a/b"), std::string("a\0b", 3)}) {
            CHECK(code_of(volume.live().make_directory(root, bad, 0755, Caller{})) == EINVAL);
            CHECK(code_of(volume.live().unlink(root, bad)) == EINVAL);
        }
        CHECK(code_of(volume.live().lookup(root, std::string(256, 'x'))) == ENAMETOOLONG);
        CHECK(code_of(volume.live().make_directory(root, std::string(256, 'x'), 0755, Caller{})) ==
              ENAMETOOLONG);
        volume.put("file", "x");
        for (const char* own : {".umbra", ".snapshots"}) {
            CHECK(code_of(volume.live().lookup(root, own)) == ENOENT);
            CHECK(code_of(volume.live().make_directory(root, own, 0755, Caller{})) == EPERM);
            CHECK(code_of(volume.live().create(root, own, 0644, O_RDWR, Caller{})) == EPERM);
            CHECK(code_of(volume.live().remove_directory(root, own)) == ENOENT);
            CHECK(code_of(volume.live().unlink(root, own)) == ENOENT);
            CHECK(code_of(volume.live().rename(root, own, root, "x", 0)) == ENOENT);
            CHECK(code_of(volume.live().rename(root, "file", root, own, 0)) == EPERM);
            CHECK(code_of(volume.live().rename(root, "file", root, own, RENAME_EXCHANGE)) == EPERM);
            CHECK(code_of(volume.live().link(volume.id("file"), root, own)) == EPERM);
            CHECK(code_of(volume.live().make_symlink(root, own, "x", Caller{})) == EPERM);
            CHECK(volume.live().hidden(root, own));
        }
        auto snapshot = volume.snapshot();
        CHECK(code_of(volume->past(snapshot.epoch).lookup(root, ".umbra")) == ENOENT);
        // Below the root they are names like any other.
        volume.make_directory("d");
        volume.make_directory("d/.umbra");
        CHECK_FALSE(volume.live().hidden(volume.id("d"), ".umbra"));
        CHECK(must(volume.live().lookup_parent(volume.id("d/.umbra"))).id == volume.id("d"));
        CHECK(must(volume.live().lookup_parent(root)).id == root);
    }

    TEST_CASE(
        "new objects belong to the caller, and a change by an ordinary one clears set-id bits") {
        TestVolume volume;
        Caller caller{1000, 2000, 027};
        auto created = must(volume.live().create(volume.id(""), "file", 0666, O_RDWR, caller));
        CHECK(created.entry.status.st_uid == 1000);
        CHECK(created.entry.status.st_gid == 2000);
        CHECK((created.entry.status.st_mode & 07777) == 0640);
        CHECK(must(volume.live().make_directory(volume.id(""), "d", 0777, caller)).status.st_mode ==
              (S_IFDIR | 0750));
        AttributeChange change;
        change.mode = 06777;
        CHECK((must(volume.live().change_attributes(created.entry.id, change, Caller{})).st_mode &
               07777) == 06777);
        must(volume.live().write(created.file, 0, 1, caller,
                                 [](int fd) { return pwrite(fd, "x", 1, 0); }));
        CHECK((must(volume.live().status(created.entry.id)).st_mode & 07777) == 0777);
        must(volume.live().change_attributes(created.entry.id, change, Caller{}));
        must(volume.write_to(created.file, 0, "x"));  // root keeps them
        CHECK((must(volume.live().status(created.entry.id)).st_mode & 07777) == 06777);
        CHECK(umask(022) == 022);  // the process's own umask is untouched
    }

    TEST_CASE("a removed file cannot get a name again, whether a snapshot keeps it or not") {
        TestVolume volume;
        for (bool kept : {false, true}) {
            volume.put("file", "contents");
            if (kept) volume.snapshot();
            auto file = must(volume.live().open(volume.id("file"), O_RDWR, Caller{}));
            volume.remove("file");
            CHECK((must(volume->space_use()).limbo_bytes > 0) == kept);
            CHECK(code_of(volume.live().link(file.id, volume.id(""), "again")) == ENOENT);
            CHECK(code_of(volume.live().lookup(volume.id(""), "again")) == ENOENT);
        }
    }

    TEST_CASE(
        "an allocation mode that is not known is refused, since what it changes is not known") {
        TestVolume volume;
        volume.put("file", noise(50000, 1));
        auto snapshot = volume.snapshot();
        Picture copy = volume.live_picture();
        auto file = must(volume.live().open(volume.id("file"), O_RDWR, Caller{}));
        for (int mode : {0x80, 0x80 | FALLOC_FL_KEEP_SIZE, 0x100, 1 << 20})
            CHECK(code_of(volume.live().allocate(file, mode, 0, 16384, Caller{})) == EOPNOTSUPP);
        CHECK(differences(copy, volume.past_picture(snapshot.epoch)) == "");
    }

    TEST_CASE("without a snapshot nothing is preserved, and what is born after one is not either") {
        TestVolume volume;
        prepare(volume);
        CHECK(must(volume->space_use()).log_bytes == 0);
        volume.snapshot();
        volume.make_directory("unpacked");
        auto before = must(volume->space_use()).log_bytes;
        for (int i = 0; i < 100; ++i) volume.put("unpacked/" + std::to_string(i), noise(20000, 1));
        for (int i = 0; i < 100; ++i) volume.write("unpacked/" + std::to_string(i), 5, "again");
        for (int i = 0; i < 100; i += 2) volume.remove("unpacked/" + std::to_string(i));
        CHECK(must(volume->space_use()).log_bytes == before);
        CHECK(must(volume->space_use()).limbo_bytes == 0);
    }
}
