#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/fs.h>

#include <filesystem>
#include <set>
#include <string>

#include "tests/support/ram_image.h"
#include "tests/support/skip.h"
#include "tests/unit/difference_check.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace {

// "KIND PATH [from OLD] [content] OLDSIZE NEWSIZE" of each.
std::vector<std::string> told(TestVolume& volume, Epoch from,
                              std::optional<Epoch> to = std::nullopt) {
    std::vector<std::string> lines;
    for (const auto& difference : must(volume->history().difference(from, to))) {
        std::string line = describe(difference);
        if (difference.old_size) line += " " + std::to_string(*difference.old_size);
        if (difference.old_size || difference.new_size) line += " ->";
        if (difference.new_size) line += " " + std::to_string(*difference.new_size);
        lines.push_back(line);
    }
    return lines;
}

using Lines = std::vector<std::string>;

// "FIRST-LAST" of each version, "*" behind the one that is live.
Lines versions(TestVolume& volume, const std::string& path) {
    Lines lines;
    for (const auto& version : must(volume->history().versions(path)))
        lines.push_back(std::to_string(version.first.epoch) + "-" +
                        std::to_string(version.last.epoch) + (version.live ? "*" : ""));
    return lines;
}

void set_mode(TestVolume& volume, const std::string& path, mode_t mode) {
    AttributeChange change;
    change.mode = mode;
    must(volume.live().change_attributes(volume.id(path), change, Caller{}));
}

}  // namespace

