// Making a folder a share, and opening it: good and bad input.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "snapstore/token.h"
#include "snapstore/volume_files.h"
#include "tests/support/process.h"
#include "tests/support/ram_image.h"
#include "tests/support/skip.h"
#include "tests/unit/random_workload.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace fs = std::filesystem;

namespace {

// Everything below a folder, Umbra's own files too, with times: to show that nothing was changed.
std::string everything(const fs::path& folder) {
    std::string text;
    auto add = [&](const fs::path& path) {
        struct stat status {};
        REQUIRE(::lstat(path.c_str(), &status) == 0);
        text += path.string() + " " + std::to_string(status.st_mode) + " " +
                std::to_string(status.st_size) + " " + std::to_string(status.st_mtim.tv_sec) + "." +
                std::to_string(status.st_mtim.tv_nsec) + "\n";
    };
    add(folder);
    for (const auto& entry : fs::recursive_directory_iterator(folder)) add(entry.path());
    return text;
}

CreateOptions share_at(const fs::path& folder) {
    CreateOptions options;
    options.share = folder;
    return options;
}

Result<std::unique_ptr<Volume>> open_share(const fs::path& folder, bool read_only = false) {
    return Volume::open({folder, read_only, 16 << 20}, [](const Event&) {});
}

// The creation is refused this way, and leaves no trace in `watched`.
void check_refused(const CreateOptions& options, ErrorKind kind, const fs::path& watched,
                   const std::string& named) {
    std::string before = everything(watched);
    auto created = Volume::create(options);
    REQUIRE_FALSE(created.has_value());
    CHECK_MESSAGE(created.error().kind == kind, created.error().text());
    CHECK_MESSAGE(created.error().text().find(named) != std::string::npos, created.error().text());
    CHECK(everything(watched) == before);
}

}  // namespace

