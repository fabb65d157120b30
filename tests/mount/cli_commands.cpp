// What the commands do and print, on a mounted share and on one that is not.
#include <doctest/doctest.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "tests/mount/cli_ground.h"
#include "tests/support/process.h"
#include "tests/support/skip.h"
#include "tests/support/tree.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {

TEST_SUITE("commands") {
    TEST_CASE("help and version are printed on stdout, and each help lists its exit statuses") {
        UMBRA_NEEDS_MOUNTS();
        for (const Arguments& command : std::vector<Arguments>{{},
                                                               {"init"},
                                                               {"mount"},
                                                               {"umount"},
                                                               {"status"},
                                                               {"snapshot", "create"},
                                                               {"snapshot", "list"},
                                                               {"snapshot", "delete"},
                                                               {"snapshot", "hold"},
                                                               {"snapshot", "release"},
                                                               {"snapshot", "diff"},
                                                               {"snap", "list"},
                                                               {"versions"},
                                                               {"restore"},
                                                               {"storage", "show"},
                                                               {"events"},
                                                               {"set"}}) {
            Arguments arguments = command;
            arguments.push_back("--help");
            CAPTURE(join_command(arguments));
            const ProcessResult result = umbra(arguments);
            CHECK(result.exit_code == 0);
            CHECK(result.err == "");
            CHECK(result.out.find("Exit status: 0 done") != std::string::npos);
        }
        CHECK(must_umbra({"--version"}).starts_with("umbra "));
    }

    TEST_CASE("a result that cannot be written is a failure") {
        UMBRA_NEEDS_MOUNTS();
        CHECK(run({"sh", "-c", umbra_binary() + " --help > /dev/full"}).exit_code == 1);
    }

    TEST_CASE("snapshots: create, list, hold, release, delete") {
        UMBRA_NEEDS_MOUNTS();
        CliGround ground;
        UmbraMount mount(ground.share);
        int round = 0;
        mounted_and_not(mount, [&] {
            const std::string label = "label " + std::to_string(++round);
            const std::string token = must_umbra(
                {"snapshot", "create", ground.name, "--label", label, "--hold", "audit"});
            CHECK(std::regex_match(
                token,
                std::regex(
                    "@GMT-[0-9]{4}\\.[0-9]{2}\\.[0-9]{2}-[0-9]{2}\\.[0-9]{2}\\.[0-9]{2}\n")));
            const std::string second =
                trim_end(must_umbra({"snap", "create", (ground.share / "docs").string()}));
            CHECK(second != trim_end(token));

            const json list = json_of({"snapshot", "list", ground.name});
            REQUIRE(list.is_array());
            REQUIRE(list.size() == 2);
            CHECK(list[0].at("token") == trim_end(token));
            CHECK(list[0].at("label") == label);
            CHECK(list[0].at("holds").at(0).at("reason") == "audit");
            CHECK(list[0].at("holds").at(0).at("expires").is_null());
            CHECK(std::regex_match(
                list[0].at("created").get<std::string>(),
                std::regex("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")));
            CHECK(list[1].at("token") == second);
            CHECK(list[1].at("label").is_null());
            CHECK(list[1].at("epoch").get<int>() > list[0].at("epoch").get<int>());
            const std::string table = must_umbra({"snapshot", "list", ground.name});
            CHECK(table.starts_with("TOKEN"));
            CHECK(table.find(label) != std::string::npos);
            CHECK(table.find("audit") != std::string::npos);

            CHECK(must_umbra({"snapshot", "hold", ground.name, second, "--reason", "until", "--for",
                              "2w"}) == "");
            CHECK(json_of({"snapshot", "list", ground.name})[1]
                      .at("holds")
                      .at(0)
                      .at("expires")
                      .is_string());
            CHECK(umbra({"snapshot", "delete", ground.name, second}).exit_code == 4);
            CHECK(must_umbra({"snapshot", "release", ground.name, second}) == "");
            CHECK(umbra({"snapshot", "delete", ground.name, "--all"}).exit_code == 4);
            REQUIRE(json_of({"snapshot", "list", ground.name}).size() == 1);
            CHECK(must_umbra({"snapshot", "release", ground.name, label, "--reason", "audit"}) ==
                  "");
            CHECK(must_umbra({"snapshot", "delete", ground.name, "--oldest"}) == "");
            CHECK(json_of({"snapshot", "list", ground.name}).empty());
            CHECK(must_umbra({"snapshot", "list", ground.name}) == "");
        });
    }

    TEST_CASE("deletion guard: what is held stays, and every command says why and until when") {
        UMBRA_NEEDS_MOUNTS();
        CliGround ground;
        UmbraMount mount(ground.share);
        mounted_and_not(mount, [&] {
            const std::string first =
                trim_end(must_umbra({"snapshot", "create", ground.name, "--hold", "audit",
                                     "--until", "2199-12-31T23:00Z"}));
            const std::string second = trim_end(must_umbra({"snapshot", "create", ground.name}));
            const std::string third = trim_end(must_umbra({"snapshot", "create", ground.name}));
            CHECK(must_umbra({"snapshot", "hold", ground.name, third, "--reason", "law"}) == "");
            CHECK(json_of({"snapshot", "list", ground.name})[0].at("holds").at(0).at("expires") ==
                  "2199-12-31T23:00:00Z");
            // Shorter is refused, longer is not.
            const auto shorter = umbra({"snapshot", "hold", ground.name, first, "--reason", "audit",
                                        "--until", "2199-12-31T21:00-01:00"});
            CHECK(shorter.exit_code == 4);
            CHECK(shorter.err.find("shorter") != std::string::npos);
            CHECK(must_umbra({"snapshot", "hold", ground.name, first, "--reason", "audit",
                              "--until", "2200-01-01T01:00:00+01:00"}) == "");
            CHECK(json_of({"snapshot", "list", ground.name})[0].at("holds").at(0).at("expires") ==
                  "2200-01-01T00:00:00Z");

            const auto named = umbra({"snapshot", "delete", ground.name, first, third});
            CHECK(named.exit_code == 4);
            const auto all = umbra({"snapshot", "delete", ground.name, "--all"});
            CHECK(all.exit_code == 4);
            CHECK(all.out == "");
            CHECK(all.err.find("snapshot " + first) != std::string::npos);
            CHECK(all.err.find("'audit' until 2200-01-01 00:00:00 UTC") != std::string::npos);
            CHECK(all.err.find("snapshot " + third) != std::string::npos);
            CHECK(all.err.find("'law' until it is released") != std::string::npos);
            CHECK(all.err.find(second) == std::string::npos);
            const json left = json_of({"snapshot", "list", ground.name});
            REQUIRE(left.size() == 2);
            CHECK(left[0].at("token") == first);
            CHECK(left[1].at("token") == third);
            if (mount.mounted()) {
                CHECK(::rmdir(mount.snapshot_path(first).c_str()) == -1);
                CHECK(errno == EBUSY);
                CHECK(fs::exists(mount.snapshot_path(first)));
            }
            CHECK(must_umbra({"snapshot", "release", ground.name, first}) == "");
            CHECK(must_umbra({"snapshot", "release", ground.name, third}) == "");
            CHECK(must_umbra({"snapshot", "delete", ground.name, "--all"}) == "");
        });
    }

    TEST_CASE("storage scrub and rebuild-index, mounted and not") {
        UMBRA_NEEDS_MOUNTS();
        CliGround ground;
        UmbraMount mount(ground.share);
        const std::string token = mount.create_snapshot();
        ground.change();
        const Tree then = capture(mount.snapshot_path(token));
        mounted_and_not(mount, [&] {
            CHECK(must_umbra({"storage", "scrub", ground.name}).ends_with(", no damage\n"));
            const json whole = json_of({"storage", "scrub", ground.name});
            CHECK(whole.at("bytes").get<std::uint64_t>() > 0);
            CHECK(whole.at("findings").empty());
            const auto rebuilt = umbra({"storage", "rebuild-index", ground.name});
            CHECK(rebuilt.exit_code == (mount.mounted() ? 4 : 0));
            if (mount.mounted()) CHECK(rebuilt.err.find("unmount it first") != std::string::npos);
            if (!mount.mounted()) CHECK(rebuilt.err == "");
        });
        CHECK(compare(then, capture(mount.snapshot_path(token))).empty());
        mount.unmount();
        fs::path damaged;
        for (const auto& entry : fs::directory_iterator(ground.share / ".umbra" / "diff" / "log")) {
            const std::string bytes = contents_of(entry.path());
            const std::size_t place = bytes.find("first version");
            if (place == std::string::npos) continue;
            std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
            file.seekp(static_cast<std::streamoff>(place));
            file.put('F');
            damaged = entry.path();
        }
        REQUIRE(!damaged.empty());
        mount.mount();
        mounted_and_not(mount, [&] {
            const auto text = umbra({"storage", "scrub", ground.name});
            CHECK(text.exit_code == 5);
            CHECK(text.out.find("/docs/report in " + token) != std::string::npos);
            CHECK(text.out.find("log/" + damaged.filename().string() + " at offset ") !=
                  std::string::npos);
            const auto as_json = umbra({"storage", "scrub", ground.name, "--json"});
            CHECK(as_json.exit_code == 5);
            const json finding = json::parse(as_json.out).at("findings").at(0);
            CHECK(finding.at("path") == "docs/report");
            CHECK(finding.at("snapshots") == json::array({token}));
            CHECK(finding.at("file") == "log/" + damaged.filename().string());
            CHECK(finding.at("offset").is_number());
        });
    }

    TEST_CASE("diff names what changed, with sizes in JSON") {
        UMBRA_NEEDS_MOUNTS();
        CliGround ground;
        UmbraMount mount(ground.share);
        const std::string from = mount.create_snapshot();
        ground.change();
        write_file(ground.share / "odd\n\x1b[31m\\name", "x");
        const std::string to = mount.create_snapshot("later");
        mounted_and_not(mount, [&] {
            const std::string expected =
                "+ docs/added\n- docs/gone\nR docs/moved -> docs/renamed\nM docs/report\n+ "
                "odd\\n\\x1B[31m\\\\name\nm same\n";
            const auto sorted = [](const std::string& text) {
                std::vector<std::string> lines;
                std::istringstream stream(text);
                for (std::string line; std::getline(stream, line);) lines.push_back(line);
                std::sort(lines.begin(), lines.end());
                return lines;
            };
            CHECK(sorted(must_umbra({"snapshot", "diff", ground.name, from, "later"})) ==
                  sorted(expected));
            CHECK(sorted(must_umbra({"snapshot", "diff", ground.name, from})) == sorted(expected));
            CHECK(must_umbra({"snapshot", "diff", ground.name, to}) == "");
            bool found = false;
            for (const auto& change : json_of({"snapshot", "diff", ground.name, from, to})) {
                if (change.at("path") != "docs/report") continue;
                found = true;
                CHECK(change.at("change") == "modified");
                CHECK(change.at("type") == "file");
                CHECK(change.at("old_size") == 13);
                CHECK(change.at("new_size") == 22);
            }
            CHECK(found);
        });
    }

    TEST_CASE("versions lists each once, newest first, also of what was deleted") {
        UMBRA_NEEDS_MOUNTS();
        CliGround ground;
        UmbraMount mount(ground.share);
        const std::string first = mount.create_snapshot();
        const std::string again = mount.create_snapshot();
        ground.change();
        const std::string second = mount.create_snapshot();
        mounted_and_not(mount, [&] {
            const json report = json_of({"versions", (ground.share / "docs" / "report").string()});
            REQUIRE(report.size() == 2);
            CHECK(report[0].at("tokens") == json{second});
            CHECK(report[0].at("live") == true);
            CHECK(report[0].at("size") == 22);
            CHECK(report[1].at("tokens") == json{first, again});
            CHECK(report[1].at("first_token") == first);
            CHECK(report[1].at("last_token") == again);
            CHECK(report[1].at("live") == false);
            CHECK(report[1].at("size") == 13);
            const json gone = json_of({"versions", (ground.share / "docs" / "gone").string()});
            REQUIRE(gone.size() == 1);
            CHECK(gone[0].at("live") == false);
            ProcessOptions inside;
            inside.working_directory = (ground.share / "docs").string();
            CHECK(json_of({"versions", "gone"}, inside) == gone);
            CHECK(must_umbra({"versions", "../docs/gone"}, inside).find(first) !=
                  std::string::npos);
        });
    }

    TEST_CASE("status and storage") {
        UMBRA_NEEDS_MOUNTS();
        CliGround ground;
        UmbraMount mount(ground.share, {{}, {"-o", "writeback,noexec,memory=64M"}, {}});
        mount.create_snapshot();
        write_file(ground.share / "docs" / "report", std::string(100000, 'x'));
        const json status = json_of({"status", ground.name});
        CHECK(status.at("mounted") == true);
        CHECK(status.at("share") == ground.name);
        CHECK(status.at("mountpoint") == ground.name);
        CHECK(status.at("diff_area") == ground.name + "/.umbra/diff");
        CHECK(status.at("pid") == mount.daemon_pid());
        CHECK(status.at("snapshots") == 1);
        CHECK(status.at("options") == "rw,writeback,memory=64M,lease=60,noexec");
        CHECK(status.at("uuid").get<std::string>().size() == 36);
        CHECK(status.at("mounted_since").is_string());
        CHECK(status.at("space").at("limit_bytes").is_number_unsigned());
        CHECK(status.at("space").at("used_bytes").get<std::uint64_t>() > 0);
        CHECK(status.at("requests").is_object());
        CHECK(status.at("requests").at("lookup").get<std::uint64_t>() > 0);
        CHECK(status.at("known_nodes").is_number_unsigned());
        bool listed = false;
        for (const auto& other : json_of({"status"}))
            listed = listed || other.at("share") == ground.name;
        CHECK(listed);
        CHECK(must_umbra({"status"}).find(ground.name) != std::string::npos);
        CHECK(must_umbra({"status", ground.name}).find("noexec") != std::string::npos);
        mounted_and_not(mount, [&] {
            const json storage = json_of({"storage", "show", ground.name});
            CHECK(storage.at("snapshots").size() == 1);
            CHECK(storage.at("snapshots")[0].at("exclusive_bytes").is_number_unsigned());
            CHECK(storage.at("max_size") == "10%");
            CHECK(storage.at("on_full") == "evict");
            CHECK(must_umbra({"storage", "show", ground.name}).find("undo log") !=
                  std::string::npos);
        });
        mount.unmount();
        const json unmounted = json_of({"status", ground.name});
        CHECK(unmounted.at("mounted") == false);
        CHECK(unmounted.at("pid").is_null());
        CHECK(unmounted.at("snapshots") == 1);
        mount.mount();
    }
}

}  // namespace umbra::test
