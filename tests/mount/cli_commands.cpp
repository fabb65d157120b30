// What the commands do and print, on a mounted share and on one that is not.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/ram_image.h"
#include "tests/support/scratch.h"
#include "tests/support/skip.h"
#include "tests/support/tree.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Arguments = std::vector<std::string>;

constexpr uid_t kOwner = 1500, kStranger = 1777;

void write_file(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

std::string read_file(const fs::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

std::string must_umbra(Arguments arguments, const ProcessOptions& options = {}) {
    arguments.insert(arguments.begin(), umbra_binary());
    return must_run(arguments, options);
}

json json_of(Arguments arguments, const ProcessOptions& options = {}) {
    arguments.push_back("--json");
    return json::parse(must_umbra(std::move(arguments), options));
}

ProcessOptions as(uid_t uid) {
    ProcessOptions options;
    options.uid = uid;
    options.gid = uid;
    return options;
}

bool wait_until(const std::function<bool()>& condition) {
    for (int attempt = 0; attempt < 3000; ++attempt) {
        if (condition()) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
}

bool mounted_at(const fs::path& place) {
    std::ifstream table("/proc/self/mountinfo");
    for (std::string line; std::getline(table, line);) {
        if (line.find(" " + place.string() + " ") != std::string::npos &&
            line.find("fuse.umbra") != std::string::npos)
            return true;
    }
    return false;
}

bool running(pid_t pid) {
    std::ifstream status("/proc/" + std::to_string(pid) + "/stat");
    const std::string text{std::istreambuf_iterator<char>(status), {}};
    const std::size_t end = text.rfind(')');
    return end != std::string::npos && text.substr(end + 2, 1) != "Z";
}

struct Ground {
    RamImage image{FilesystemType::Ext4, 96};
    fs::path root = image.path();
    fs::path share = root / "share";
    std::string name = share.string();

    Ground() {
        fs::create_directories(share / "docs");
        write_file(share / "docs" / "report", "first version");
        write_file(share / "docs" / "gone", "to be deleted");
        write_file(share / "docs" / "moved", "to be renamed");
        write_file(share / "same", "never changed");
    }

    void change() const {
        write_file(share / "docs" / "report", "second, longer version");
        fs::remove(share / "docs" / "gone");
        fs::rename(share / "docs" / "moved", share / "docs" / "renamed");
        fs::permissions(share / "same", fs::perms::owner_read);
        write_file(share / "docs" / "added", "new");
    }
};

// Runs the check once on the mounted share and once after unmounting it.
void mounted_and_not(UmbraMount& mount, const std::function<void()>& check) {
    {
        INFO("mounted");
        check();
    }
    mount.unmount();
    INFO("not mounted");
    check();
    mount.mount();
}

}  // namespace

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
        Ground ground;
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
        Ground ground;
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
        Ground ground;
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
            const std::string bytes = read_file(entry.path());
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
        Ground ground;
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
        Ground ground;
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
        Ground ground;
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

    TEST_CASE("restore in place brings back what the snapshot has, and leaves the rest") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
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
        CHECK(read_file(ground.share / "docs" / "report") == "second, longer version");
        CHECK(must_umbra({"restore", docs, (ground.share / "same").string(), "--from", token}) ==
              "");
        CHECK(read_file(ground.share / "docs" / "added") == "new");
        CHECK(read_file(ground.share / "docs" / "renamed") == "to be renamed");
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
        Ground ground;
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
            CHECK(read_file(out / "docs" / "gone") == "to be deleted");
            CHECK(read_file(out / "docs" / "report") == "first version");
            const json again = json_of({"restore", docs, "--from", token, "--to", out.string()});
            CHECK(again.size() == 4);
            for (const auto& object : again) CHECK(object.at("action") == "unchanged");
            const fs::path inside = ground.share / ("inside" + std::to_string(round));
            CHECK(must_umbra({"restore", docs + "/report", "--from", token, "--to",
                              inside.string()}) == "");
            CHECK(read_file(inside / "report") == "first version");
        });
        // What was restored into the unmounted share went through Umbra: the snapshot does not have
        // it.
        CHECK_FALSE(fs::exists(mount.snapshot_path(token) / "inside2"));
        CHECK(must_umbra({"snapshot", "diff", ground.name, token}).find("+ inside2") !=
              std::string::npos);
    }

    TEST_CASE("a restore that cannot do everything does the rest and exits with 6") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
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
        CHECK(read_file(ground.share / "docs" / "gone") == "to be deleted");
        CHECK(fs::is_directory(ground.share / "docs" / "report"));
    }

    TEST_CASE("people restore what they may read and write, and see only their own versions") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
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
        CHECK(read_file(ground.share / "shared") == "before");
        CHECK(read_file(ground.share / "private" / "diary") == "secret");
        struct stat status {};
        REQUIRE(::stat((ground.share / "shared").c_str(), &status) == 0);
        CHECK(status.st_uid == kOwner);
        must_umbra({"snapshot", "delete", ground.name, "mine"}, as(kOwner));
    }
}

