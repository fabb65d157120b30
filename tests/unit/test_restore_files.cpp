#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "restore/beneath.h"
#include "restore/contents.h"
#include "restore/job_runner.h"
#include "tests/support/scratch.h"
#include "tests/support/tree.h"
#include "tests/support/unprivileged.h"

using namespace umbra;
namespace fs = std::filesystem;

namespace {

void write_file(const fs::path& path, const std::string& text, mode_t mode = 0644) {
    std::ofstream(path, std::ios::binary) << text;
    ::chmod(path.c_str(), mode);
}

std::string read_file(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void set_mtime(const fs::path& path, std::int64_t seconds, long nanoseconds = 123456789) {
    const struct timespec times[2] = {{seconds, 0}, {seconds, nanoseconds}};
    REQUIRE(::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW) == 0);
}

struct stat status_of(const fs::path& path) {
    struct stat status {};
    REQUIRE(::lstat(path.c_str(), &status) == 0);
    return status;
}

UniqueFd open_folder(const fs::path& path) {
    return UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

// A snapshot's root and a live root, both plain folders.
struct Roots {
    test::TempDir scratch{"restore"};
    fs::path past = scratch.path() / "past";
    fs::path live = scratch.path() / "live";
    struct Object {
        std::string path;
        RestoreAction action = RestoreAction::kUnchanged;
        std::optional<Error> error;
    };
    std::vector<Object> objects;
    RunOptions options;
    RestoreMethod method = RestoreMethod::kMerge;
    RestoreSummary summary;
    MemoryJobStore store;

    Roots() {
        fs::create_directories(past);
        fs::create_directories(live);
        options.scope.owner = ::geteuid() == 0;
        options.on_object = [this](const JobEntry& entry, const std::optional<Error>& error) {
            if (!entry.on_the_way) objects.push_back({entry.path, entry.action, error});
        };
    }

    struct Opener : RootOpener {
        explicit Opener(const Roots& of) : roots(of) {}
        Result<UniqueFd> snapshot(const std::string&) override { return open_folder(roots.past); }
        Result<UniqueFd> target(const JobSpec&) override { return open_folder(roots.live); }
        Result<UniqueFd> target_in(const JobSpec&, const std::string&) override {
            return UniqueFd();
        }
        const Roots& roots;
    };

    JobSpec spec(const std::vector<std::pair<std::string, std::string>>& jobs) const {
        JobSpec spec;
        spec.in_share = false;
        ComponentSpec component;
        component.method = method;
        for (const auto& [from, to] : jobs) component.paths.push_back({from, to});
        spec.components.push_back(component);
        return spec;
    }

    Result<void> run(const std::vector<std::pair<std::string, std::string>>& jobs) {
        objects.clear();
        Opener opener(*this);
        store = MemoryJobStore();
        auto outcome = JobRunner(store, opener, options).run(spec(jobs));
        if (!outcome) return tl::make_unexpected(outcome.error());
        summary = outcome->summary;
        return {};
    }
    Result<void> run(const std::string& path) { return run({{path, path}}); }

    // What a plan without a run says.
    std::map<std::string, std::string> foresee(const std::string& path, bool target_exists = true) {
        objects.clear();
        const UniqueFd source = open_folder(past), target = open_folder(live);
        const JobSpec planned = spec({{path, path}});
        PlanOptions plan;
        plan.scope = options.scope;
        plan.on_unchanged = [this](const JobEntry& entry) {
            objects.push_back({entry.path, entry.action, std::nullopt});
        };
        auto result = Planner(source.get(), target_exists ? target.get() : -1,
                              planned.components.front(), plan)
                          .plan();
        REQUIRE(result.has_value());
        for (const auto& one : result->entries) {
            if (one.entry.action == RestoreAction::kUnchanged || one.entry.on_the_way) continue;
            objects.push_back({one.entry.path, one.entry.action, one.error});
        }
        return actions();
    }

    std::map<std::string, std::string> actions() const {
        std::map<std::string, std::string> found;
        for (const auto& object : objects) {
            found[object.path] = object.error && object.action != RestoreAction::kConflict
                                     ? "error"
                                     : restore_action_name(object.action);
        }
        return found;
    }

    bool nothing_temporary() const {
        for (const auto& entry : fs::recursive_directory_iterator(live)) {
            if (entry.path().filename().string().starts_with(".umbra-restore")) return false;
        }
        return true;
    }
};

// Equal in everything but what copying cannot keep.
std::string tree_differences(const fs::path& expected, const fs::path& actual) {
    test::CompareOptions compare;
    compare.ctime = false;
    test::CaptureOptions capture;
    return test::differences(test::capture(expected, capture), test::capture(actual, capture),
                             compare);
}

}  // namespace

TEST_SUITE("restore") {
    TEST_CASE("a deleted file comes back with everything it had") {
        Roots roots;
        write_file(roots.past / "a", "contents", 0640);
        REQUIRE(::setxattr((roots.past / "a").c_str(), "user.note", "x", 1, 0) == 0);
        if (::geteuid() == 0) REQUIRE(::chown((roots.past / "a").c_str(), 1234, 4321) == 0);
        set_mtime(roots.past / "a", 1000000000);
        REQUIRE(roots.run("a").has_value());
        CHECK(roots.actions() == std::map<std::string, std::string>{{"a", "create"}});
        CHECK(tree_differences(roots.past, roots.live).find("a:") == std::string::npos);
        CHECK(read_file(roots.live / "a") == "contents");
        const struct stat was = status_of(roots.past / "a"), is = status_of(roots.live / "a");
        CHECK(is.st_mode == was.st_mode);
        CHECK(is.st_uid == was.st_uid);
        CHECK(is.st_gid == was.st_gid);
        CHECK(is.st_mtim.tv_sec == was.st_mtim.tv_sec);
        CHECK(is.st_mtim.tv_nsec == was.st_mtim.tv_nsec);
        char value[8];
        CHECK(::getxattr((roots.live / "a").c_str(), "user.note", value, sizeof value) == 1);
    }

    TEST_CASE(
        "a changed file is replaced by another object, so that who has it open keeps what he "
        "sees") {
        Roots roots;
        write_file(roots.past / "a", "old");
        write_file(roots.live / "a", "new");
        const UniqueFd open(::open((roots.live / "a").c_str(), O_RDONLY | O_CLOEXEC));
        const ino_t before = status_of(roots.live / "a").st_ino;
        REQUIRE(roots.run("a").has_value());
        CHECK(roots.actions().at("a") == "replace");
        CHECK(read_file(roots.live / "a") == "old");
        CHECK(status_of(roots.live / "a").st_ino != before);
        char text[8] = {};
        CHECK(::read(open.get(), text, sizeof text) == 3);
        CHECK(std::string(text) == "new");
        CHECK(roots.nothing_temporary());
    }

    TEST_CASE("what is equal is left alone") {
        Roots roots;
        write_file(roots.past / "a", "same");
        write_file(roots.live / "a", "same");
        set_mtime(roots.past / "a", 5);
        set_mtime(roots.live / "a", 5);
        const struct stat before = status_of(roots.live / "a");
        REQUIRE(roots.run("a").has_value());
        CHECK(roots.actions().at("a") == "unchanged");
        CHECK(status_of(roots.live / "a").st_ino == before.st_ino);
        CHECK(status_of(roots.live / "a").st_ctim.tv_nsec == before.st_ctim.tv_nsec);
        CHECK(roots.summary.unchanged == 1);
    }

    TEST_CASE("equal size and time are no proof: contents are compared") {
        Roots roots;
        write_file(roots.past / "a", "old");
        write_file(roots.live / "a", "new");
        set_mtime(roots.past / "a", 5);
        set_mtime(roots.live / "a", 5);
        REQUIRE(roots.run("a").has_value());
        CHECK(read_file(roots.live / "a") == "old");
    }

    TEST_CASE("only metadata is set where only metadata differs") {
        Roots roots;
        write_file(roots.past / "a", "same", 0600);
        write_file(roots.live / "a", "same", 0644);
        REQUIRE(::setxattr((roots.live / "a").c_str(), "user.later", "x", 1, 0) == 0);
        set_mtime(roots.past / "a", 5);
        const ino_t before = status_of(roots.live / "a").st_ino;
        REQUIRE(roots.run("a").has_value());
        CHECK(roots.actions().at("a") == "metadata");
        CHECK(status_of(roots.live / "a").st_ino == before);
        CHECK((status_of(roots.live / "a").st_mode & 07777) == 0600);
        CHECK(status_of(roots.live / "a").st_mtim.tv_sec == 5);
        CHECK(::getxattr((roots.live / "a").c_str(), "user.later", nullptr, 0) == -1);
    }

    TEST_CASE("a folder is merged: its own come back, others stay, its times are those it had") {
        Roots roots;
        fs::create_directories(roots.past / "d" / "sub" / "deep");
        write_file(roots.past / "d" / "a", "old a");
        write_file(roots.past / "d" / "sub" / "b", "old b");
        ::chmod((roots.past / "d" / "sub").c_str(), 0750);
        set_mtime(roots.past / "d" / "sub" / "deep", 6);
        set_mtime(roots.past / "d" / "sub", 7);
        set_mtime(roots.past / "d", 8);
        fs::create_directories(roots.live / "d");
        write_file(roots.live / "d" / "a", "new a");
        write_file(roots.live / "d" / "extra", "stays");
        REQUIRE(roots.run("d").has_value());
        CHECK(roots.actions() == std::map<std::string, std::string>{{"d", "metadata"},
                                                                    {"d/a", "replace"},
                                                                    {"d/sub", "create"},
                                                                    {"d/sub/b", "create"},
                                                                    {"d/sub/deep", "create"}});
        CHECK(read_file(roots.live / "d" / "a") == "old a");
        CHECK(read_file(roots.live / "d" / "extra") == "stays");
        CHECK(status_of(roots.live / "d").st_mtim.tv_sec == 8);
        CHECK(status_of(roots.live / "d" / "sub").st_mtim.tv_sec == 7);
        CHECK((status_of(roots.live / "d" / "sub").st_mode & 07777) == 0750);
        CHECK(status_of(roots.live / "d" / "sub" / "deep").st_mtim.tv_sec == 6);
        CHECK(roots.summary.changed == 5);
    }

    TEST_CASE("the whole share, with links, holes and special files, is equal afterwards") {
        Roots roots;
        fs::create_directories(roots.past / "d");
        write_file(roots.past / "d" / "one", "linked");
        fs::create_hard_link(roots.past / "d" / "one", roots.past / "d" / "two");
        fs::create_hard_link(roots.past / "d" / "one", roots.past / "three");
        fs::create_symlink("d/one", roots.past / "link");
        fs::create_symlink("/nowhere", roots.past / "dangling");
        REQUIRE(::mkfifo((roots.past / "fifo").c_str(), 0622) == 0);
        write_file(roots.past / "empty", "");
        write_file(roots.past / "odd \xff\n name", "x");
        set_mtime(roots.past / "link", 9);
        if (::geteuid() == 0) REQUIRE(::lchown((roots.past / "link").c_str(), 77, 88) == 0);
        {
            const UniqueFd sparse(
                ::open((roots.past / "sparse").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
            REQUIRE(::pwrite(sparse.get(), "middle", 6, 8 << 20) == 6);
            REQUIRE(::ftruncate(sparse.get(), 32 << 20) == 0);
        }
        set_mtime(roots.past / "d", 10);
        set_mtime(roots.past, 11);
        REQUIRE(roots.run("").has_value());
        CHECK(tree_differences(roots.past, roots.live) == test::kNoDifferences);
        CHECK(status_of(roots.live / "three").st_nlink == 3);
        CHECK(status_of(roots.live / "sparse").st_blocks * 512 < 1 << 20);
        CHECK(roots.nothing_temporary());
        REQUIRE(roots.run("").has_value());
        CHECK(roots.summary.changed == 0);
        CHECK(roots.summary.failed == 0);
    }

    TEST_CASE("hard links that have come apart are joined again") {
        Roots roots;
        write_file(roots.past / "a", "both");
        fs::create_hard_link(roots.past / "a", roots.past / "b");
        write_file(roots.live / "a", "both");
        write_file(roots.live / "b", "changed");
        REQUIRE(roots.run("").has_value());
        CHECK(status_of(roots.live / "a").st_ino == status_of(roots.live / "b").st_ino);
        CHECK(status_of(roots.live / "a").st_nlink == 2);
        CHECK(read_file(roots.live / "b") == "both");
        CHECK(roots.nothing_temporary());
    }

    TEST_CASE("a folder and a file in each other's place are conflicts, and both stay") {
        Roots roots;
        fs::create_directories(roots.past / "x");
        write_file(roots.past / "x" / "inside", "x");
        write_file(roots.past / "y", "file");
        write_file(roots.past / "z", "fine");
        write_file(roots.live / "x", "now a file");
        fs::create_directories(roots.live / "y");
        REQUIRE(roots.run("").has_value());
        CHECK(roots.actions().at("x") == "conflict");
        CHECK(roots.actions().at("y") == "conflict");
        CHECK(roots.actions().at("z") == "create");
        CHECK(roots.summary.failed == 2);
        CHECK(read_file(roots.live / "x") == "now a file");
        CHECK(fs::is_directory(roots.live / "y"));
    }

    TEST_CASE("other types are replaced") {
        Roots roots;
        write_file(roots.past / "a", "file");
        fs::create_symlink("target", roots.past / "b");
        fs::create_symlink("elsewhere", roots.live / "a");
        fs::create_symlink("other", roots.live / "b");
        REQUIRE(roots.run("").has_value());
        CHECK(fs::is_regular_file(fs::symlink_status(roots.live / "a")));
        CHECK(fs::read_symlink(roots.live / "b") == "target");
    }

    TEST_CASE("folders missing on the way are made as they were") {
        Roots roots;
        fs::create_directories(roots.past / "p" / "q");
        ::chmod((roots.past / "p").c_str(), 0700);
        ::chmod((roots.past / "p" / "q").c_str(), 0711);
        write_file(roots.past / "p" / "q" / "f", "deep");
        REQUIRE(roots.run("p/q/f").has_value());
        CHECK(read_file(roots.live / "p" / "q" / "f") == "deep");
        CHECK((status_of(roots.live / "p").st_mode & 07777) == 0700);
        CHECK((status_of(roots.live / "p" / "q").st_mode & 07777) == 0711);
    }

    TEST_CASE("to another place by another name") {
        Roots roots;
        fs::create_directories(roots.past / "p");
        write_file(roots.past / "p" / "f", "deep");
        REQUIRE(roots.run({{"p/f", "f"}, {"p", "copy/of/p"}}).has_value());
        CHECK(read_file(roots.live / "f") == "deep");
        CHECK(read_file(roots.live / "copy" / "of" / "p" / "f") == "deep");
    }

    TEST_CASE("links in the live tree never lead a restore out of it") {
        Roots roots;
        const fs::path outside = roots.scratch.path() / "outside";
        fs::create_directories(outside);
        write_file(outside / "f", "precious");
        fs::create_directories(roots.past / "d");
        write_file(roots.past / "d" / "f", "old");
        fs::create_symlink(outside, roots.live / "d");
        SUBCASE("as the folder that is restored") {
            REQUIRE(roots.run("d").has_value());
            CHECK(roots.actions().at("d") == "conflict");
        }
        SUBCASE("as a folder on the way") {
            REQUIRE(roots.run("d/f").has_value());
            CHECK(roots.summary.failed == 1);
        }
        CHECK(read_file(outside / "f") == "precious");
        CHECK(std::distance(fs::directory_iterator(outside), {}) == 1);
    }

    TEST_CASE("a link in the place of a file is replaced, not written through") {
        Roots roots;
        const fs::path outside = roots.scratch.path() / "outside";
        write_file(outside, "precious");
        write_file(roots.past / "f", "old");
        fs::create_symlink(outside, roots.live / "f");
        REQUIRE(roots.run("f").has_value());
        CHECK(read_file(outside) == "precious");
        CHECK(read_file(roots.live / "f") == "old");
    }

    TEST_CASE("a path that the snapshot does not have is not found") {
        Roots roots;
        write_file(roots.past / "a", "x");
        fs::create_symlink("a", roots.past / "link");
        for (const char* path : {"b", "a/b", "link/b", "../live"}) {
            CAPTURE(path);
            const auto result = roots.run(path);
            CHECK_FALSE(result.has_value());
        }
        CHECK(roots.run("b").error().kind == ErrorKind::kNotFound);
        CHECK(fs::is_empty(roots.live));
    }

    TEST_CASE("a dry run says what a run would do, and does nothing") {
        Roots roots;
        fs::create_directories(roots.past / "d");
        write_file(roots.past / "d" / "new", "x");
        fs::create_hard_link(roots.past / "d" / "new", roots.past / "d" / "newer");
        write_file(roots.past / "changed", "old");
        write_file(roots.live / "changed", "new");
        write_file(roots.past / "same", "same");
        write_file(roots.live / "same", "same");
        set_mtime(roots.past / "same", 3);
        set_mtime(roots.live / "same", 3);
        const auto before = test::capture(roots.live);
        const auto foreseen = roots.foresee("");
        CHECK(test::differences(before, test::capture(roots.live)) == test::kNoDifferences);
        REQUIRE(roots.run("").has_value());
        CHECK(roots.actions() == foreseen);
        CHECK(foreseen.at("d/newer") == "create");
        CHECK(foreseen.at("changed") == "replace");
        CHECK(foreseen.at("same") == "unchanged");
    }

    TEST_CASE("a dry run into a folder that does not exist") {
        Roots roots;
        fs::create_directories(roots.past / "d");
        write_file(roots.past / "d" / "f", "x");
        CHECK(roots.foresee("d", false) ==
              std::map<std::string, std::string>{{"d", "create"}, {"d/f", "create"}});
    }

    TEST_CASE("an interrupted run stops between files, and the next one goes on") {
        Roots roots;
        for (const char* name : {"a", "b", "c", "d"}) write_file(roots.past / name, name);
        int asked = 0;
        roots.options.interrupted = [&] { return ++asked > 4; };
        REQUIRE(roots.run("").has_value());
        CHECK(roots.summary.interrupted);
        CHECK(roots.summary.changed < 5);
        for (const auto& entry : fs::directory_iterator(roots.live)) {
            CHECK(read_file(entry.path()) == entry.path().filename().string());
        }
        roots.options.interrupted = {};
        REQUIRE(roots.run("").has_value());
        CHECK(tree_differences(roots.past, roots.live) == test::kNoDifferences);
    }

    TEST_CASE(
        "as somebody else: what is allowed is done, owners and set-user-ID are not, the rest is "
        "named") {
        if (::geteuid() != 0) return;
        Roots roots;
        write_file(roots.past / "mine", "mine", 04755);
        REQUIRE(::chown((roots.past / "mine").c_str(), 1234, 1234) == 0);
        REQUIRE(::chmod((roots.past / "mine").c_str(), 04755) == 0);
        write_file(roots.past / "secret", "secret", 0600);
        fs::create_directories(roots.live / "theirs");
        fs::create_directories(roots.past / "theirs");
        write_file(roots.past / "theirs" / "f", "x");
        ::chmod(roots.live.c_str(), 0777);
        ::chmod((roots.live / "theirs").c_str(), 0755);
        const test::Caller caller{1500, 1500, {}, 022};
        const std::string told = test::text_as(caller, [&] {
            roots.options.scope.owner = false;
            if (!roots.run("")) return std::string("failed");
            std::string text = std::to_string(roots.summary.owners_left) + ";";
            for (const auto& object : roots.objects)
                text += object.path + (object.error ? "!" : "") + ";";
            return text;
        });
        CAPTURE(told);
        CHECK(told.starts_with("1;"));
        CHECK(told.find("mine;") != std::string::npos);
        CHECK(told.find("secret!") != std::string::npos);
        CHECK(told.find("theirs/f!") != std::string::npos);
        CHECK(read_file(roots.live / "mine") == "mine");
        CHECK((status_of(roots.live / "mine").st_mode & 07777) == 0755);
        CHECK(status_of(roots.live / "mine").st_uid == 1500);
        CHECK_FALSE(fs::exists(roots.live / "secret"));
        CHECK(roots.nothing_temporary());
    }
}

TEST_SUITE("restore contents") {
    TEST_CASE("comparing sees the last byte, and holes as zeros") {
        const test::TempDir scratch("contents");
        const auto make = [&](const char* name, const std::string& text, off_t offset) {
            UniqueFd fd(
                ::open((scratch.path() / name).c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600));
            REQUIRE(::pwrite(fd.get(), text.data(), text.size(), offset) ==
                    static_cast<ssize_t>(text.size()));
            REQUIRE(::ftruncate(fd.get(), 4 << 20) == 0);
            return fd;
        };
        const UniqueFd hole = make("hole", "x", 3 << 20);
        const UniqueFd zeros = make("zeros", std::string(3 << 20, '\0') + "x", 0);
        const UniqueFd other = make("other", "y", (4 << 20) - 1);
        const std::uint64_t size = 4 << 20;
        CHECK(*same_contents(hole.get(), zeros.get(), size));
        CHECK_FALSE(*same_contents(hole.get(), other.get(), size));
        CHECK(*same_contents(hole.get(), other.get(), 1 << 20));
    }

    TEST_CASE("names are listed without following anything") {
        const test::TempDir scratch("names");
        for (const char* name : {"b", "a", "c"}) write_file(scratch.path() / name, "");
        const UniqueFd folder = open_folder(scratch.path());
        CHECK(*list_names(folder.get()) == std::vector<std::string>{"a", "b", "c"});
        CHECK(*list_names(folder.get()) == std::vector<std::string>{"a", "b", "c"});
        CHECK(open_beneath(folder.get(), "../x", O_PATH).error().code == EXDEV);
        CHECK(open_beneath(folder.get(), "missing", O_PATH).error().code == ENOENT);
    }
}