TEST_SUITE("difference") {
    TEST_CASE("nothing changed: nothing is told") {
        TestVolume volume;
        volume.put("file", "x");
        auto first = volume.snapshot();
        auto second = volume.snapshot();
        CHECK(told(volume, first.epoch).empty());
        CHECK(told(volume, first.epoch, second.epoch).empty());
    }

    TEST_CASE("what was added, removed, modified, or changed in its metadata") {
        TestVolume volume;
        volume.make_directory("d");
        volume.put("d/changed", "12345");
        volume.put("d/removed", "123");
        volume.put("mode", "1");
        volume.put("xattr", "1");
        volume.put("time", "1");
        volume.put("same", "1");
        auto first = volume.snapshot();
        volume.put("d/added", "1234567");
        volume.write("d/changed", 3, "678");
        volume.remove("d/removed");
        set_mode(volume, "mode", 0600);
        must(volume.live().set_extended(volume.id("xattr"), "trusted.x", "y", 0, Caller{}));
        AttributeChange touch;
        touch.modification_time_change = TimeChange::kSet;
        touch.modification_time = {5, 5};
        must(volume.live().change_attributes(volume.id("time"), touch, Caller{}));
        set_mode(volume, "same", 0600);
        set_mode(volume, "same", 0644);
        set_mode(volume, "d", 0700);
        const Lines expected = {"metadata 'd'",
                                "added 'd/added' -> 7",
                                "modified 'd/changed' (content) 5 -> 6",
                                "removed 'd/removed' 3 ->",
                                "metadata 'mode' 1 -> 1",
                                "metadata 'time' 1 -> 1",
                                "metadata 'xattr' 1 -> 1"};
        CHECK(told(volume, first.epoch) == expected);
        auto second = volume.snapshot();
        volume.remove("mode");
        volume.put("much later", "x");
        CHECK(told(volume, first.epoch, second.epoch) == expected);
        CHECK(told(volume, second.epoch) ==
              Lines{"removed 'mode' 1 ->", "added 'much later' -> 1"});
    }

    TEST_CASE("what was renamed, with and without changes, also whole directories") {
        TestVolume volume;
        volume.make_directory("d");
        volume.make_directory("d/inner");
        volume.put("d/inner/file", "123");
        volume.put("d/other", "123");
        volume.put("plain", "1");
        volume.put("also modified", "1");
        auto first = volume.snapshot();
        volume.rename("plain", "renamed");
        volume.rename("also modified", "d/elsewhere");
        volume.write("d/elsewhere", 1, "2");
        volume.rename("d", "e");
        volume.write("e/inner/file", 0, "abc");
        volume.remove("e/other");
        CHECK(told(volume, first.epoch) ==
              Lines{"removed 'd/other' 3 ->", "renamed 'e' from 'd'",
                    "renamed 'e/elsewhere' from 'also modified' (content) 1 -> 2",
                    "modified 'e/inner/file' (content) 3 -> 3",
                    "renamed 'renamed' from 'plain' 1 -> 1"});
    }

    TEST_CASE("what changed in folders that changed places is told where something was removed") {
        TestVolume volume;
        for (const std::string name : {"a", "b"}) {
            volume.make_directory(name);
            volume.put(name + "/file", name == "a" ? "1" : "123");
            volume.put(name + "/unchanged", name);
        }
        volume.put("a/sort", "1");
        volume.make_directory("b/sort");
        auto first = volume.snapshot();
        for (const char* name : {"a/file", "a/unchanged", "a/sort"}) volume.remove(name);
        volume.write("b/file", 3, "45");
        set_mode(volume, "b/sort", 0700);
        must(volume.live().rename(volume.id(""), "a", volume.id(""), "b", RENAME_EXCHANGE));
        CHECK(told(volume, first.epoch) ==
              Lines{"renamed 'a' from 'b'", "modified 'a/file' (content) 1 -> 5",
                    "type changed 'a/sort' (content) 1 ->", "removed 'a/unchanged' 1 ->",
                    "renamed 'b' from 'a'"});
    }

    TEST_CASE("a new directory is told with all that is in it; what was moved there is a rename") {
        TestVolume volume;
        volume.put("file", "12");
        volume.make_directory("old");
        volume.put("old/inside", "1");
        auto first = volume.snapshot();
        volume.make_directory("new");
        volume.make_directory("new/deep");
        volume.put("new/deep/file", "123");
        volume.rename("file", "new/moved");
        volume.rename("old", "new/old");
        volume.put("new/old/more", "1234");
        const Lines expected = {"added 'new'",
                                "added 'new/deep'",
                                "added 'new/deep/file' -> 3",
                                "renamed 'new/moved' from 'file' 2 -> 2",
                                "renamed 'new/old' from 'old'",
                                "added 'new/old/more' -> 4"};
        CHECK(told(volume, first.epoch) == expected);
        auto second = volume.snapshot();
        volume.remove("new/deep/file");
        CHECK(told(volume, first.epoch, second.epoch) == expected);
    }

    TEST_CASE("what is moved into a new directory in a later epoch is a rename too, told once") {
        TestVolume volume;
        volume.put("file", "12");
        auto first = volume.snapshot();
        volume.make_directory("new");
        volume.snapshot();
        volume.rename("file", "new/moved");
        volume.make_directory("new/deep");
        volume.snapshot();
        volume.put("new/deep/later", "1");
        CHECK(told(volume, first.epoch) == Lines{"added 'new'", "added 'new/deep'",
                                                 "added 'new/deep/later' -> 1",
                                                 "renamed 'new/moved' from 'file' 2 -> 2"});
    }

    TEST_CASE("a removed directory is told with all that was in it") {
        TestVolume volume;
        volume.make_directory("d");
        volume.make_directory("d/e");
        volume.put("d/e/file", "123");
        auto first = volume.snapshot();
        for (const char* path : {"d/e/file", "d/e", "d"}) volume.remove(path);
        CHECK(told(volume, first.epoch) ==
              Lines{"removed 'd'", "removed 'd/e'", "removed 'd/e/file' 3 ->"});
    }

    TEST_CASE(
        "a file saved as editors do is modified; another type under the name is told as such") {
        TestVolume volume;
        volume.put("edited", "123");
        volume.put("became a directory", "1");
        must(volume.live().make_symlink(volume.id(""), "link", "x", Caller{}));
        auto first = volume.snapshot();
        volume.put("edited.tmp", "12345");
        volume.rename("edited.tmp", "edited");
        volume.remove("became a directory");
        volume.make_directory("became a directory");
        volume.remove("link");
        volume.put("link", "1");
        CHECK(told(volume, first.epoch) == Lines{"type changed 'became a directory' (content) 1 ->",
                                                 "modified 'edited' (content) 3 -> 5",
                                                 "type changed 'link' (content) -> 1"});
    }

    TEST_CASE("two files that changed places are two renames") {
        TestVolume volume;
        volume.put("a", "1");
        volume.put("b", "12");
        auto first = volume.snapshot();
        volume.rename("a", "b", RENAME_EXCHANGE);
        CHECK(told(volume, first.epoch) ==
              Lines{"renamed 'a' from 'b' 2 -> 2", "renamed 'b' from 'a' 1 -> 1"});
    }

    TEST_CASE("names of hard-linked files are told, and a change under one of them") {
        TestVolume volume;
        volume.put("a", "1");
        volume.link("a", "b");
        volume.put("alone", "1");
        auto first = volume.snapshot();
        volume.link("alone", "new name");
        volume.write("a", 1, "2");
        auto lines = told(volume, first.epoch);
        REQUIRE(lines.size() >= 2);
        CHECK(std::count(lines.begin(), lines.end(), "added 'new name' -> 1") == 1);
        CHECK((std::count(lines.begin(), lines.end(), "modified 'a' (content) 1 -> 2") +
               std::count(lines.begin(), lines.end(), "modified 'b' (content) 1 -> 2")) >= 1);
    }

    TEST_CASE("what came and went in between is not told") {
        TestVolume volume;
        volume.put("stays", "1");
        auto first = volume.snapshot();
        volume.put("temporary", "1");
        volume.snapshot();
        volume.make_directory("t");
        volume.put("t/file", "1");
        volume.snapshot();
        for (const char* path : {"temporary", "t/file", "t"}) volume.remove(path);
        volume.rename("stays", "away");
        volume.rename("away", "stays");
        CHECK(told(volume, first.epoch).empty());
    }

    TEST_CASE("a modified file is told though the kernel knows no name of it any more") {
        UMBRA_SKIP_IF(missing_for_image(FilesystemType::Ext4));
        RamImage image(FilesystemType::Ext4, 64);
        TestVolume::Options options;
        options.place = image.path();
        TestVolume volume(options);
        volume.make_directory("d");
        ObjectId id = volume.put("d/file", "123");
        auto first = volume.snapshot();
        volume.close();
        image.remount();
        volume.open();
        // Opened by its identity alone, as after a restart of an NFS server.
        auto file = must(volume.live().open(id, O_RDWR, Caller{}));
        must(volume.write_to(file, 0, "abc"));
        CHECK(told(volume, first.epoch) == Lines{"modified 'd/file' (content) 3 -> 3"});
    }

    TEST_CASE("a question that makes no sense is refused") {
        TestVolume volume;
        auto first = volume.snapshot();
        auto second = volume.snapshot();
        CHECK(volume->history().difference(second.epoch, first.epoch).error().kind ==
              ErrorKind::kUsage);
        CHECK(volume->history().difference(first.epoch, first.epoch).error().kind ==
              ErrorKind::kUsage);
        CHECK(volume->history().difference(77, std::nullopt).error().kind == ErrorKind::kNotFound);
        CHECK(volume->history().difference(first.epoch, 77).error().kind == ErrorKind::kNotFound);
    }
}

