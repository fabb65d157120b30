// Scrub: whatever is damaged in a diff area is named, with the file it stands in, and the snapshots
// and paths it concerns; what is whole is not.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <random>
#include <set>
#include <thread>

#include "snapstore/index.h"
#include "snapstore/log_format.h"
#include "snapstore/volume_files.h"
#include "tests/support/random.h"
#include "tests/unit/damage_helpers.h"

using namespace umbra;
using namespace umbra::test;

namespace fs = std::filesystem;

namespace {

std::string describe(const std::vector<ScrubFinding>& findings) {
    std::string text;
    for (const auto& finding : findings) {
        text += finding.file;
        if (finding.offset) text += "@" + std::to_string(*finding.offset);
        text += ": " + finding.what + ": " +
                (finding.path             ? *finding.path
                 : finding.object.valid() ? "inode " + std::to_string(finding.object.inode)
                                          : "?");
        for (const auto& token : finding.tokens) text += " " + token;
        text += "\n";
    }
    return text;
}

bool names_file(const std::vector<ScrubFinding>& findings, const std::string& file) {
    return std::any_of(findings.begin(), findings.end(),
                       [&](const auto& finding) { return finding.file == file; });
}

std::string read_file(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const fs::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
}

// Is this byte of a log file one that means something? Only what pads a record does not.
bool counts(const fs::path& path, std::uint64_t place) {
    const auto name = parse_log_file_name(path.filename().string());
    const std::string bytes = read_file(path);
    for (std::uint64_t at = 0; at + kRecordHeaderSize <= bytes.size();) {
        auto header = decode_record_header(
            std::as_bytes(std::span(bytes)).subspan(at, kRecordHeaderSize), name->sequence, at);
        if (!header) return true;
        if (place < at + header->length)
            return place < at + kRecordHeaderSize + header->payload_length;
        at += header->length;
    }
    return true;
}

}  // namespace

