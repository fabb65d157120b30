#include <doctest/doctest.h>
#include <fcntl.h>
#include <unistd.h>

#include <filesystem>
#include <set>
#include <string>

#include "snapstore/unique_fd.h"
#include "snapstore/volume_config.h"
#include "tests/support/scratch.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace {

const std::string kUuid = "01234567-89ab-4cde-8f01-23456789abcd";

ErrorKind volume_error(const std::string& text) {
    auto parsed = parse_volume_config(text, "/share/.umbra/volume.toml");
    REQUIRE_MESSAGE(!parsed.has_value(), text);
    CHECK_MESSAGE(parsed.error().message.find("/share/.umbra/volume.toml") != std::string::npos,
                  parsed.error().message);
    return parsed.error().kind;
}
ErrorKind area_error(const std::string& text) {
    auto parsed = parse_area_config(text, "/area/area.toml");
    REQUIRE_MESSAGE(!parsed.has_value(), text);
    CHECK(parsed.error().message.find("/area/area.toml") != std::string::npos);
    return parsed.error().kind;
}

}  // namespace

TEST_SUITE("volume config") {
    TEST_CASE("both files are read back as written, odd paths too") {
        for (const char* path : {"", "/area", "/with space/and \"quotes\"", "/back\\slash",
                                 "/\xc3\xa4", "/new\nline"}) {
            auto volume =
                parse_volume_config(format_volume_config({kUuid, path, "say \"it\""}), "x");
            REQUIRE_MESSAGE(volume.has_value(), path << ": " << text_of(volume));
            CHECK(volume->uuid == kUuid);
            CHECK(volume->diff_area == path);
        }
        for (SizeLimit limit :
             {SizeLimit{SizeLimit::Kind::kBytes, 12345}, SizeLimit{SizeLimit::Kind::kPercent, 7},
              SizeLimit{SizeLimit::Kind::kUnbounded, 0}})
            for (OnFull policy : {OnFull::kEvict, OnFull::kThrottle, OnFull::kRefuse}) {
                auto area = parse_area_config(format_area_config({kUuid, limit, policy}), "x");
                REQUIRE(area.has_value());
                CHECK(area->uuid == kUuid);
                CHECK(area->max_size == limit);
                CHECK(area->on_full == policy);
            }
    }

    TEST_CASE("how snapshots are shown is read back as written; the usual is left out") {
        for (const bool everywhere : {false, true})
            for (const bool and_now : {false, true})
                for (const std::uint32_t most : {1U, 512U, 4'000'000'000U, kUnlimitedShareView}) {
                    const ViewSettings view{everywhere, and_now, most};
                    VolumeConfig config{kUuid, {}, {}, view};
                    const auto read = parse_volume_config(format_volume_config(config), "x");
                    REQUIRE(read.has_value());
                    CHECK(read->view == view);
                    AtomicViewSettings shared;
                    shared.store(view);
                    CHECK(shared.load() == view);
                }
        CHECK(AtomicViewSettings().load() == ViewSettings{});
        const std::string usual = format_volume_config({kUuid, {}, {}, {}});
        CHECK(usual.find("snap") == std::string::npos);
        CHECK(usual.find("share") == std::string::npos);
        for (const char* bad :
             {"snapdir = 'nowhere'", "snapdir = 1", "snapshot_access = ''", "share_view_max = 5",
              "share_view_max = '0'", "share_view_max = '99999999999'", "share_view_max = '5 '"})
            CHECK(volume_error(std::string(bad) + "\nformat = 1\nuuid = '" + kUuid + "'\n") ==
                  ErrorKind::kDiffArea);
    }

    TEST_CASE("a newer format is refused, and says what to do") {
        for (const char* format : {"2", "1000000", "9223372036854775807"}) {
            std::string text = std::string("format = ") + format + "\nuuid = '" + kUuid +
                               "'\nmax_size = '10%'\non_full = 'evict'\nfrom_the_future = true\n";
            CHECK(volume_error(text) == ErrorKind::kRefused);
            CHECK(area_error(text) == ErrorKind::kRefused);
            CHECK(parse_volume_config(text, "x").error().message.find(format) != std::string::npos);
            CHECK(parse_volume_config(text, "x").error().message.find("newer umbra") !=
                  std::string::npos);
        }
    }

    TEST_CASE("damaged and hostile contents are refused, never guessed") {
        const std::string good = "format = 1\nuuid = '" + kUuid + "'\n";
        for (const std::string& text :
             {std::string(),
              std::string("\0\0\0\0", 4),
              std::string("format"),
              std::string("format = \n"),
              std::string("format = 1\n"),
              "uuid = '" + kUuid + "'\n",
              "format = 0\nuuid = '" + kUuid + "'\n",
              "format = -1\nuuid = '" + kUuid + "'\n",
              "format = 1.0\nuuid = '" + kUuid + "'\n",
              "format = 1e99\nuuid = '" + kUuid + "'\n",
              "format = 'one'\nuuid = '" + kUuid + "'\n",
              std::string("format = 1\nuuid = ''\n"),
              std::string("format = 1\nuuid = 5\n"),
              std::string("format = 1\nuuid = '../../../../../../../../../../../x'\n"),
              "format = 1\nuuid = '" + kUuid + "0'\n",
              good + "format = 1\n",
              good + "diff_area = '",
              good + "diff_area = 'relative/path'\n",
              std::string("\xff\xfe") + good,
              std::string(100000, '['),
              good.substr(0, good.size() / 2)})
            CHECK(volume_error(text) == ErrorKind::kDiffArea);
        for (const std::string& rest :
             {std::string(), std::string("max_size = '10%'\n"), std::string("on_full = 'evict'\n"),
              std::string("max_size = '200%'\non_full = 'evict'\n"),
              std::string("max_size = 10\non_full = 'evict'\n"),
              std::string("max_size = '10%'\non_full = 'sometimes'\n"),
              std::string("max_size = '10%'\non_full = true\n")})
            CHECK(area_error(good + rest) == ErrorKind::kDiffArea);
    }

    TEST_CASE("a small file is replaced whole, and nothing else stays in the directory") {
        TempDir directory;
        UniqueFd fd(::open(directory.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        CHECK(code_of(read_small_file(fd.get(), "file")) == ENOENT);
        REQUIRE(write_small_file(fd.get(), "file", "first").has_value());
        CHECK(read_small_file(fd.get(), "file").value() == "first");
        std::string large(1 << 20, 'x');
        REQUIRE(write_small_file(fd.get(), "file", large).has_value());
        CHECK(read_small_file(fd.get(), "file").value() == large);
        REQUIRE(write_small_file(fd.get(), "file", large + "y").has_value());
        CHECK(code_of(read_small_file(fd.get(), "file")) == EFBIG);
        REQUIRE(::symlink("file", (directory.path() / "link").c_str()) == 0);
        CHECK(code_of(read_small_file(fd.get(), "link")) == ELOOP);
        int entries = 0;
        for (const auto& entry : std::filesystem::directory_iterator(directory.path())) {
            static_cast<void>(entry);
            ++entries;
        }
        CHECK(entries == 2);
    }

    TEST_CASE("a UUID is of version 4 and never comes twice") {
        std::set<std::string> seen;
        for (int i = 0; i < 1000; ++i) {
            std::string uuid = new_uuid();
            CHECK(uuid.size() == 36);
            CHECK(uuid[14] == '4');
            CHECK(std::string("89ab").find(uuid[19]) != std::string::npos);
            CHECK(parse_volume_config(format_volume_config({uuid, "", ""}), "x").has_value());
            seen.insert(uuid);
        }
        CHECK(seen.size() == 1000);
    }
}