TEST_SUITE("versions") {
    TEST_CASE("each distinct version is listed once, with the snapshots that show it") {
        TestVolume volume;
        volume.snapshot();  // 1: not there yet
        volume.put("file", "one");
        volume.snapshot();  // 2
        volume.snapshot();  // 3
        volume.write("file", 0, "two");
        volume.snapshot();  // 4
        set_mode(volume, "file", 0600);
        volume.snapshot();  // 5
        volume.snapshot();  // 6
        CHECK(versions(volume, "file") == Lines{"5-6*", "4-4", "2-3"});
        volume.write("file", 0, "new");
        CHECK(versions(volume, "file") == Lines{"5-6", "4-4", "2-3"});
        must(volume->delete_snapshot(3));
        must(volume->delete_snapshot(5));
        CHECK(versions(volume, "file") == Lines{"6-6", "4-4", "2-2"});
        auto listed = must(volume->history().versions("file"));
        CHECK(listed[0].status.st_mode == (S_IFREG | 0600));
        CHECK(listed[2].status.st_mode == (S_IFREG | 0644));
        CHECK(listed[2].status.st_size == 3);
        CHECK(versions(volume, "missing").empty());
    }

    TEST_CASE("a deleted path has its versions still, and a replaced file is another version") {
        TestVolume volume;
        volume.make_directory("d");
        volume.put("d/file", "one");
        volume.snapshot();  // 1
        volume.put("d/tmp", "one");
        volume.rename("d/tmp", "d/file");  // the same bytes, another file
        volume.snapshot();                 // 2
        volume.remove("d/file");
        volume.snapshot();  // 3: a gap
        volume.put("d/file", "one");
        volume.snapshot();  // 4
        CHECK(versions(volume, "d/file") == Lines{"4-4*", "2-2", "1-1"});
        volume.remove("d/file");
        volume.remove("d");
        CHECK(versions(volume, "d/file") == Lines{"4-4", "2-2", "1-1"});
        CHECK(versions(volume, "d").size() >= 1);
    }

    TEST_CASE("contents changed with the old time put back are another version") {
        TestVolume volume;
        volume.put("file", "one");
        auto before = must(volume.live().status(volume.id("file")));
        volume.snapshot();
        volume.write("file", 0, "two");
        AttributeChange back;
        back.modification_time_change = TimeChange::kSet;
        back.modification_time = before.st_mtim;
        must(volume.live().change_attributes(volume.id("file"), back, Caller{}));
        CHECK(versions(volume, "file") == Lines{"1-1"});
        volume.snapshot();
        CHECK(versions(volume, "file") == Lines{"2-2*", "1-1"});
    }

    TEST_CASE("a gap between two equal moments of one file ends a version") {
        TestVolume volume;
        volume.put("file", "one");
        volume.snapshot();
        volume.rename("file", "away");
        volume.snapshot();
        volume.rename("away", "file");
        volume.snapshot();
        CHECK(versions(volume, "file") == Lines{"3-3*", "1-1"});
        CHECK(versions(volume, "away") == Lines{"2-2"});
    }

    TEST_CASE("of a path below what is no directory there are none") {
        TestVolume volume;
        volume.put("file", "one");
        volume.snapshot();
        CHECK(versions(volume, "file/below").empty());
        CHECK(versions(volume, "").size() == 1);
    }
}