TEST_SUITE("volume") {
    TEST_CASE(
        "a new share says what it is, before and after opening, and its folder looks as before") {
        TempDir directory;
        fs::path share = directory.path() / "share";
        fs::create_directory(share);
        std::ofstream(share / "file") << "contents";
        auto picture = picture_of_directory(share);
        CHECK_FALSE(Volume::is_share(share));
        auto options = share_at(share);
        options.on_full = OnFull::kRefuse;
        options.max_size = {SizeLimit::Kind::kPercent, 30};
        auto identity = must(Volume::create(options));
        CHECK(Volume::is_share(share));
        CHECK(identity.uuid.size() == 36);
        CHECK(identity.share == share);
        CHECK(identity.diff_area == share / ".umbra" / "diff");
        struct stat status {};
        REQUIRE(::stat((share / ".umbra").c_str(), &status) == 0);
        CHECK((status.st_mode & 07777) == 0700);
        Exactness exactness;
        exactness.inodes = false;  // the folder's own ctime
        exactness.directory_size = false;
        CHECK(differences(picture, picture_of_directory(share), exactness) == "");

        auto volume = must(open_share(share));
        CHECK(volume->identity().uuid == identity.uuid);
        CHECK(volume->identity().diff_area == identity.diff_area);
        CHECK(volume->identity().on_full == OnFull::kRefuse);
        CHECK(volume->identity().max_size == options.max_size);
        CHECK_FALSE(volume->read_only());
        CHECK(volume->catalog().snapshots().empty());
    }

    TEST_CASE("a diff area elsewhere is made where it is missing, and taken where it is empty") {
        for (const char* kind : {"missing", "empty", "lost+found"}) {
            TempDir directory;
            fs::create_directory(directory.path() / "share");
            if (kind != std::string("missing")) fs::create_directory(directory.path() / "area");
            if (kind == std::string("lost+found"))
                fs::create_directory(directory.path() / "area" / "lost+found");
            auto options = share_at(directory.path() / "share");
            options.diff_area = directory.path() / "area";
            auto identity = must(Volume::create(options));
            CHECK(identity.diff_area == directory.path() / "area");
            CHECK(fs::exists(directory.path() / "area" / kAreaFileName));
            CHECK_FALSE(fs::exists(directory.path() / "share" / ".umbra" / "diff"));
            auto volume = must(open_share(directory.path() / "share"));
            CHECK(volume->create_snapshot({}).has_value());
        }
    }

    TEST_CASE("what cannot become a share is refused with the reason and left as it was") {
        TempDir directory;
        const fs::path& base = directory.path();
        check_refused(share_at(base / "missing"), ErrorKind::kNotFound, base, "missing");
        std::ofstream(base / "file") << "x";
        check_refused(share_at(base / "file"), ErrorKind::kUsage, base, "file");
        check_refused(share_at(base / "file" / "below"), ErrorKind::kSystem, base, "below");
        fs::create_directories(base / "snapshots" / ".snapshots");
        check_refused(share_at(base / "snapshots"), ErrorKind::kRefused, base, ".snapshots");
        fs::create_directory(base / "twice");
        must(Volume::create(share_at(base / "twice")));
        check_refused(share_at(base / "twice"), ErrorKind::kRefused, base, "share already");
        fs::create_directories(base / "half" / ".umbra");
        check_refused(share_at(base / "half"), ErrorKind::kRefused, base, ".umbra");
    }

    TEST_CASE("a diff area that cannot be one is refused, and neither it nor the folder changes") {
        TempDir directory;
        fs::path base = directory.path(), share = base / "share";
        fs::create_directory(share);
        fs::create_directory(share / "inside");
        fs::create_directory(base / "used");
        std::ofstream(base / "used" / "file") << "x";
        std::ofstream(base / "file") << "x";
        fs::create_directory_symlink(share / "inside", base / "link to inside");
        auto refused = [&](const fs::path& area, ErrorKind kind, const std::string& named) {
            auto options = share_at(share);
            options.diff_area = area;
            INFO(area.string());
            check_refused(options, kind, base, named);
            CHECK_FALSE(Volume::is_share(share));
        };
        refused(base / "used", ErrorKind::kRefused, "not empty");
        refused(base / "file", ErrorKind::kDiffArea, "file");
        refused(base / "missing" / "parent", ErrorKind::kDiffArea, "parent");
        refused(share / "inside", ErrorKind::kUsage, "inside the share");
        refused(share / "made", ErrorKind::kUsage, "inside the share");
        refused(share, ErrorKind::kUsage, "inside the share");
        refused(base / "link to inside", ErrorKind::kUsage, "inside the share");
        // The area of another volume is not empty.
        fs::create_directory(base / "other");
        auto options = share_at(base / "other");
        options.diff_area = base / "area";
        must(Volume::create(options));
        refused(base / "area", ErrorKind::kRefused, "not empty");
    }

    TEST_CASE("a read-only or full filesystem is refused") {
        UMBRA_SKIP_IF(missing_for_image(FilesystemType::Ext4));
        RamImage image(FilesystemType::Ext4, 32);
        TempDir directory;
        fs::create_directory(directory.path() / "share");
        fs::create_directory(image.path() / "area");
        fs::create_directory(image.path() / "share");
        auto elsewhere = share_at(directory.path() / "share");
        elsewhere.diff_area = image.path() / "area";
        image.set_read_only(true);
        check_refused(elsewhere, ErrorKind::kDiffArea, image.path(), "read-only");
        check_refused(share_at(image.path() / "share"), ErrorKind::kDiffArea, image.path(),
                      "read-only");
        image.set_read_only(false);
        {
            UniqueFd filler(
                ::open((image.path() / "filler").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
            std::string data = noise(1 << 20, 1);
            while (::write(filler.get(), data.data(), data.size()) > 0) continue;
        }
        check_refused(elsewhere, ErrorKind::kDiffArea, image.path(), "full");
        check_refused(share_at(image.path() / "share"), ErrorKind::kDiffArea, image.path(), "full");
        CHECK_FALSE(fs::exists(directory.path() / "share" / ".umbra"));
    }

    TEST_CASE("a filesystem whose file handles are of no use is refused") {
        auto options = share_at("/proc/self/task");
        auto created = Volume::create(options);
        REQUIRE_FALSE(created.has_value());
        CHECK(created.error().text().find("/task") != std::string::npos);
    }

    TEST_CASE("what is no share cannot be opened") {
        TempDir directory;
        CHECK(open_share(directory.path() / "missing").error().kind == ErrorKind::kNotFound);
        auto plain = open_share(directory.path());
        CHECK(plain.error().kind == ErrorKind::kNotFound);
        CHECK(plain.error().message.find("umbra init") != std::string::npos);
        CHECK(everything(directory.path()).find(".umbra") == std::string::npos);
    }

    TEST_CASE("a second opening is refused and names who has it, in this process and in another") {
        TestVolume volume;
        auto again = open_share(volume.share());
        REQUIRE_FALSE(again.has_value());
        CHECK(again.error().kind == ErrorKind::kRefused);
        CHECK(again.error().message.find(std::to_string(getpid())) != std::string::npos);
        TempDir twin("twin"), pictures("pictures");
        auto other = run({"/proc/self/exe", kUncleanChildArgument, volume.share(), twin.path(),
                          pictures.path(), "1", "5"});
        CHECK(other.exit_code == 1);
        CHECK_MESSAGE(other.err.find(std::to_string(getpid())) != std::string::npos, other.err);
        volume.close();
        CHECK(open_share(volume.share()).has_value());
    }

    TEST_CASE("newer formats are refused, and nothing is changed by trying") {
        for (bool area : {false, true}) {
            TestVolume volume;
            volume.snapshot();
            volume.close();
            fs::path file = area ? fs::path(volume.area()) / kAreaFileName
                                 : fs::path(volume.share()) / ".umbra" / kVolumeFileName;
            std::ifstream in(file);
            std::string text((std::istreambuf_iterator<char>(in)), {});
            auto at = text.find("format = 1");
            REQUIRE(at != std::string::npos);
            std::ofstream(file) << text.replace(at, 10, "format = 2");
            auto opened = volume.try_open();
            REQUIRE_FALSE(opened.has_value());
            CHECK(opened.error().kind == ErrorKind::kRefused);
            CHECK(opened.error().message.find("newer umbra") != std::string::npos);
            std::ofstream(file) << text.replace(at, 10, "format = 1");
            volume.open();
            CHECK(volume->catalog().snapshots().size() == 1);
        }
    }

    TEST_CASE("the diff area of another volume is refused with both names, and is not touched") {
        TestVolume::Options options;
        options.outside_area = true;
        TestVolume first(options), second(options);
        first.snapshot();
        second.snapshot();
        std::string uuid = first->identity().uuid, other = second->identity().uuid;
        first.close();
        second.close();
        fs::rename(first.area(), first.area() + ".own");
        fs::rename(second.area(), first.area());
        std::string before = everything(first.area());
        auto opened = first.try_open();
        REQUIRE_FALSE(opened.has_value());
        CHECK(opened.error().kind == ErrorKind::kDiffArea);
        CHECK(opened.error().message.find(uuid) != std::string::npos);
        CHECK(opened.error().message.find(other) != std::string::npos);
        CHECK(everything(first.area()) == before);
        CHECK(first.try_open(true).has_value() ==
              false);  // not read-only either: it is there, but wrong
        fs::rename(first.area(), second.area());
        fs::rename(first.area() + ".own", first.area());
        first.open();
        CHECK(first->catalog().snapshots().size() == 1);
    }

    TEST_CASE("an older copy of the diff area is refused with both sequence numbers") {
        TestVolume::Options options;
        options.outside_area = true;
        TestVolume volume(options);
        volume.put("file", "x");
        volume.snapshot();
        volume.close();
        must_run({"cp", "-a", volume.area(), volume.area() + ".old"});
        volume.open();
        volume.snapshot();
        auto newer = volume->catalog().sequence();
        volume.close();
        fs::rename(volume.area(), volume.area() + ".current");
        fs::rename(volume.area() + ".old", volume.area());
        auto opened = volume.try_open();
        REQUIRE_FALSE(opened.has_value());
        CHECK(opened.error().kind == ErrorKind::kDiffArea);
        CHECK(opened.error().message.find(std::to_string(newer)) != std::string::npos);
        CHECK(opened.error().message.find(std::to_string(newer - 1)) != std::string::npos);
        fs::rename(volume.area(), volume.area() + ".old");
        fs::rename(volume.area() + ".current", volume.area());
        volume.open();
        CHECK(volume->catalog().snapshots().size() == 2);
    }

    TEST_CASE(
        "without its diff area a share opens only read-only, shows the live tree, and loses "
        "nothing") {
        TestVolume::Options options;
        options.outside_area = true;
        TestVolume volume(options);
        volume.put("file", noise(50'000, 1));
        auto snapshot = volume.snapshot();
        volume.write("file", 0, noise(50'000, 2));
        volume.close();
        fs::rename(volume.area(), volume.area() + ".away");
        for (const char* way : {"missing", "empty"}) {
            if (way == std::string("empty")) fs::create_directory(volume.area());
            auto opened = volume.try_open();
            REQUIRE_FALSE(opened.has_value());
            CHECK(opened.error().kind == ErrorKind::kDiffArea);
            CHECK(opened.error().code == ENOENT);
            CHECK(opened.error().message.find(volume.area()) != std::string::npos);
            volume.take_events();
            volume.open(true);
            CHECK(volume.take_events() == std::vector<std::string>{"diff-area-missing"});
            CHECK(volume->read_only());
            CHECK(volume->catalog().snapshots().empty());
            CHECK(must(volume.live().status(volume.id("file"))).st_size == 50'000);
            auto file = must(volume.live().open(volume.id("file"), O_RDONLY, Caller{}));
            CHECK(code_of(volume.write_to(file, 0, "x")) == EROFS);
            CHECK(code_of(volume.live().open(volume.id("file"), O_RDWR, Caller{})) == EROFS);
            CHECK(code_of(volume.live().unlink(volume.id(""), "file")) == EROFS);
            CHECK(volume->create_snapshot({}).error().code == EROFS);
            CHECK(volume->delete_snapshot(snapshot.epoch).error().code == EROFS);
            CHECK(volume->find_snapshot(snapshot.token).error().kind == ErrorKind::kNotFound);
            CHECK(volume->history().versions("file").value().empty());
            CHECK(volume->history().difference(snapshot.epoch, std::nullopt).error().kind ==
                  ErrorKind::kNotFound);
            CHECK(volume->exclusive_bytes(snapshot.epoch).error().kind == ErrorKind::kNotFound);
            CHECK(code_of(volume->past(snapshot.epoch).lookup(volume.id(""), "file")) == ESTALE);
            CHECK(volume->space_use().has_value());
            volume.close();
            if (way == std::string("empty")) {
                CHECK(fs::is_empty(volume.area()));
                fs::remove(volume.area());
            }
        }
        fs::rename(volume.area() + ".away", volume.area());
        volume.open();
        CHECK(volume.past_content(snapshot.epoch, "file") == noise(50'000, 1));
    }

    TEST_CASE("opened read-only with its diff area, snapshots can be read and nothing changes") {
        TestVolume volume;
        volume.put("file", noise(50'000, 1));
        auto snapshot = volume.snapshot();
        volume.write("file", 0, noise(50'000, 2));
        volume.remove("file");
        auto live = volume.live_picture();
        volume.close();
        volume.open(true);
        CHECK(volume.past_content(snapshot.epoch, "file") == noise(50'000, 1));
        CHECK(code_of(volume.live().make_directory(volume.id(""), "d", 0755, Caller{})) == EROFS);
        CHECK(code_of(volume->create_snapshot({})) == EROFS);
        CHECK(code_of(volume->delete_snapshot(snapshot.epoch)) == EROFS);
        CHECK(code_of(volume->hold(snapshot.epoch, {"x", std::nullopt})) == EROFS);
        CHECK(differences(live, volume.live_picture()) == "");
        volume.close();
        volume.open();
        CHECK(volume.take_events().empty());
        CHECK(volume.past_content(snapshot.epoch, "file") == noise(50'000, 1));
    }

    TEST_CASE("snapshots are found by token and label; both are unique") {
        TestVolume volume;
        auto first = volume.snapshot("first");
        auto second = volume.snapshot();
        CHECK(second.token > first.token);
        CHECK(parse_token(first.token).has_value());
        CHECK(must(volume->find_snapshot("first")).epoch == first.epoch);
        CHECK(must(volume->find_snapshot(second.token)).epoch == second.epoch);
        for (const char* missing : {"", "second", "@GMT-2000.01.01-00.00.00"}) {
            auto found = volume->find_snapshot(missing);
            CHECK(found.error().kind == ErrorKind::kNotFound);
            CHECK(found.error().message.find(std::string("'") + missing + "'") !=
                  std::string::npos);
        }
        Volume::SnapshotOptions options;
        options.label = "first";
        CHECK(volume->create_snapshot(options).error().kind == ErrorKind::kRefused);
        for (const std::string& label :
             {std::string("a/b"), std::string(300, 'x'), std::string("..")}) {
            options.label = label;
            CHECK(volume->create_snapshot(options).error().kind == ErrorKind::kUsage);
        }
        options.label = second.token;
        CHECK(volume->create_snapshot(options).error().kind == ErrorKind::kUsage);
        CHECK(volume->catalog().snapshots().size() == 2);
        must(volume->delete_snapshot(first.epoch));
        CHECK(volume.snapshot("first").epoch == 3);  // the label is free again, the epoch is not
        CHECK(volume->delete_snapshot(99).error().kind == ErrorKind::kNotFound);
    }

    TEST_CASE("hooks are called: flush before the cut, and for each snapshot that comes or goes") {
        TestVolume volume;
        volume.put("file", "before");
        std::vector<std::string> calls;
        volume->set_flush_hook([&] {
            // What the flush hands over is in the snapshot.
            volume.write("file", 0, "flushed");
            calls.push_back("flush");
        });
        volume->set_snapshot_hook([&](const Snapshot& snapshot, bool created) {
            calls.push_back((created ? "created " : "deleted ") + std::to_string(snapshot.epoch));
        });
        auto snapshot = volume.snapshot();
        volume.write("file", 0, "changed");
        CHECK(volume.past_content(snapshot.epoch, "file") == "flushed");
        must(volume->delete_snapshot(snapshot.epoch));
        CHECK(calls == std::vector<std::string>{"flush", "created 1", "deleted 1"});
    }

    TEST_CASE("a write that returned before the snapshot began is in it, though never synced") {
        TestVolume volume;
        auto created = must(volume.live().create(volume.id(""), "file", 0644, O_RDWR, Caller{}));
        for (int i = 0; i < 50; ++i) {
            must(volume.write_to(created.file, 0, "write " + std::to_string(i)));
            auto snapshot = volume.snapshot();
            CHECK(volume.past_content(snapshot.epoch, "file")
                      .starts_with("write " + std::to_string(i)));
            if (i % 10 == 9) must(volume->delete_snapshot(snapshot.epoch - 5));
        }
    }
}