TEST_SUITE("daemon") {
    TEST_CASE("a mount elsewhere is known by both its places, and by paths in its snapshots") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        const fs::path place = ground.root / "a place";
        fs::create_directory(place);
        must_umbra({"init", ground.name});
        const UmbraMount mount(ground.share, {place, {}, {}});
        const std::string token = trim_end(must_umbra({"snapshot", "create", place.string()}));
        for (const fs::path& path :
             {ground.share, place, place / "docs", mount.snapshot_path(token) / "docs"}) {
            CHECK(json_of({"status", path.string()}).at("mountpoint") == place.string());
        }
        write_file(place / "docs" / "report", "changed");
        const json versions =
            json_of({"versions", (mount.snapshot_path(token) / "docs" / "report").string()});
        CHECK(versions == json_of({"versions", (ground.share / "docs" / "report").string()}));
        must_umbra({"restore", (ground.share / "docs" / "report").string(), "--from", token});
        CHECK(read_file(place / "docs" / "report") == "first version");
    }

    TEST_CASE("umbra umount returns when the volume is closed; it can be opened at once") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        UmbraMount mount(ground.share);
        for (int round = 0; round < 3; ++round) {
            const pid_t pid = mount.daemon_pid();
            must_umbra({"umount", (ground.share / "docs").string()});
            CHECK_FALSE(running(pid));
            CHECK_FALSE(mounted_at(ground.share));
            must_umbra({"mount", ground.name});
        }
    }

    TEST_CASE("umbra umount does not wait for another mount namespace; SIGTERM ends serving it") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        must_umbra({"mount", ground.name});
        const auto pid = json_of({"status", ground.name}).at("pid").get<pid_t>();
        // Has a copy of every mount, and says so.
        const fs::path ready = scratch_directory() / "holder-ready";
        fs::remove(ready);
        BackgroundProcess holder({"unshare", "--mount", "--propagation", "private", "sh", "-c",
                                  "touch " + ready.string() + "; exec sleep 600"});
        REQUIRE(wait_until([&] { return fs::exists(ready); }));
        for (int attempt = 0; attempt < 2; ++attempt) {
            CAPTURE(attempt);
            const ProcessResult held = umbra({"umount", ground.name});
            CHECK(held.exit_code == 1);
            CHECK(held.out == "");
            CHECK(held.err.find("another mount namespace") != std::string::npos);
            CHECK(held.err.find(std::to_string(pid)) != std::string::npos);
            CHECK_FALSE(mounted_at(ground.share));
            CHECK(running(pid));
        }
        SUBCASE("the other namespace ends") {
            holder.send(SIGKILL);
            holder.wait();
        }
        SUBCASE("the daemon is told to end") { REQUIRE(::kill(pid, SIGTERM) == 0); }
        CHECK(wait_until([&] { return !running(pid); }));
        if (holder.running()) {
            holder.send(SIGKILL);
            holder.wait();
        }
        CHECK(json_of({"snapshot", "list", ground.name}).empty());
    }

    TEST_CASE("plain umount ends the daemon, which closes the volume") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        must_umbra({"mount", ground.name});
        const json status = json_of({"status", ground.name});
        const auto pid = status.at("pid").get<pid_t>();
        REQUIRE(::umount2(ground.share.c_str(), 0) == 0);
        CHECK(wait_until([&] { return !running(pid); }));
        CHECK_FALSE(fs::exists("/run/umbra/" + status.at("uuid").get<std::string>() + ".sock"));
        CHECK_FALSE(fs::exists("/run/umbra/" + status.at("uuid").get<std::string>() + ".json"));
        CHECK(json_of({"snapshot", "list", ground.name}).empty());
    }

    TEST_CASE("SIGTERM unmounts, also while something is open in it") {
        UMBRA_NEEDS_MOUNTS();
        for (const bool busy : {false, true}) {
            CAPTURE(busy);
            Ground ground;
            must_umbra({"mount", ground.name});
            const auto pid = json_of({"status", ground.name}).at("pid").get<pid_t>();
            std::ifstream open;
            if (busy) open.open(ground.share / "same");
            REQUIRE(::kill(pid, SIGTERM) == 0);
            CHECK(wait_until([&] { return !running(pid); }));
            CHECK_FALSE(mounted_at(ground.share));
            CHECK(json_of({"snapshot", "list", ground.name}).empty());
        }
    }

    TEST_CASE("after a kill: the state is told, mounting again clears the place, so does umount") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        const auto mount_and_kill = [&] {
            must_umbra({"mount", ground.name});
            const auto pid = json_of({"status", ground.name}).at("pid").get<pid_t>();
            REQUIRE(::kill(pid, SIGKILL) == 0);
            REQUIRE(wait_until([&] { return !running(pid); }));
        };
        mount_and_kill();
        const ProcessResult told = umbra({"snapshot", "list", ground.name});
        CHECK(told.exit_code == 1);
        CHECK(told.err.find("has died") != std::string::npos);
        const ProcessResult again = umbra({"mount", ground.name});
        CHECK(again.exit_code == 0);
        CHECK(again.err.find("note: detached") != std::string::npos);
        CHECK(read_file(ground.share / "same") == "never changed");
        must_umbra({"umount", ground.name});
        mount_and_kill();
        must_umbra({"umount", ground.name});
        CHECK_FALSE(mounted_at(ground.share));
        CHECK(read_file(ground.share / "same") == "never changed");
    }

    TEST_CASE("in the foreground it serves until a signal comes") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        BackgroundProcess daemon({umbra_binary(), "mount", ground.name, "--foreground"});
        REQUIRE(wait_until([&] { return mounted_at(ground.share); }));
        CHECK(json_of({"status", ground.name}).at("pid") == daemon.pid());
        daemon.send(SIGINT);
        CHECK(daemon.wait() == 0);
        CHECK_FALSE(mounted_at(ground.share));
    }

    TEST_CASE("read-only refuses every change") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        must_umbra({"init", ground.name});
        must_umbra({"snapshot", "create", ground.name, "--label", "kept"});
        const UmbraMount mount(ground.share, {{}, {"--read-only"}, {}});
        CHECK(::open((ground.share / "same").c_str(), O_WRONLY | O_CLOEXEC) == -1);
        CHECK(errno == EROFS);
        CHECK(umbra({"snapshot", "create", ground.name}).exit_code == 4);
        CHECK(umbra({"snapshot", "delete", ground.name, "kept"}).exit_code == 4);
        CHECK(json_of({"snapshot", "list", ground.name}).size() == 1);
        CHECK(json_of({"status", ground.name}).at("read_only") == true);
    }

    TEST_CASE("nonsense on the control socket does no harm") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        const UmbraMount mount(ground.share);
        const std::string path = "/run/umbra/" +
                                 json_of({"status", ground.name}).at("uuid").get<std::string>() +
                                 ".sock";
        struct sockaddr_un address {};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
        for (const std::string& nonsense :
             {std::string("\n\n\n"), std::string(200000, '{'),
              std::string("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"versions\"}\n"),
              std::string("\0\xff\n", 3),
              std::string("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"snapshot.hold\",\"params\":{"
                          "\"name\":1}}\n")}) {
            const int socket = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
            REQUIRE(::connect(socket, reinterpret_cast<struct sockaddr*>(&address),
                              sizeof address) == 0);
            (void)!::send(socket, nonsense.data(), nonsense.size(), MSG_NOSIGNAL);
            ::close(socket);
        }
        CHECK(json_of({"snapshot", "list", ground.name}).empty());
    }

    TEST_CASE("the shell completes commands, options, and snapshots") {
        UMBRA_NEEDS_MOUNTS();
        const char* source = std::getenv("UMBRA_SOURCE_DIR");
        if (source == nullptr) return report_skip("UMBRA_SOURCE_DIR is not set");
        Ground ground;
        const UmbraMount mount(ground.share);
        must_umbra({"snapshot", "create", ground.name, "--label", "mylabel"});
        const auto complete = [&](const Arguments& words) {
            std::string line;
            for (const auto& word : words) line += " '" + word + "'";
            return must_run({"bash", "-c",
                             "PATH=\"" + fs::path(umbra_binary()).parent_path().string() +
                                 ":$PATH\"; . '" + source +
                                 "/cli/completion/umbra.bash'; COMP_WORDS=(" + line +
                                 "); COMP_CWORD=" + std::to_string(words.size() - 1) +
                                 "; _umbra; printf '%s\\n' \"${COMPREPLY[@]}\""});
        };
        CHECK(complete({"umbra", "sn"}) == "snapshot\n");
        CHECK(complete({"umbra", "snapshot", "del"}) == "delete\n");
        CHECK(complete({"umbra", "mount", "--fore"}) == "--foreground\n");
        CHECK(complete({"umbra", "snapshot", "delete", ground.name, "my"}) == "mylabel\n");
        CHECK(complete({"umbra", "snap", "diff", ground.name, "@GMT"}).starts_with("@GMT-"));
        CHECK(complete({"umbra", "restore", ground.name, "--from", "my"}) == "mylabel\n");
    }
}

}  // namespace umbra::test
