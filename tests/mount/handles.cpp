// File handles, as NFS servers keep them: good after a restart, stale after a deletion.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <vector>

#include "tests/mount/make.h"
#include "tests/mount/pair.h"
#include "tests/mount/snapshots_suite.h"
#include "tests/support/scratch.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;

struct Handle {
    file_handle head;
    unsigned char bytes[MAX_HANDLE_SZ];
};

Handle handle_of(const fs::path& path) {
    Handle handle{};
    handle.head.handle_bytes = MAX_HANDLE_SZ;
    int mount_id = 0;
    const int result = ::name_to_handle_at(AT_FDCWD, path.c_str(), &handle.head, &mount_id, 0);
    REQUIRE_MESSAGE(result == 0, "name_to_handle_at " << path << ": " << errno_name(errno));
    return handle;
}

// What is read through the handle, or errno's name in brackets.
std::string read_by(const fs::path& mount, Handle handle) {
    const int root = ::open(mount.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int fd = ::open_by_handle_at(root, &handle.head, O_RDONLY);
    const int error = errno;
    ::close(root);
    if (fd < 0) return "(" + errno_name(error) + ")";
    std::string contents = contents_of("/proc/self/fd/" + std::to_string(fd));
    ::close(fd);
    return contents;
}

// Names found below an open directory: a handle must lead to what lies there, too.
std::string read_below(const fs::path& mount, Handle handle, const char* name) {
    const int root = ::open(mount.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    const int directory = ::open_by_handle_at(root, &handle.head, O_RDONLY | O_DIRECTORY);
    const int error = errno;
    ::close(root);
    if (directory < 0) return "(" + errno_name(error) + ")";
    std::string contents = contents_of("/proc/self/fd/" + std::to_string(directory) + "/" + name);
    ::close(directory);
    return contents;
}

// As after a reboot: the kernel remembers of no unused file where it is.
void forget_names() {
    ::sync();
    const int caches = ::open("/proc/sys/vm/drop_caches", O_WRONLY | O_CLOEXEC);
    if (caches < 0) return;  // in a container
    const ssize_t written = ::write(caches, "2", 1);
    ::close(caches);
    CHECK(written == 1);
}

void handles_last(FilesystemType type) {
    Pair& pair = shared_pair(type);
    pair.delete_all_snapshots();
    const fs::path live = pair.share() / "handles";
    make::directory(live);
    make::directory(live / "dir");
    make::file(live / "dir/file", "as it was");
    make::file(live / "dir/second", "another file");
    make::file(live / "deleted", "soon gone");
    const std::string token = pair.umbra().create_snapshot();
    const fs::path past = pair.umbra().snapshot_path(token) / "handles";
    const Handle live_file = handle_of(live / "dir/file"), past_file = handle_of(past / "dir/file");
    const Handle live_dir = handle_of(live / "dir"), past_dir = handle_of(past / "dir");
    const Handle live_second = handle_of(live / "dir/second");
    const Handle live_deleted = handle_of(live / "deleted");
    const Handle past_deleted = handle_of(past / "deleted");
    make::file(live / "dir/file", "as it is!");
    CHECK(::unlink((live / "deleted").c_str()) == 0);
    CHECK(::rename((live / "dir").c_str(), (live / "moved").c_str()) == 0);

    const auto check_all = [&](const char* when) {
        INFO(std::string(when));
        CHECK(read_by(pair.share(), live_file) == "as it is!");
        CHECK(read_by(pair.share(), live_second) == "another file");
        CHECK(read_by(pair.share(), past_file) == "as it was");
        CHECK(read_below(pair.share(), live_dir, "file") == "as it is!");
        CHECK(read_below(pair.share(), past_dir, "file") == "as it was");
        CHECK(read_below(pair.share(), live_dir, "../moved/file") == "as it is!");
        CHECK(read_below(pair.share(), past_dir, "../dir/file") == "as it was");
        CHECK(read_by(pair.share(), past_deleted) == "soon gone");
    };
    check_all("at once");
    pair.umbra().remount();
    check_all("after a remount");
    pair.umbra().unmount();
    forget_names();
    pair.umbra().mount();
    check_all("after a remount, with no name remembered");
    CHECK(read_by(pair.share(), live_deleted) == "(ESTALE)");
    pair.umbra().kill_daemon();
    pair.umbra().mount();
    check_all("after the daemon was killed");

    // The inode of what was deleted may be used again; the handle must not lead to the new file.
    for (int i = 0; i < 50; ++i) make::file(live / ("reusing" + std::to_string(i)), "another");
    CHECK(read_by(pair.share(), live_deleted) == "(ESTALE)");
    pair.umbra().delete_snapshot(token);
    CHECK(read_by(pair.share(), past_file) == "(ESTALE)");
    CHECK(read_by(pair.share(), past_deleted) == "(ESTALE)");
    CHECK(read_by(pair.share(), live_file) == "as it is!");
    remove_tree(live);
    CHECK(read_by(pair.share(), live_file) == "(ESTALE)");
}

// The generation of an inode below, as its own file handle has it (snapstore/file_handle.cpp).
std::uint32_t generation_of(FilesystemType type, int directory, const char* name) {
    Handle handle{};
    handle.head.handle_bytes = MAX_HANDLE_SZ;
    int mount_id = 0;
    REQUIRE(::name_to_handle_at(directory, name, &handle.head, &mount_id, 0) == 0);
    const std::size_t place = type == FilesystemType::Ext4  ? 4
                              : type == FilesystemType::Xfs ? 8
                                                            : 16;
    std::uint32_t generation = 0;
    std::memcpy(&generation, handle.head.f_handle + place, sizeof generation);
    return generation;
}

// A handle of the mount as anybody could make one who knows inode number and generation of what
// lies below.
Handle forged(FilesystemType type, int directory, const char* name, std::uint64_t snapshot) {
    struct stat status {};
    REQUIRE(::fstatat(directory, name, &status, AT_SYMLINK_NOFOLLOW) == 0);
    const std::uint64_t node = snapshot << 42 | status.st_ino;
    const std::array<std::uint32_t, 3> words = {static_cast<std::uint32_t>(node >> 32),
                                                static_cast<std::uint32_t>(node),
                                                generation_of(type, directory, name)};
    Handle handle{};
    handle.head.handle_bytes = sizeof words;
    handle.head.handle_type = 0x81;  // FILEID_INO64_GEN
    std::memcpy(handle.head.f_handle, words.data(), sizeof words);
    return handle;
}

void handles_stay_inside(FilesystemType type) {
    Pair& pair = shared_pair(type);
    pair.delete_all_snapshots();
    make::directory(pair.share() / "inside");
    make::file(pair.share() / "inside/file", "inside");
    make::file(pair.share() / "inside/gone", "in limbo");
    const std::uint64_t snapshot = [&] {
        pair.umbra().create_snapshot();
        return static_cast<std::uint64_t>(pair.umbra().snapshots().front().epoch);
    }();
    CHECK(::unlink((pair.share() / "inside/gone").c_str()) == 0);
    make::directory(pair.plain() / "outside");
    make::file(pair.plain() / "outside/file", "not in the share");
    // Looked at through the folder itself.
    const int folder = pair.folder_below();
    const int plain = ::open(pair.plain().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    std::string limbo;
    for (const auto& entry : fs::recursive_directory_iterator(
             "/proc/self/fd/" + std::to_string(folder) + "/.umbra/limbo")) {
        if (entry.is_regular_file())
            limbo =
                entry.path().lexically_relative("/proc/self/fd/" + std::to_string(folder)).string();
    }
    REQUIRE_FALSE(limbo.empty());
    const Handle inside = forged(type, folder, "inside/file", 0);
    const Handle inside_past = forged(type, folder, "inside/file", snapshot);
    std::vector<Handle> refused;
    for (const std::uint64_t number : {std::uint64_t{0}, snapshot}) {
        for (const char* name : {"outside/file", "outside", "."})
            refused.push_back(forged(type, plain, name, number));
        for (const char* name :
             {".umbra", ".umbra/volume.toml", ".umbra/limbo", ".umbra/diff", ".."})
            refused.push_back(forged(type, folder, name, number));
    }
    refused.push_back(forged(type, folder, limbo.c_str(), 0));
    ::close(plain);

    const auto check_all = [&](const char* when) {
        INFO(std::string(when));
        CHECK(read_by(pair.share(), inside) == "inside");
        CHECK(read_by(pair.share(), inside_past) == "inside");
        for (std::size_t i = 0; i < refused.size(); ++i) {
            CAPTURE(i);
            CHECK(read_by(pair.share(), refused[i]) == "(ESTALE)");
        }
    };
    check_all("at once");
    pair.umbra().unmount();
    forget_names();
    pair.umbra().mount();
    check_all("with no name remembered");
    remove_tree(pair.share() / "inside");
    remove_tree(pair.plain() / "outside");
}

}  // namespace

UMBRA_ON_EACH_FILESYSTEM("file handles last", handles_last)
UMBRA_ON_EACH_FILESYSTEM("file handles lead nowhere outside of the share", handles_stay_inside)

}  // namespace umbra::test
