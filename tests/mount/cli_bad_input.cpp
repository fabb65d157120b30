// Bad input gets one clear line on stderr, the right exit code and no change.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
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

constexpr int64_t kImageMiB = 64;
constexpr uid_t kStranger = 1777;

using Arguments = std::vector<std::string>;

void write_file(const fs::path& path, const std::string& text) { std::ofstream(path) << text; }

std::string read_file(const fs::path& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

// The child that a process has, or is about to have.
pid_t only_child_of(pid_t parent) {
    const std::string children =
        "/proc/" + std::to_string(parent) + "/task/" + std::to_string(parent) + "/children";
    pid_t child = 0;
    while (!(std::ifstream(children) >> child) && ::kill(parent, 0) == 0) {
    }
    REQUIRE(child > 0);
    return child;
}

// Mounts at or below a folder, by /proc/self/mountinfo.
std::vector<std::string> mounts_below(const fs::path& folder) {
    std::vector<std::string> found;
    std::ifstream table("/proc/self/mountinfo");
    for (std::string line; std::getline(table, line);) {
        if (line.find(folder.string()) != std::string::npos) found.push_back(line);
    }
    return found;
}

bool one_clear_line(const std::string& err) {
    return err.starts_with("umbra: ") && err.ends_with("\n") &&
           std::count(err.begin(), err.end(), '\n') == 1 && err.size() > 20;
}

// The places where volumes that exist already keep their history: opening one leaves traces there.
CaptureOptions without_history(const fs::path& root) {
    CaptureOptions options;
    for (auto entry =
             fs::recursive_directory_iterator(root, fs::directory_options::skip_permission_denied);
         entry != fs::recursive_directory_iterator(); ++entry) {
        const std::string path = fs::relative(entry->path(), root).string();
        if (entry->path().filename() == ".umbra") options.without.insert(path);
        if (entry->path().filename() == "area.toml")
            options.without.insert(fs::path(path).parent_path().string());
    }
    return options;
}

// Everything below `watched` is the same afterwards, access times aside.
void check_refused(const fs::path& watched, const Arguments& arguments, int exit_code,
                   const ProcessOptions& options = {}) {
    CAPTURE(join_command(arguments));
    const CaptureOptions what = without_history(watched);
    const Tree before = capture(watched, what);
    const auto mounts_before = mounts_below(watched);
    const ProcessResult result = umbra(arguments, options);
    CAPTURE(result.err);
    CHECK(result.exit_code == exit_code);
    CHECK(result.out == "");
    CHECK(one_clear_line(result.err));
    CHECK(mounts_below(watched) == mounts_before);
    CHECK(differences(before, capture(watched, what)) == kNoDifferences);
}

ProcessOptions as_stranger() {
    ProcessOptions options;
    options.uid = kStranger;
    options.gid = kStranger;
    return options;
}

struct Ground {
    RamImage image{FilesystemType::Ext4, kImageMiB};
    fs::path root = image.path();
    fs::path share = root / "share";

    Ground() {
        fs::create_directory(share);
        write_file(share / "file", "text");
    }
    void init(const Arguments& more = {}) {
        Arguments arguments{"init", share.string()};
        arguments.insert(arguments.end(), more.begin(), more.end());
        const ProcessResult result = umbra(arguments);
        CAPTURE(result.err);
        REQUIRE(result.exit_code == 0);
    }
    void refused(const Arguments& arguments, int exit_code,
                 const ProcessOptions& options = {}) const {
        check_refused(root, arguments, exit_code, options);
    }
};

void replace_in_file(const fs::path& path, const std::string& from, const std::string& to) {
    std::string text = read_file(path);
    const std::size_t at = text.find(from);
    REQUIRE(at != std::string::npos);
    write_file(path, text.replace(at, from.size(), to));
}

}  // namespace