TEST_SUITE("scrub") {
    TEST_CASE("a whole history has no damage, whatever was done to it") {
        TestVolume volume;
        CHECK(describe(volume.scrub()) == "");
        auto epochs = prepare(volume);
        CHECK(describe(volume.scrub()) == "");
        volume.remove("d/file3");
        volume.remove("d/file5");
        CHECK(describe(volume.scrub()) == "");
        must(volume->delete_snapshot(epochs[0]));
        CHECK(describe(volume.scrub()) == "");
        volume.reopen();
        CHECK(describe(volume.scrub()) == "");
        must(volume->delete_snapshot(epochs[1]));
        CHECK(describe(volume.scrub()) == "");
    }

    TEST_CASE("a bit that flips in preserved data: file, offset, path and snapshots are named") {
        TestVolume volume;
        std::string original = noise(10 * kBlockSize, 1);
        volume.make_directory("some");
        volume.put("some/file", original);
        auto first = volume.snapshot();
        auto second = volume.snapshot();
        volume.write("some/file", 0, noise(10 * kBlockSize, 2));
        volume.snapshot();
        volume.close();
        auto file = log_files(volume).at(0);
        auto place = find_in(file, original.substr(3 * kBlockSize, 100));
        flip(file, place + 5000, 3);
        volume.open();
        auto findings = volume.scrub();
        INFO(describe(findings));
        REQUIRE(findings.size() == 1);
        CHECK(findings[0].file == "log/" + file.filename().string());
        CHECK(findings[0].offset == place);
        CHECK(findings[0].path == "some/file");
        CHECK(findings[0].tokens == std::vector<std::string>{first.token, second.token});
        auto events = volume.take_events();
        CHECK(std::find(events.begin(), events.end(), "scrub-found-damage") != events.end());
        // What nobody needs any more is no damage.
        must(volume->delete_snapshot(first.epoch));
        must(volume->delete_snapshot(second.epoch));
        CHECK(describe(volume.scrub()) == "");
    }

    TEST_CASE("one flipped bit anywhere in any file of the log is named, and nothing is wrong") {
        const std::uint64_t seed = announce_seed("scrub: bits");
        std::mt19937_64 random(seed);
        TestVolume volume;
        auto epochs = prepare(volume);
        volume.remove("d/file3");
        auto first = volume.past_picture(epochs[0]), second = volume.past_picture(epochs[1]);
        volume.close();
        int felt = 0;
        const auto files = log_files(volume);
        REQUIRE(files.size() >= 2);
        for (int round = 0; round < with_soak(60); ++round) {
            const auto& file = files[static_cast<std::size_t>(round) % files.size()];
            const std::string whole = read_file(file);
            const bool header = random() % 2 == 0;
            std::uint64_t place = random() % whole.size();
            if (header) place = place / 64 * 64 + random() % 8;
            CAPTURE(file.filename().string());
            CAPTURE(place);
            const bool matters = counts(file, place);
            flip(file, place, static_cast<int>(random() % 8));
            volume.open();
            int damaged_first = 0, damaged_second = 0;
            CHECK(wrong_answers(first, volume->past(epochs[0]), &damaged_first) == "");
            CHECK(wrong_answers(second, volume->past(epochs[1]), &damaged_second) == "");
            auto findings = volume.scrub();
            INFO(describe(findings));
            for (const auto& finding : findings)
                CHECK(finding.file == "log/" + file.filename().string());
            if (matters) CHECK_FALSE(findings.empty());
            if (damaged_first + damaged_second > 0) {
                ++felt;
                CHECK(std::any_of(findings.begin(), findings.end(), [](const auto& finding) {
                    return finding.path && !finding.tokens.empty();
                }));
            }
            volume.close();
            write_file(file, whole);
        }
        CHECK(felt > 0);
        volume.open();
        CHECK(describe(volume.scrub()) == "");
    }

    TEST_CASE("a log file that was cut or is gone is named, and nothing is wrong") {
        const std::uint64_t seed = announce_seed("scrub: cuts");
        std::mt19937_64 random(seed);
        TestVolume volume;
        auto epochs = prepare(volume);
        auto first = volume.past_picture(epochs[0]), second = volume.past_picture(epochs[1]);
        volume.close();
        const auto files = log_files(volume);
        for (int round = 0; round < with_soak(20); ++round) {
            const auto& file = files[static_cast<std::size_t>(round) % files.size()];
            const std::string whole = read_file(file);
            const bool gone = round < static_cast<int>(files.size());
            if (gone)
                fs::remove(file);
            else
                fs::resize_file(file, random() % whole.size());
            CAPTURE(file.filename().string());
            CAPTURE(gone);
            volume.open();
            CHECK(wrong_answers(first, volume->past(epochs[0])) == "");
            CHECK(wrong_answers(second, volume->past(epochs[1])) == "");
            auto findings = volume.scrub();
            INFO(describe(findings));
            CHECK(names_file(findings, "log/" + file.filename().string()));
            volume.close();
            write_file(file, whole);
        }
        volume.open();
        CHECK(describe(volume.scrub()) == "");
    }

    TEST_CASE("the list of snapshots that is damaged while in use is named and written anew") {
        TestVolume volume;
        auto epochs = prepare(volume);
        auto expected = volume.past_picture(epochs[0]);
        fs::path catalog = volume.area() + "/log/" + kCatalogFileName;
        flip(catalog, 30, 2);
        auto findings = volume.scrub();
        INFO(describe(findings));
        CHECK(names_file(findings, "log/catalog.ulog"));
        CHECK(describe(volume.scrub()) == "");
        volume.reopen();
        CHECK(differences(expected, volume.past_picture(epochs[0])) == "");
        CHECK(volume->catalog().snapshots().size() == 2);
    }

    TEST_CASE(
        "a damaged area.toml is named while the volume is in use, and refused by the next open") {
        TestVolume volume;
        prepare(volume);
        fs::path settings = volume.area() + "/" + kAreaFileName;
        const std::string whole = read_file(settings);
        for (std::size_t place = 0; place < whole.size(); ++place) {
            CAPTURE(place);
            std::string flipped = whole;
            flipped[place] = static_cast<char>(flipped[place] ^ (1 << (place % 7)));
            write_file(settings, flipped);
            // In the words that introduce the checksum it harms nothing.
            if (place < whole.find("# checksum") || place > whole.find("# checksum") + 10)
                CHECK(names_file(volume.scrub(), kAreaFileName));
        }
        volume.close();
        const auto opened = volume.try_open();
        REQUIRE_FALSE(opened.has_value());
        CHECK(opened.error().kind == ErrorKind::kDiffArea);
        CHECK(opened.error().text().find(kAreaFileName) != std::string::npos);
        write_file(settings, whole);
        volume.open();
    }

    TEST_CASE("a removed file that is missing in limbo is named") {
        TestVolume volume;
        volume.put("file", noise(50'000, 1));
        auto snapshot = volume.snapshot();
        volume.remove("file");
        volume.close();
        for (const auto& epoch : fs::directory_iterator(volume.share() + "/.umbra/limbo"))
            fs::remove_all(epoch.path());
        volume.open();
        auto findings = volume.scrub();
        INFO(describe(findings));
        REQUIRE(findings.size() == 1);
        CHECK(findings[0].path == "file");
        CHECK(findings[0].tokens == std::vector<std::string>{snapshot.token});
    }

    TEST_CASE("an index that lost what the log has is named, and the next open makes it anew") {
        TestVolume volume;
        auto epochs = prepare(volume);
        auto first = volume.past_picture(epochs[0]);
        volume.close();
        // As of the first epoch, but told that the log is in it up to its end.
        {
            Index::Options options;
            options.path = volume.area() + "/" + kIndexDirectoryName;
            auto index = must(Index::open(options));
            IndexBatch batch;
            std::vector<IndexedItem> items;
            must(index->for_each_item("", [&](const IndexedItem& item) {
                items.push_back(item);
                return true;
            }));
            REQUIRE(items.size() > 4);
            for (const auto& item : items)
                if (item.kind == KeyKind::kAttributes)
                    batch.remove_attributes(item.object, item.epoch);
            must(index->write(batch));
            must(index->flush());
        }
        volume.open();
        CHECK(volume.take_events().empty());
        auto findings = volume.scrub();
        INFO(describe(findings));
        CHECK(names_file(findings, kIndexDirectoryName));
        volume.take_events();
        volume.reopen();
        CHECK(volume.take_events() == std::vector<std::string>{"index-rebuilt"});
        CHECK(differences(first, volume.past_picture(epochs[0])) == "");
        CHECK(describe(volume.scrub()) == "");
        volume.reopen();
        CHECK(volume.take_events().empty());
    }

    TEST_CASE("nothing is taken for damage while snapshots come and go") {
        TestVolume volume;
        prepare(volume);
        std::atomic<bool> stop{false};
        std::thread other([&] {
            for (int round = 0; !stop; ++round) {
                auto snapshot = volume->create_snapshot({});
                if (!snapshot) break;
                auto file = volume.live().lookup(volume.live().root(), "d");
                if (!file) break;
                volume.write("d/file5", 0, noise(40'000, static_cast<std::uint64_t>(round)));
                volume.put("born", noise(30'000, static_cast<std::uint64_t>(round)));
                volume.write("born", 0, noise(20'000, static_cast<std::uint64_t>(round + 1)));
                volume.remove("born");
                if (volume->catalog().snapshots().size() > 4)
                    must(volume->delete_snapshot(volume->catalog().oldest()));
            }
        });
        std::string found;
        for (int round = 0; round < with_soak(30); ++round) found += describe(volume.scrub());
        stop = true;
        other.join();
        CHECK(found == "");
    }

    TEST_CASE("what is no cursor is refused") {
        TestVolume volume;
        for (const std::string cursor :
             {"x", "log", "log 1", "log 1 2", "log a 2 3", "index 0 0 0", "index zz 0 0",
              "log 1 2 3 4", "log -1 0 0", "log 99999999999999999999 0 0", " ", "index  0 0 "}) {
            CAPTURE(cursor);
            CHECK(code_of(volume->scrub(cursor)) == EINVAL);
        }
        // Places that are not there are behind the end.
        CHECK(must(volume->scrub("log 77 123 0")).findings.empty());
        CHECK(must(volume->scrub("index ffff 0 0")).cursor.empty());
    }
}
