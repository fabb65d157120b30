// umbra restore: what comes back, where to, and for whom.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/mount/cli_ground.h"
#include "tests/support/skip.h"
#include "tests/support/tree.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {

TEST_SUITE("commands") {
    TEST_CASE("restore in place brings back what the snapshot has, and leaves the rest") {
        UMBRA_NEEDS_MOUNTS();
        CliGround ground;
        UmbraMount mount(ground.share);
        const Tree before = capture(ground.share);
        const std::string token = mount.create_snapshot("good");
        bool mounted = true;
        SUBCASE("mounted") { mounted = true; }
        SUBCASE("not mounted") { mounted = false; }
        ground.change();
        if (!mounted) mount.unmount();
        const std::string docs = (ground.share / "docs").string();
        const std::string plan = must_umbra(
            {"restore", docs, (ground.share / "same").string(), "--from", "good", "--dry-run"});
        CHECK(plan.find("create    " + docs + "/gone\n") != std::string::npos);
        CHECK(plan.find("create    " + docs + "/moved\n") != std::string::npos);
        CHECK(plan.find("replace   " + docs + "/report\n") != std::string::npos);
        CHECK(plan.find("metadata  " + ground.name + "/same\n") != std::string::npos);
        CHECK(contents_of(ground.share / "docs" / "report") == "second, longer version");
        CHECK(must_umbra({"restore", docs, (ground.share / "same").string(), "--from", token}) ==
              "");
        CHECK(contents_of(ground.share / "docs" / "added") == "new");
        CHECK(contents_of(ground.share / "docs" / "renamed") == "to be renamed");
        // Behind Umbra's back nothing may be deleted.
        if (!mounted) mount.mount();
        fs::remove(ground.share / "docs" / "added");
        fs::remove(ground.share / "docs" / "renamed");
        if (!mounted) mount.unmount();
        CHECK(must_umbra({"restore", ground.name, "--from", token}) == "");
        if (!mounted) mount.mount();
        CompareOptions compare;
        compare.ctime = false;
        CHECK(differences(before, capture(ground.share), compare) == kNoDifferences);
        CHECK(differences(before, capture(mount.snapshot_path(token)), compare) == kNoDifferences);
    }

    TEST_CASE("restore to another folder, and into the share") {
        UMBRA_NEEDS_MOUNTS();
        CliGround ground;
        UmbraMount mount(ground.share);
        const std::string token = mount.create_snapshot();
        ground.change();
        const std::string docs = (ground.share / "docs").string();
        int round = 0;
        mounted_and_not(mount, [&] {
            const fs::path out = ground.root / ("out" + std::to_string(++round)) / "deep";
            CHECK(must_umbra({"restore", docs, "--from", token, "--to", out.string(), "--dry-run"})
                      .find("create") != std::string::npos);
            CHECK_FALSE(fs::exists(out));
            CHECK(must_umbra({"restore", docs, "--from", token, "--to", out.string()}) == "");
            CHECK(contents_of(out / "docs" / "gone") == "to be deleted");
            CHECK(contents_of(out / "docs" / "report") == "first version");
            const json again = json_of({"restore", docs, "--from", token, "--to", out.string()});
            CHECK(again.size() == 4);
            for (const auto& object : again) CHECK(object.at("action") == "unchanged");
            const fs::path inside = ground.share / ("inside" + std::to_string(round));
            CHECK(must_umbra({"restore", docs + "/report", "--from", token, "--to",
                              inside.string()}) == "");
            CHECK(contents_of(inside / "report") == "first version");
        });
        // What was restored into the unmounted share went through Umbra: the snapshot does not have
        // it.
        CHECK_FALSE(fs::exists(mount.snapshot_path(token) / "inside2"));
        CHECK(must_umbra({"snapshot", "diff", ground.name, token}).find("+ inside2") !=
              std::string::npos);
    }

    TEST_CASE("a restore that cannot do everything does the rest and exits with 6") {
        UMBRA_NEEDS_MOUNTS();
        CliGround ground;
        UmbraMount mount(ground.share);
        const std::string token = mount.create_snapshot();
        fs::remove(ground.share / "docs" / "gone");
        fs::remove(ground.share / "docs" / "report");
        fs::create_directory(ground.share / "docs" / "report");
        const ProcessResult result =
            umbra({"restore", (ground.share / "docs").string(), "--from", token});
        CHECK(result.exit_code == 6);
        CHECK(result.err.find("docs/report") != std::string::npos);
        CHECK(result.out == "");
        CHECK(contents_of(ground.share / "docs" / "gone") == "to be deleted");
        CHECK(fs::is_directory(ground.share / "docs" / "report"));
    }

    TEST_CASE("people restore what they may read and write, and see only their own versions") {
        UMBRA_NEEDS_MOUNTS();
        CliGround ground;
        REQUIRE(::chown(ground.share.c_str(), kOwner, kOwner) == 0);
        fs::create_directory(ground.share / "private");
        write_file(ground.share / "private" / "diary", "secret");
        write_file(ground.share / "shared", "before");
        for (const char* name : {"private", "private/diary", "shared"}) {
            REQUIRE(::chown((ground.share / name).c_str(), kOwner, kOwner) == 0);
        }
        fs::permissions(ground.share / "private", fs::perms::owner_all);
        const UmbraMount mount(ground.share);
        const std::string token = trim_end(
            must_umbra({"snapshot", "create", ground.name, "--label", "mine"}, as(kOwner)));
        write_file(ground.share / "shared", "after");
        fs::remove(ground.share / "private" / "diary");

        CHECK(json_of({"snapshot", "list", ground.name}, as(kStranger)).size() == 1);
        CHECK(json_of({"versions", (ground.share / "shared").string()}, as(kStranger)).size() == 1);
        const ProcessResult hidden =
            umbra({"versions", (ground.share / "private" / "diary").string()}, as(kStranger));
        CHECK(hidden.exit_code != 0);
        CHECK(hidden.out == "");
        CHECK(json_of({"versions", (ground.share / "private" / "diary").string()}, as(kOwner))
                  .size() == 1);

        must_umbra({"restore", (ground.share / "shared").string(),
                    (ground.share / "private" / "diary").string(), "--from", token},
                   as(kOwner));
        CHECK(contents_of(ground.share / "shared") == "before");
        CHECK(contents_of(ground.share / "private" / "diary") == "secret");
        struct stat status {};
        REQUIRE(::stat((ground.share / "shared").c_str(), &status) == 0);
        CHECK(status.st_uid == kOwner);
        must_umbra({"snapshot", "delete", ground.name, "mine"}, as(kOwner));
    }
}

}  // namespace umbra::test
