#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <set>
#include <string>

#include "snapstore/live_mount.h"
#include "snapstore/locate.h"
#include "tests/support/ram_image.h"
#include "tests/support/skip.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace fs = std::filesystem;

namespace {

void write_file(const fs::path& path, const std::string& text) {
    UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    REQUIRE(::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()));
}

ino_t inode_of(const fs::path& path) {
    struct stat status {};
    REQUIRE(::lstat(path.c_str(), &status) == 0);
    return status.st_ino;
}

// What must hold for the handles of any filesystem; `by_inode`: that can tell who has an inode
// number.
void check_handles(const fs::path& folder, bool by_inode) {
    auto mount = must(LiveMount::open(folder));
    int root = mount.root.get();
    CHECK(mount.root_id.inode == inode_of(folder));
    CHECK(must(mount.codec.identify(root)) == mount.root_id);

    write_file(folder / "file", "contents");
    REQUIRE(::symlink("file", (folder / "link").c_str()) == 0);
    REQUIRE(::mkdir((folder / "directory").c_str(), 0755) == 0);
    REQUIRE(::mkfifo((folder / "fifo").c_str(), 0644) == 0);
    std::set<ObjectId> seen;
    for (const char* name : {"file", "link", "directory", "fifo"}) {
        auto id = must(mount.codec.identify(root, name));
        CHECK(id.inode == inode_of(folder / name));
        seen.insert(id);
        auto fd = must(mount.open_object(id, O_PATH | O_NOFOLLOW));
        struct stat status {};
        REQUIRE(::fstatat(fd.get(), "", &status, AT_EMPTY_PATH) == 0);
        CHECK(status.st_ino == id.inode);
        CHECK(must(mount.codec.identify(fd.get())) == id);
        const auto found = mount.codec.find_inode(root, id.inode);
        if (by_inode) CHECK(must(found) == id);
        if (!by_inode) CHECK(code_of(found) == ESTALE);
        auto location = locate(mount, id, fd.get());
        CHECK(location.parent == mount.root_id);
        CHECK(location.name == name);
    }
    CHECK(seen.size() == 4);
    CHECK(code_of(mount.codec.identify(root, "missing")) == ENOENT);

    // The identity stays over a rename and a hard link, and opens what it names.
    auto id = must(mount.codec.identify(root, "file"));
    REQUIRE(::rename((folder / "file").c_str(), (folder / "directory" / "renamed").c_str()) == 0);
    REQUIRE(::link((folder / "directory" / "renamed").c_str(), (folder / "second").c_str()) == 0);
    CHECK(must(mount.codec.identify(root, "second")) == id);
    auto fd = must(mount.open_object(id, O_RDONLY));
    char text[20] = {};
    CHECK(::read(fd.get(), text, sizeof text) == 8);
    CHECK(std::string(text) == "contents");

    // What is gone cannot be opened, nor is its identity given to another object.
    fd.reset();
    fs::remove(folder / "second");
    fs::remove(folder / "directory" / "renamed");
    CHECK(code_of(mount.open_object(id, O_RDONLY)) == ESTALE);
    CHECK(code_of(mount.codec.find_inode(root, id.inode)) == ESTALE);
    for (const std::uint64_t nobodys : {0ull, 1ull << 31, 1ull << 41, ~0ull})
        CHECK(code_of(mount.codec.find_inode(root, nobodys)) == ESTALE);
    for (int i = 0; i < 50; ++i) {
        write_file(folder / "next", "other");
        CHECK(must(mount.codec.identify(root, "next")) != id);
        CHECK(code_of(mount.open_object(id, O_RDONLY)) == ESTALE);
        fs::remove(folder / "next");
    }
    CHECK(code_of(mount.open_object({id.inode, id.generation + 1}, O_RDONLY)) == ESTALE);
    CHECK(code_of(mount.open_object({}, O_RDONLY)) == ESTALE);
}

}  // namespace

TEST_SUITE("file handle") {
    TEST_CASE("objects of tmpfs are identified and opened without a table") {
        TempDir folder;
        check_handles(folder.path(), false);
    }

    TEST_CASE("objects of ext4, XFS and btrfs are identified and opened without a table") {
        for (FilesystemType type : all_filesystem_types()) {
            UMBRA_SKIP_IF(missing_for_image(type));
            INFO(to_string(type));
            RamImage image(type, 64);
            fs::create_directory(image.path() / "share");
            check_handles(image.path() / "share", true);
        }
    }

    TEST_CASE("a filesystem without usable handles is refused") {
        auto mount = LiveMount::open("/proc/self");
        REQUIRE_FALSE(mount.has_value());
        CHECK(mount.error().message.find("/proc/self") != std::string::npos);
    }

    TEST_CASE("what lies on another filesystem is not identified") {
        UMBRA_SKIP_IF(missing_for_image(FilesystemType::Ext4));
        RamImage image(FilesystemType::Ext4, 32);
        auto mount = must(LiveMount::open(scratch_directory()));
        UniqueFd other(::open(image.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        CHECK(code_of(mount.codec.identify(other.get())) == EXDEV);
    }
}

TEST_SUITE("live mount") {
    TEST_CASE(
        "it sees the folder itself, whatever is mounted on or in it, and changes no access time") {
        UMBRA_SKIP_IF(missing_for_image(FilesystemType::Ext4));
        RamImage image(FilesystemType::Ext4, 32);
        fs::path share = image.path() / "share";
        fs::create_directory(share);
        write_file(share / "file", "x");
        auto mount = must(LiveMount::open(share));
        struct stat before {
        }, after{};
        REQUIRE(::stat((share / "file").c_str(), &before) == 0);
        ::usleep(20000);
        auto fd =
            must(mount.open_object(must(mount.codec.identify(mount.root.get(), "file")), O_RDONLY));
        char byte = 0;
        CHECK(::read(fd.get(), &byte, 1) == 1);
        REQUIRE(::stat((share / "file").c_str(), &after) == 0);
        CHECK(before.st_atim.tv_sec == after.st_atim.tv_sec);
        CHECK(before.st_atim.tv_nsec == after.st_atim.tv_nsec);
    }

    TEST_CASE("a missing folder, a file and a symlink are told apart") {
        TempDir directory;
        write_file(directory.path() / "file", "x");
        CHECK(LiveMount::open(directory.path() / "missing").error().kind == ErrorKind::kNotFound);
        CHECK(LiveMount::open(directory.path() / "file" / "below").error().kind ==
              ErrorKind::kNotFound);
        CHECK(LiveMount::open(directory.path() / "file").error().kind == ErrorKind::kUsage);
    }
}