TEST_SUITE("bad input") {
    TEST_CASE("a command line that is none") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        const std::string share = ground.share.string();
        for (const Arguments& arguments : std::vector<Arguments>{
                 {},
                 {"nonsense"},
                 {"snapshot"},
                 {"snapshot", "nonsense"},
                 {"init"},
                 {"mount"},
                 {"mount", share, "a", "b"},
                 {"mount", share, "--nonsense"},
                 {"mount", share, "-o", "nonsense"},
                 {"mount", share, "-o", "memory=1"},
                 {"mount", share, "--wait", "soon"},
                 {"mount", share, "--wait", "-1"},
                 {"restore", share},
                 {"init", share, "--on-full", "panic"},
                 {"snapshot", "hold", share, "T", "--for", "ever"},
                 {"snapshot", "hold", share, "T", "--until", "tomorrow"},
                 {"snapshot", "hold", share, "T", "--until", "2027-02-31"},
                 {"snapshot", "hold", share, "T", "--until", "2027-02-01T25:00"},
                 {"snapshot", "hold", share, "T", "--until", "2027-02-01T1:00"},
                 {"snapshot", "hold", share, "T", "--until", "2027-02-01+99"},
                 {"snapshot", "hold", share, "T", "--until", "2001-01-01"},
                 {"snapshot", "hold", share, "T", "--until", "2199-01-01", "--for", "1d"},
                 {"storage", "scrub"},
                 {"storage", "scrub", share, "more"},
                 {"storage", "rebuild-index"},
                 {"mount", ""}}) {
            ground.refused(arguments, 2);
        }
    }

    TEST_CASE("a share that does not exist, or is none") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        const std::string missing = (ground.root / "missing").string(),
                          plain = ground.share.string();
        for (const std::string& path : {missing, plain}) {
            ground.refused({"status", path}, 3);
            ground.refused({"umount", path}, 3);
            ground.refused({"snapshot", "create", path}, 3);
            ground.refused({"snapshot", "list", path}, 3);
            ground.refused({"snapshot", "delete", path, "--all"}, 3);
            ground.refused({"snapshot", "hold", path, "T"}, 3);
            ground.refused({"snapshot", "release", path, "T"}, 3);
            ground.refused({"snapshot", "diff", path, "T"}, 3);
            ground.refused({"versions", path}, 3);
            ground.refused({"restore", path, "--from", "T"}, 3);
            ground.refused({"storage", "show", path}, 3);
        }
        ground.refused({"init", missing}, 3);
        ground.refused({"mount", missing}, 3);
        ground.refused({"mount", plain, ground.root.string() + "/lost+found"}, 3);
    }

    TEST_CASE("a share that is a file") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        ground.refused({"init", (ground.share / "file").string()}, 2);
        ground.refused({"mount", (ground.share / "file").string()}, 2);
    }

    TEST_CASE("a mount point that is missing, a file, or in the share") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        ground.init();
        fs::create_directory(ground.share / "inner");
        ground.refused({"mount", ground.share.string(), (ground.root / "missing").string()}, 3);
        ground.refused({"mount", ground.share.string(), (ground.share / "file").string()}, 2);
        ground.refused({"mount", ground.share.string(), (ground.share / "inner").string()}, 4);
        ground.refused({"mount", ground.share.string(), ground.root.string()}, 4);
    }

    TEST_CASE("a share that is mounted already") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        fs::create_directory(ground.root / "place");
        const UmbraMount mount(ground.share);
        ground.refused({"mount", ground.share.string()}, 4);
        ground.refused({"mount", ground.share.string(), (ground.root / "place").string()}, 4);
        ground.refused({"init", ground.share.string()}, 4);
        CHECK(umbra({"status", ground.share.string()}).exit_code == 0);
    }

    TEST_CASE("a second daemon on the same volume, through another path") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        ground.init();
        fs::create_directory(ground.root / "again");
        fs::create_directory(ground.root / "place");
        REQUIRE(::mount(ground.share.c_str(), (ground.root / "again").c_str(), nullptr, MS_BIND,
                        nullptr) == 0);
        const UmbraMount mount(ground.share);
        ground.refused({"mount", (ground.root / "again").string()}, 4);
        ground.refused(
            {"mount", (ground.root / "again").string(), (ground.root / "place").string()}, 4);
        ground.refused({"snapshot", "list", (ground.root / "again").string()}, 4);
    }

    TEST_CASE("nested shares") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        const std::string inner = (ground.share / "inner").string();
        fs::create_directory(inner);
        SUBCASE("inside a mounted one") {
            const UmbraMount mount(ground.share);
            ground.refused({"mount", inner}, 4);
            ground.refused({"init", inner}, 4);
        }
        SUBCASE("inside one that is not mounted") {
            ground.init();
            ground.refused({"mount", inner}, 4);
            ground.refused({"init", inner}, 4);
        }
        SUBCASE("around a mounted one") {
            const UmbraMount mount(inner);
            ground.refused({"mount", ground.share.string()}, 4);
            ground.refused({"init", ground.share.string()}, 4);
        }
        SUBCASE("mounted into another") {
            ground.init();
            const UmbraMount mount(ground.share);
            fs::create_directory(ground.root / "other");
            REQUIRE(umbra({"init", (ground.root / "other").string()}).exit_code == 0);
            ground.refused({"mount", (ground.root / "other").string(), inner}, 4);
        }
    }

    TEST_CASE("a share with a .snapshots of its own") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        fs::create_directory(ground.share / ".snapshots");
        ground.refused({"init", ground.share.string()}, 4);
        ground.refused({"mount", ground.share.string()}, 4);
    }

    TEST_CASE("a share that is one already") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        ground.init();
        ground.refused({"init", ground.share.string()}, 4);
    }

    TEST_CASE("a diff area that cannot be one") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        const std::string share = ground.share.string();
        const auto refused = [&](const fs::path& area, int code) {
            ground.refused({"init", share, "--diff-area", area.string()}, code);
        };
        SUBCASE("not empty and not ours") {
            fs::create_directory(ground.root / "area");
            write_file(ground.root / "area" / "precious", "x");
            refused(ground.root / "area", 4);
        }
        SUBCASE("in the share") {
            fs::create_directory(ground.share / "area");
            refused(ground.share / "area", 2);
            refused(ground.share / "new", 2);
            refused(ground.share, 2);
        }
        SUBCASE("in another share") {
            fs::create_directory(ground.root / "other");
            const UmbraMount mount(ground.root / "other");
            refused(ground.root / "other" / "area", 4);
        }
        SUBCASE("a file, or where no folder is") {
            write_file(ground.root / "area", "x");
            refused(ground.root / "area", 5);
            refused(ground.root / "no" / "such" / "area", 5);
        }
        SUBCASE("on a read-only filesystem") {
            RamImage area(FilesystemType::Ext4, kImageMiB);
            fs::create_directory(area.path() / "area");
            area.set_read_only(true);
            refused(area.path() / "area", 5);
            refused(area.path() / "new", 5);
        }
        SUBCASE("on a full filesystem") {
            RamImage area(FilesystemType::Ext4, kImageMiB);
            fs::create_directory(area.path() / "area");
            std::ofstream filler(area.path() / "filler", std::ios::binary);
            const std::string block(64 * 1024, 'x');
            while (filler.write(block.data(), static_cast<std::streamsize>(block.size())).flush()) {
            }
            filler.close();
            refused(area.path() / "area", 5);
        }
        SUBCASE("hidden by the mount") {
            fs::create_directories(ground.root / "place" / "area");
            ground.init({"--diff-area", (ground.root / "place" / "area").string()});
            ground.refused({"mount", share, (ground.root / "place").string()}, 4);
        }
    }

    TEST_CASE("a diff area that is gone, or another volume's") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        const fs::path area = ground.root / "area", away = ground.root / "away";
        ground.init({"--diff-area", area.string()});
        fs::rename(area, away);
        const std::string share = ground.share.string();
        SUBCASE("gone") {
            ground.refused({"mount", share}, 5);
            ground.refused({"snapshot", "list", share}, 5);
            ground.refused({"snapshot", "create", share}, 5);
        }
        SUBCASE("an empty folder in its place") {
            fs::create_directory(area);
            ground.refused({"mount", share}, 5);
        }
        SUBCASE("another volume's in its place") {
            fs::create_directory(ground.root / "other");
            REQUIRE(umbra({"init", (ground.root / "other").string(), "--diff-area", area.string()})
                        .exit_code == 0);
            ground.refused({"mount", share}, 5);
            ground.refused({"mount", share, "--wait", "600"}, 5);
        }
        SUBCASE("waited for in vain") {
            const ProcessResult result = umbra({"mount", share, "--wait", "1"});
            CHECK(result.exit_code == 5);
            CHECK(mounts_below(ground.share).empty());
        }
        SUBCASE("waited for, and it comes") {
            BackgroundProcess mounting({umbra_binary(), "mount", share, "--wait", "600"});
            std::this_thread::sleep_for(std::chrono::milliseconds(700));
            CHECK(mounting.running());
            fs::rename(away, area);
            CHECK(mounting.wait() == 0);
            CHECK(umbra({"snapshot", "create", share}).exit_code == 0);
            CHECK(umbra({"umount", share}).exit_code == 0);
        }
        SUBCASE("nobody waits any more") {
            BackgroundProcess mounting({umbra_binary(), "mount", share, "--wait", "600"});
            std::this_thread::sleep_for(std::chrono::milliseconds(700));
            mounting.send(SIGKILL);
            mounting.wait();
            fs::rename(away, area);
            // Its daemon goes with it: the volume is free again, and stays unmounted.
            ProcessResult free;
            for (int attempt = 0; attempt < 100 && (attempt == 0 || free.exit_code != 0);
                 ++attempt) {
                std::this_thread::sleep_for(std::chrono::milliseconds(100));
                free = umbra({"snapshot", "list", share});
            }
            CHECK(free.exit_code == 0);
            CHECK(mounts_below(ground.share).empty());
        }
        SUBCASE("nobody waits any more when it has just come") {
            fs::rename(away, area);
            // Stopped so early that it cannot have opened the volume; where it was not, once more.
            bool early = false;
            for (int attempt = 0; attempt < 20 && !early; ++attempt) {
                BackgroundProcess mounting({umbra_binary(), "mount", share});
                const pid_t daemon = only_child_of(mounting.pid());
                ::kill(daemon, SIGSTOP);
                early = mounts_below(ground.share).empty();
                if (early) mounting.send(SIGKILL);
                if (!early) ::kill(daemon, SIGCONT);
                mounting.wait();
                if (!early) {
                    CHECK(umbra({"umount", share}).exit_code == 0);
                    continue;
                }
                ::kill(daemon, SIGCONT);
                CHECK(wait_for_end(daemon, std::chrono::minutes(1)));
            }
            REQUIRE(early);
            CHECK(mounts_below(ground.share).empty());
            CHECK(umbra({"snapshot", "list", share}).exit_code == 0);
        }
        SUBCASE("done without, read-only") {
            CHECK(umbra({"mount", share, "--read-only"}).exit_code == 0);
            CHECK(read_file(ground.share / "file") == "text");
            CHECK(::open((ground.share / "file").c_str(), O_WRONLY | O_CLOEXEC) == -1);
            CHECK(umbra({"snapshot", "create", share}).exit_code == 4);
            CHECK(umbra({"versions", (ground.share / "file").string()}).exit_code == 3);
            CHECK(umbra({"status", share}).exit_code == 0);
            CHECK(umbra({"storage", "show", share}).exit_code == 0);
            CHECK(umbra({"umount", share}).exit_code == 0);
        }
    }

    TEST_CASE("a size that is none") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        for (const char* size :
             {"99999999999999999999", "18446744073709551616", "20000000T", "0", "0%", "101%", "-1",
              "10X", "ten", "1.5G5", "", "1", "1023K", "1000000G"}) {
            ground.refused({"init", ground.share.string(), std::string("--max-size=") + size}, 2);
        }
    }

    TEST_CASE("a volume of a newer format") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        ground.init();
        const fs::path control = ground.share / ".umbra";
        SUBCASE("its identity") {
            replace_in_file(control / "volume.toml", "format = 1", "format = 2");
        }
        SUBCASE("its diff area") {
            replace_in_file(control / "diff" / "area.toml", "format = 1", "format = 2");
        }
        ground.refused({"mount", ground.share.string()}, 4);
        ground.refused({"snapshot", "list", ground.share.string()}, 4);
    }

    TEST_CASE("snapshots that are unknown, labels that are none") {
        UMBRA_NEEDS_MOUNTS();
        for (const bool mounted : {true, false}) {
            CAPTURE(mounted);
            Ground ground;
            ground.init();
            std::unique_ptr<UmbraMount> mount;
            if (mounted) mount = std::make_unique<UmbraMount>(ground.share);
            const std::string share = ground.share.string(),
                              file = (ground.share / "file").string();
            const std::string token = trim_end(
                must_run({umbra_binary(), "snapshot", "create", share, "--label", "taken"}));
            // What is asked of an unmounted share opens its volume, which leaves traces in the diff
            // area only.
            const auto refused = [&](const Arguments& arguments, int code) {
                const ProcessResult result = umbra(arguments);
                CAPTURE(join_command(arguments));
                CAPTURE(result.err);
                CHECK(result.exit_code == code);
                CHECK(result.out == "");
                CHECK(one_clear_line(result.err));
                CHECK(must_run({umbra_binary(), "snapshot", "list", share, "--json"}).find(token) !=
                      std::string::npos);
                CHECK(read_file(file) == "text");
            };
            for (const std::string& unknown : {std::string("@GMT-1999.01.01-00.00.00"),
                                               std::string("no such"), std::string("..")}) {
                refused({"snapshot", "delete", share, unknown}, 3);
                refused({"snapshot", "delete", share, token, unknown}, 3);
                refused({"snapshot", "hold", share, unknown}, 3);
                refused({"snapshot", "release", share, unknown}, 3);
                refused({"snapshot", "diff", share, unknown}, 3);
                refused({"snapshot", "diff", share, token, unknown}, 3);
                refused({"restore", file, "--from", unknown}, 3);
            }
            refused({"snapshot", "release", share, token}, 3);
            refused({"snapshot", "delete", share}, 2);
            refused({"snapshot", "delete", share, token, "--oldest"}, 2);
            refused({"snapshot", "delete", share, "--all", "--oldest"}, 2);
            for (const std::string& label :
                 {std::string("a/b"), std::string(""), std::string(300, 'x'), std::string("."),
                  std::string(".."), std::string("@GMT-x"), std::string("a\nb"),
                  std::string("\xff")}) {
                refused({"snapshot", "create", share, "--label", label}, 2);
            }
            refused({"snapshot", "create", share, "--hold", ""}, 2);
            refused({"snapshot", "create", share, "--label", "taken"}, 4);
            REQUIRE(umbra({"snapshot", "hold", share, "taken", "--reason", "audit"}).exit_code ==
                    0);
            refused({"snapshot", "delete", share, "taken"}, 4);
            refused({"snapshot", "delete", share, "--oldest"}, 4);
            refused({"snapshot", "delete", share, "--all"}, 4);
            refused({"snapshot", "release", share, "taken", "--reason", "another"}, 3);
            REQUIRE(umbra({"snapshot", "release", share, "taken", "--reason", "audit"}).exit_code ==
                    0);
            REQUIRE(umbra({"snapshot", "delete", share, "taken"}).exit_code == 0);
            CHECK(umbra({"snapshot", "delete", share, "--oldest"}).exit_code == 3);
            CHECK(umbra({"snapshot", "delete", share, "--all"}).exit_code == 0);
        }
    }

    TEST_CASE("paths that no snapshot has") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        const UmbraMount mount(ground.share);
        const std::string token =
            trim_end(must_run({umbra_binary(), "snapshot", "create", ground.share.string()}));
        write_file(ground.share / "new", "new");
        ground.refused({"versions", (ground.share / "never").string()}, 3);
        ground.refused({"versions", (ground.share / "new").string()}, 3);
        ground.refused({"restore", (ground.share / "never").string(), "--from", token}, 3);
        ground.refused({"restore", (ground.share / "file").string(),
                        (ground.share / "new").string(), "--from", token},
                       3);
        ground.refused({"restore", (ground.share / "file").string(),
                        (ground.share / "file").string(), "--from", token},
                       2);
        ground.refused({"restore", (ground.share / "file").string(), "--from", token, "--to",
                        (mount.snapshot_path(token) / "file").string()},
                       4);
        fs::create_directory(ground.root / "other");
        const UmbraMount other(ground.root / "other");
        ground.refused({"restore", (ground.share / "file").string(),
                        (ground.root / "other" / "x").string(), "--from", token},
                       2);
    }

    TEST_CASE("a share that is in use is not unmounted, one that is not mounted cannot be") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        ground.init();
        ground.refused({"umount", ground.share.string()}, 3);
        const UmbraMount mount(ground.share);
        {
            std::ifstream open(ground.share / "file");
            REQUIRE(open.good());
            ground.refused({"umount", ground.share.string()}, 1);
        }
        CHECK(umbra({"status", ground.share.string()}).exit_code == 0);
        CHECK(read_file(ground.share / "file") == "text");
    }

    TEST_CASE("people without the right") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        const std::string share = ground.share.string();
        ground.refused({"init", share}, 4, as_stranger());
        ground.refused({"mount", share}, 4, as_stranger());
        ground.init();
        ground.refused({"mount", share}, 4, as_stranger());
        ground.refused({"snapshot", "list", share}, 4, as_stranger());
        ground.refused({"restore", (ground.share / "file").string(), "--from", "T"}, 4,
                       as_stranger());
        const UmbraMount mount(ground.share);
        const std::string token = trim_end(must_run({umbra_binary(), "snapshot", "create", share}));
        write_file(ground.share / "file", "later");
        ground.refused({"snapshot", "create", share}, 4, as_stranger());
        ground.refused({"snapshot", "delete", share, token}, 4, as_stranger());
        ground.refused({"snapshot", "hold", share, token}, 4, as_stranger());
        ground.refused({"snapshot", "release", share, token}, 4, as_stranger());
        ground.refused({"snapshot", "diff", share, token}, 4, as_stranger());
        ground.refused({"umount", share}, 4, as_stranger());
        const ProcessResult restored =
            umbra({"restore", (ground.share / "file").string(), "--from", token}, as_stranger());
        CHECK(restored.exit_code == 6);
        CHECK(one_clear_line(restored.err));
        CHECK(read_file(ground.share / "file") == "later");
    }
}

}  // namespace umbra::test
