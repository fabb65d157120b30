// Damage in the diff area: what is read is right or an error, never wrong; the rest stays readable.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>

#include "snapstore/log_format.h"
#include "snapstore/volume_files.h"
#include "tests/support/random.h"
#include "tests/unit/damage_helpers.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace fs = std::filesystem;

TEST_SUITE("damage") {
    TEST_CASE("a flipped bit in preserved data makes that block EIO, and all else is right") {
        TestVolume volume;
        std::string original = noise(10 * kBlockSize, 1);
        volume.put("file", original);
        auto snapshot = volume.snapshot();
        volume.write("file", 0, noise(10 * kBlockSize, 2));
        volume.close();
        auto file = log_files(volume).at(0);
        auto place = find_in(file, original.substr(3 * kBlockSize, 100));
        REQUIRE(place != std::string::npos);
        flip(file, place + 5000, 3);
        volume.open();
        auto past = volume->past(snapshot.epoch);
        auto opened = must(past.open(must(past.resolve("file")).id));
        for (std::uint64_t block = 0; block < 10; ++block) {
            std::string bytes(kBlockSize, '\0');
            auto count =
                past.read(opened, block * kBlockSize, std::as_writable_bytes(std::span(bytes)));
            if (block == 3) {
                REQUIRE_FALSE(count.has_value());
                CHECK(count.error().code == EIO);
                CHECK(count.error().kind == ErrorKind::kDiffArea);
            } else {
                CHECK(*count == kBlockSize);
                CHECK(bytes == original.substr(block * kBlockSize, kBlockSize));
            }
        }
        // Even a byte of the bad block is not given.
        char byte;
        CHECK(code_of(past.read(opened, 3 * kBlockSize,
                                std::as_writable_bytes(std::span(&byte, 1)))) == EIO);
        // Deleting works on damage as well.
        must(volume->delete_snapshot(snapshot.epoch));
    }

    TEST_CASE(
        "random flipped bits anywhere in the log, while the index is whole: never a wrong answer") {
        std::mt19937_64 random(11);
        for (int round = 0; round < 25; ++round) {
            TestVolume volume;
            auto epochs = prepare(volume);
            auto first = volume.past_picture(epochs[0]), second = volume.past_picture(epochs[1]);
            volume.close();
            for (const auto& file : log_files(volume))
                for (int i = 0; i < 3; ++i)
                    flip(file, random() % fs::file_size(file), static_cast<int>(random() % 8));
            volume.open();
            CHECK(wrong_answers(first, volume->past(epochs[0])) == "");
            CHECK(wrong_answers(second, volume->past(epochs[1])) == "");
            // Deleting one leaves the other as right as it was.
            must(volume->delete_snapshot(epochs[static_cast<std::size_t>(round % 2)]));
            std::size_t other = 1 - static_cast<std::size_t>(round % 2);
            CHECK(wrong_answers(other == 0 ? first : second, volume->past(epochs[other])) == "");
        }
    }

    TEST_CASE(
        "a record destroyed in a log file that is not the newest is told, and all behind it is "
        "kept") {
        for (bool lose_index : {false, true}) {
            INFO("index lost: ", lose_index);
            TestVolume volume;
            volume.put("a", noise(50'000, 1));
            volume.put("b", noise(50'000, 2));
            volume.put("c", noise(50'000, 3));
            auto snapshot = volume.snapshot();
            volume.write("a", 0, noise(50'000, 4));
            volume.write("b", 0, noise(50'000, 5));
            volume.write("c", 0, noise(50'000, 6));
            volume.snapshot();
            volume.write("a", 0, "later");
            volume.close();
            auto file = log_files(volume).at(0);
            auto place = find_in(file, noise(50'000, 2).substr(0, 50)) / 64 * 64;
            flip(file, place - 64 * 2, 1);
            flip(file, place - 64, 1);
            if (lose_index) fs::remove_all(volume.area() + "/" + kIndexDirectoryName);
            volume.open();
            auto events = volume.take_events();
            if (lose_index)
                CHECK(std::find(events.begin(), events.end(), "record-damaged") != events.end());
            CHECK(volume.past_content(snapshot.epoch, "a") == noise(50'000, 1));
            CHECK(volume.past_content(snapshot.epoch, "c") == noise(50'000, 3));
            must(volume->delete_snapshot(2));
            CHECK(volume.past_content(snapshot.epoch, "a") == noise(50'000, 1));
            CHECK(volume.past_content(snapshot.epoch, "c") == noise(50'000, 3));
        }
    }

    TEST_CASE("damage in the newest log file of a cleanly closed volume cuts nothing off") {
        for (bool clean : {true, false}) {
            INFO("clean: ", clean);
            TestVolume volume;
            volume.put("a", noise(50'000, 1));
            volume.put("b", noise(50'000, 2));
            volume.put("c", noise(50'000, 3));
            auto snapshot = volume.snapshot();
            volume.write("a", 0, noise(50'000, 4));
            volume.write("b", 0, noise(50'000, 5));
            volume.write("c", 0, noise(50'000, 6));
            volume.close();
            auto file = log_files(volume).back();
            auto place = find_in(file, noise(50'000, 1).substr(0, 50));
            flip(file, place + 100, 1);
            fs::remove_all(volume.area() + "/" + kIndexDirectoryName);
            if (!clean) fs::remove(volume.area() + "/" + kCleanMarkName);
            volume.open();
            CHECK(volume.past_content(snapshot.epoch, "b") == noise(50'000, 2));
            CHECK(volume.past_content(snapshot.epoch, "c") == noise(50'000, 3));
        }
    }

    TEST_CASE(
        "an index that is lost, emptied or garbage is rebuilt from the log, and that is said") {
        TestVolume volume;
        auto epochs = prepare(volume);
        auto first = volume.past_picture(epochs[0]), second = volume.past_picture(epochs[1]);
        std::string index = volume.area() + "/" + kIndexDirectoryName;
        std::mt19937_64 random(3);
        for (int way = 0; way < 6; ++way) {
            INFO("way ", way);
            volume.take_events();
            volume.close();
            if (way == 0) fs::remove_all(index);
            if (way == 1) {
                fs::remove_all(index);
                fs::create_directory(index);
            }
            for (const auto& entry : fs::directory_iterator(way < 2 ? volume.share() : index)) {
                std::string name = entry.path().filename();
                if (way == 2 && name == "CURRENT") std::ofstream(entry.path()) << "nonsense";
                if (way == 3 && name.starts_with("MANIFEST"))
                    fs::resize_file(entry.path(), fs::file_size(entry.path()) / 2);
                if (way == 4 && name.ends_with(".sst")) fs::remove(entry.path());
                if (way == 5 && name.ends_with(".sst"))
                    std::ofstream(entry.path(), std::ios::binary) << noise(5000, random());
            }
            auto opened = volume.try_open();
            REQUIRE_MESSAGE(opened.has_value(), text_of(opened));
            auto events = volume.take_events();
            // Half a manifest may be an older index, which the log then brings up to date.
            if (way != 3 || !events.empty())
                CHECK(events == std::vector<std::string>{"index-rebuilt"});
            CHECK(differences(first, volume.past_picture(epochs[0])) == "");
            CHECK(differences(second, volume.past_picture(epochs[1])) == "");
            volume.write("d/file5", 40'000, "goes on");
            CHECK(differences(second, volume.past_picture(epochs[1])) == "");
        }
        volume.reopen();
        CHECK(volume.take_events().empty());
    }

    TEST_CASE(
        "every kind of damage in every file of the index: nothing wrong, and repaired by itself") {
        const std::uint64_t seed = announce_seed("damage of the index");
        std::mt19937_64 random(seed);
        TestVolume volume;
        // Enough for several blocks of a table, so that not each is read by the open.
        const auto name_of = [](int i) {
            return "many/a name of some length " + std::to_string(i);
        };
        volume.make_directory("many");
        for (int i = 0; i < 300; ++i) volume.put(name_of(i), "x");
        auto epochs = prepare(volume);
        for (int i = 0; i < 300; ++i) volume.remove(name_of(i));
        auto first = volume.past_picture(epochs[0]), second = volume.past_picture(epochs[1]);
        volume.close();
        const fs::path index = volume.area() + "/" + kIndexDirectoryName;
        const fs::path whole = volume.area() + "/whole";
        fs::copy(index, whole, fs::copy_options::recursive);
        std::vector<std::string> names;
        for (const auto& entry : fs::directory_iterator(whole))
            names.push_back(entry.path().filename());
        std::sort(names.begin(), names.end());
        REQUIRE(names.size() >= 5);
        int later = 0;  // noticed after the open
        for (const auto& name : names) {
            const auto size = fs::file_size(whole / name);
            for (int way = 0; way < with_soak(name.ends_with(".sst") ? 14 : 8); ++way) {
                CAPTURE(name);
                CAPTURE(way);
                fs::remove_all(index);
                fs::copy(whole, index, fs::copy_options::recursive);
                if (way == 0) {
                    fs::remove(index / name);
                } else if (size > 0 && way < 3) {
                    fs::resize_file(index / name, random() % size);
                } else if (size > 0 && way < 4) {
                    std::ofstream(index / name, std::ios::binary) << noise(size, random());
                } else if (size > 0) {
                    flip(index / name, random() % size, static_cast<int>(random() % 8));
                }
                volume.take_events();
                auto opened = volume.try_open();
                REQUIRE_MESSAGE(opened.has_value(), text_of(opened));
                int damaged = 0, damaged_second = 0;
                CHECK(wrong_answers(first, volume->past(epochs[0]), &damaged) == "");
                CHECK(wrong_answers(second, volume->past(epochs[1]), &damaged_second) == "");
                const auto findings = volume.scrub();
                for (const auto& finding : findings) CHECK(finding.file == kIndexDirectoryName);
                const bool hurt = damaged + damaged_second > 0 || !findings.empty();
                if (hurt) {
                    ++later;
                    const auto events = volume.take_events();
                    CHECK(std::find(events.begin(), events.end(), "record-damaged") !=
                          events.end());
                }
                // What was noticed is repaired by the next open, and stays so.
                volume.reopen();
                const auto events = volume.take_events();
                const bool rebuilt =
                    std::find(events.begin(), events.end(), "index-rebuilt") != events.end();
                if (hurt) CHECK(rebuilt);
                int left = 0;
                CHECK(wrong_answers(first, volume->past(epochs[0]), &left) == "");
                CHECK(left == 0);
                CHECK(wrong_answers(second, volume->past(epochs[1]), &left) == "");
                CHECK(left == 0);
                CHECK(volume.scrub().empty());
                volume.close();
            }
        }
        // Else the test would prove nothing.
        CHECK(later > 0);
    }

    TEST_CASE("a bit that flips in the mark of a clean end changes no accounting") {
        TestVolume volume;
        volume.put("file", noise(50'000, 1));
        volume.snapshot();
        volume.remove("file");
        const auto used = must(volume->space_use()).limbo_bytes;
        volume.close();
        const fs::path mark = volume.area() + "/" + kCleanMarkName;
        for (std::uint64_t place = 0; place < 16; ++place) {
            flip(mark, place, static_cast<int>(place % 8));
            volume.open();
            CHECK(must(volume->space_use()).limbo_bytes == used);
            CHECK(volume.take_events(true) == std::vector<std::string>{"unclean-end"});
            volume.reopen();
            CHECK(volume.take_events().empty());
            volume.close();
        }
    }

    TEST_CASE("flipped bits in the index are found, or do no harm") {
        std::mt19937_64 random(5);
        for (int round = 0; round < 20; ++round) {
            TestVolume volume;
            auto epochs = prepare(volume);
            auto first = volume.past_picture(epochs[0]);
            volume.close();
            for (const auto& entry :
                 fs::directory_iterator(volume.area() + "/" + kIndexDirectoryName))
                if (entry.path().extension() == ".sst")
                    for (int i = 0; i < 2; ++i)
                        flip(entry.path(), random() % fs::file_size(entry.path()),
                             static_cast<int>(random() % 8));
            auto opened = volume.try_open();
            REQUIRE_MESSAGE(opened.has_value(), text_of(opened));
            CHECK(wrong_answers(first, volume->past(epochs[0])) == "");
        }
    }

    TEST_CASE(
        "an extent whose data never reached the disk before a power cut is a torn tail, not lost "
        "history") {
        TestVolume volume;
        std::string original = noise(3 * kBlockSize, 1);
        volume.put("first", original);
        volume.put("second", original);
        auto snapshot = volume.snapshot();
        volume.write("first", 0, noise(3 * kBlockSize, 2));
        volume.close();
        fs::remove_all(volume.area() + "/" + kIndexDirectoryName);
        fs::remove(volume.area() + "/" + kCleanMarkName);
        auto file = log_files(volume).back();
        volume.open();
        // The write that was on its way when the power went: its record is there, the data is
        // zeros.
        volume.write("second", 0, noise(3 * kBlockSize, 3));
        volume.close();
        auto newest = log_files(volume).back();
        REQUIRE(newest != file);
        auto place = find_in(newest, original.substr(kBlockSize, 100));
        REQUIRE(place != std::string::npos);
        UniqueFd fd(::open(newest.c_str(), O_RDWR | O_CLOEXEC));
        std::string zeros(kBlockSize, '\0');
        REQUIRE(::pwrite(fd.get(), zeros.data(), zeros.size(), static_cast<off_t>(place)) ==
                static_cast<ssize_t>(zeros.size()));
        // What it guarded has not happened.
        UniqueFd live(::open((volume.share() + "/second").c_str(), O_RDWR | O_CLOEXEC));
        REQUIRE(::pwrite(live.get(), original.data(), original.size(), 0) ==
                static_cast<ssize_t>(original.size()));
        for (bool lose_index : {true, false}) {
            if (lose_index) fs::remove_all(volume.area() + "/" + kIndexDirectoryName);
            fs::remove(volume.area() + "/" + kCleanMarkName);
            volume.open();
            CHECK(volume.past_content(snapshot.epoch, "second") == original);
            CHECK(volume.past_content(snapshot.epoch, "first") == original);
            volume.close();
        }
        volume.open();
        volume.write("second", 0, noise(3 * kBlockSize, 4));
        CHECK(volume.past_content(snapshot.epoch, "second") == original);
    }

    TEST_CASE("a removed file that is missing in limbo is an error, not zeros") {
        TestVolume volume;
        volume.put("file", noise(50'000, 1));
        auto snapshot = volume.snapshot();
        volume.remove("file");
        volume.close();
        for (const auto& epoch : fs::directory_iterator(volume.share() + "/.umbra/limbo"))
            fs::remove_all(epoch.path());
        volume.open();
        std::string content = volume.past_content(snapshot.epoch, "file");
        CHECK_MESSAGE(content.starts_with("error: "), describe_content(content));
    }
}
