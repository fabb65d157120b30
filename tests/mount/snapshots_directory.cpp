// The directory .snapshots itself: what it lists, and that snapshots are made and deleted in it.
#include <dirent.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <regex>

#include "tests/mount/make.h"
#include "tests/mount/pair.h"
#include "tests/mount/snapshots_suite.h"
#include "tests/support/scratch.h"
#include "tests/support/unprivileged.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> names_in(const fs::path& directory) {
    std::vector<std::string> names;
    DIR* stream = ::opendir(directory.c_str());
    REQUIRE_MESSAGE(stream != nullptr, "cannot list " << directory);
    while (const dirent* entry = ::readdir(stream)) {
        const std::string name = entry->d_name;
        if (name != "." && name != "..") names.push_back(name);
    }
    ::closedir(stream);
    std::sort(names.begin(), names.end());
    return names;
}

bool has(const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

std::vector<std::string> tokens_of(Pair& pair) {
    std::vector<std::string> tokens;
    for (const auto& snapshot : pair.umbra().snapshots()) tokens.push_back(snapshot.token);
    std::sort(tokens.begin(), tokens.end());
    return tokens;
}

int errno_of(long result) { return result == -1 ? errno : 0; }

void it_lists_the_snapshots(FilesystemType type) {
    Pair& pair = shared_pair(type);
    pair.delete_all_snapshots();
    const fs::path directory = pair.umbra().snapshots_path();
    CHECK(names_in(directory).empty());
    std::vector<std::string> made;
    for (int i = 0; i < 3; ++i) made.push_back(pair.umbra().create_snapshot());
    // Three within a second are three tokens.
    CHECK(std::is_sorted(made.begin(), made.end()));
    CHECK(std::adjacent_find(made.begin(), made.end()) == made.end());
    for (const auto& token : made) {
        CHECK(std::regex_match(
            token, std::regex("@GMT-\\d{4}\\.\\d\\d\\.\\d\\d-\\d\\d\\.\\d\\d\\.\\d\\d")));
    }
    CHECK(names_in(directory) == made);
    CHECK(tokens_of(pair) == made);

    struct stat status {};
    REQUIRE(::stat(directory.c_str(), &status) == 0);
    CHECK(S_ISDIR(status.st_mode));
    CHECK(::stat((directory / "..").c_str(), &status) == 0);
    struct stat root {};
    REQUIRE(::stat(pair.share().c_str(), &root) == 0);
    CHECK(status.st_ino == root.st_ino);
    CHECK(fs::weakly_canonical(directory / made[0] / "..") == directory);

    pair.umbra().delete_snapshot(made[1]);
    CHECK(names_in(directory) == std::vector<std::string>{made[0], made[2]});
    CHECK(errno_name(errno_of(::stat((directory / made[1]).c_str(), &status))) == "ENOENT");
    pair.delete_all_snapshots();
}

void it_is_in_no_listing(FilesystemType type) {
    Pair& pair = shared_pair(type);
    pair.delete_all_snapshots();
    make::file(pair.share() / "visible");
    const std::string token = pair.umbra().create_snapshot();
    for (int i = 0; i < 2; ++i) {
        const auto live = names_in(pair.share());
        CHECK(has(live, "visible"));
        CHECK_FALSE(has(live, ".snapshots"));
        CHECK_FALSE(has(live, ".umbra"));
        // Listed again after it was looked up, which may have put it into a cache.
        CHECK(fs::is_directory(pair.umbra().snapshots_path()));
    }
    const fs::path past = pair.umbra().snapshot_path(token);
    CHECK(names_in(past) == std::vector<std::string>{"visible"});
    struct stat status {};
    CHECK(errno_name(errno_of(::stat((past / ".snapshots").c_str(), &status))) == "ENOENT");
    CHECK(errno_name(errno_of(::stat((past / ".umbra").c_str(), &status))) == "ENOENT");
    CHECK(::unlink((pair.share() / "visible").c_str()) == 0);
    pair.delete_all_snapshots();
}

void mkdir_and_rmdir_make_and_delete(FilesystemType type) {
    Pair& pair = shared_pair(type);
    pair.delete_all_snapshots();
    const fs::path directory = pair.umbra().snapshots_path();
    make::file(pair.share() / "file", "before");
    REQUIRE(::mkdir((directory / "my label").c_str(), 0755) == 0);
    make::file(pair.share() / "file", "after!");
    const auto snapshots = pair.umbra().snapshots();
    REQUIRE(snapshots.size() == 1);
    CHECK(snapshots[0].label == "my label");
    CHECK(names_in(directory) == std::vector<std::string>{snapshots[0].token});
    CHECK(contents_of(directory / snapshots[0].token / "file") == "before");
    CHECK(errno_name(errno_of(::mkdir((directory / "my label").c_str(), 0755))) == "EEXIST");

    REQUIRE(::rmdir((directory / snapshots[0].token).c_str()) == 0);
    CHECK(pair.umbra().snapshots().empty());
    CHECK(names_in(directory).empty());
    CHECK(contents_of(directory / snapshots[0].token / "file") == "(ENOENT)");
    CHECK(errno_name(errno_of(::rmdir((directory / snapshots[0].token).c_str()))) == "ENOENT");
    CHECK(contents_of(pair.share() / "file") == "after!");
    CHECK(::unlink((pair.share() / "file").c_str()) == 0);
}

void bad_labels_are_refused(FilesystemType type) {
    Pair& pair = shared_pair(type);
    pair.delete_all_snapshots();
    const fs::path directory = pair.umbra().snapshots_path();
    // The form of a token is kept for tokens.
    for (const std::string& label :
         {std::string("@GMT-2020.01.01-00.00.00"), std::string(300, 'l'), std::string("new\nline"),
          std::string("bell\a"), std::string("\x7f")}) {
        const int error = errno_of(::mkdir((directory / label).c_str(), 0755));
        CHECK_MESSAGE(error != 0, "made a snapshot labelled '" << label << "'");
    }
    CHECK(errno_name(errno_of(::mkdir((directory / "a/b").c_str(), 0755))) == "ENOENT");
    CHECK(pair.umbra().snapshots().empty());
}

void nothing_else_is_done_in_it(FilesystemType type) {
    Pair& pair = shared_pair(type);
    pair.delete_all_snapshots();
    const std::string token = pair.umbra().create_snapshot();
    const fs::path directory = pair.umbra().snapshots_path();
    const std::string past = directory / token, live = pair.share() / "live",
                      name = directory / "x";
    make::file(live, "live");
    const struct {
        const char* name;
        int error;
    } attempts[] = {
        {"create", errno_of(::open(name.c_str(), O_CREAT | O_WRONLY, 0644))},
        {"mknod", errno_of(::mknod(name.c_str(), S_IFIFO | 0644, 0))},
        {"symlink", errno_of(::symlink("t", name.c_str()))},
        {"link", errno_of(::link(live.c_str(), name.c_str()))},
        {"rename into", errno_of(::rename(live.c_str(), name.c_str()))},
        {"rename of a snapshot", errno_of(::rename(past.c_str(), name.c_str()))},
        {"rename out", errno_of(::rename(past.c_str(), (live + "2").c_str()))},
        {"unlink", errno_of(::unlink(past.c_str()))},
        {"chmod", errno_of(::chmod(directory.c_str(), 0700))},
        {"chmod of a snapshot", errno_of(::chmod(past.c_str(), 0700))},
        {"touch", errno_of(::utimensat(AT_FDCWD, directory.c_str(), nullptr, 0))},
        {"rmdir", errno_of(::rmdir(directory.c_str()))},
        {"mkdir", errno_of(::mkdir(directory.c_str(), 0755))},
        {"rename of .snapshots", errno_of(::rename(directory.c_str(), (live + "2").c_str()))},
        {"rename over .snapshots", errno_of(::rename(live.c_str(), directory.c_str()))},
    };
    for (const auto& attempt : attempts) {
        CHECK_MESSAGE(attempt.error != 0, attempt.name << " succeeded");
        CHECK_MESSAGE(attempt.error != EIO, attempt.name << " failed with EIO");
        CHECK_MESSAGE(attempt.error != ENOSYS, attempt.name << " failed with ENOSYS");
    }
    CHECK(contents_of(live) == "live");
    CHECK(tokens_of(pair) == std::vector<std::string>{token});
    CHECK(names_in(pair.share()) == std::vector<std::string>{"live"});
    CHECK(::unlink(live.c_str()) == 0);
    pair.delete_all_snapshots();
}

void others_may_look_only(FilesystemType type) {
    Pair& pair = shared_pair(type);
    pair.delete_all_snapshots();
    const std::string token = pair.umbra().create_snapshot();
    const fs::path directory = pair.umbra().snapshots_path();
    const Caller other{kOtherId, kOtherId, {}, 022};
    const auto as_other = [&](const std::function<long()>& call) {
        return errno_name(call_as(other, call).error);
    };
    CHECK(as_other([&] { return ::mkdir((directory / "mine").c_str(), 0755); }) == "EACCES");
    CHECK(as_other([&] { return ::rmdir((directory / token).c_str()); }) == "EACCES");
    CHECK(call_as(other, [&] { return ::access((directory / token).c_str(), R_OK | X_OK); }) ==
          CallResult{0, 0});
    CHECK(tokens_of(pair) == std::vector<std::string>{token});
    pair.delete_all_snapshots();
}

// Only in the root of the share are these names anything special.
void below_the_root_the_names_are_ordinary(FilesystemType type) {
    Pair& pair = shared_pair(type);
    const fs::path sub = pair.share() / "sub";
    make::directory(sub);
    for (const char* name : {".snapshots", ".umbra"}) {
        REQUIRE(::mkdir((sub / name).c_str(), 0755) == 0);
        make::file(sub / name / "inner", "ordinary");
    }
    CHECK(names_in(sub) == std::vector<std::string>{".snapshots", ".umbra"});
    CHECK(pair.umbra().snapshots().empty());
    remove_tree(sub);
    CHECK_FALSE(fs::exists(sub));
}

}  // namespace

UMBRA_ON_EACH_FILESYSTEM(".snapshots lists the snapshots", it_lists_the_snapshots)
UMBRA_ON_EACH_FILESYSTEM(".snapshots is in no listing", it_is_in_no_listing)
UMBRA_ON_EACH_FILESYSTEM("mkdir and rmdir in .snapshots", mkdir_and_rmdir_make_and_delete)
UMBRA_ON_EACH_FILESYSTEM("bad labels for mkdir in .snapshots", bad_labels_are_refused)
UMBRA_ON_EACH_FILESYSTEM("nothing else is done in .snapshots", nothing_else_is_done_in_it)
UMBRA_ON_EACH_FILESYSTEM("others may only look into .snapshots", others_may_look_only)
UMBRA_ON_EACH_FILESYSTEM("the names below the root are ordinary",
                         below_the_root_the_names_are_ordinary)

}  // namespace umbra::test
