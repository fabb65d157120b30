// File handles, as NFS servers keep them: good after a restart, stale after a deletion.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

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
    const std::string contents = contents_of("/proc/self/fd/" + std::to_string(fd));
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
    const std::string contents =
        contents_of("/proc/self/fd/" + std::to_string(directory) + "/" + name);
    ::close(directory);
    return contents;
}

void handles_last(FilesystemType type) {
    Pair& pair = shared_pair(type);
    pair.delete_all_snapshots();
    const fs::path live = pair.share() / "handles";
    make::directory(live);
    make::directory(live / "dir");
    make::file(live / "dir/file", "as it was");
    make::file(live / "deleted", "soon gone");
    const std::string token = pair.umbra().create_snapshot();
    const fs::path past = pair.umbra().snapshot_path(token) / "handles";
    const Handle live_file = handle_of(live / "dir/file"), past_file = handle_of(past / "dir/file");
    const Handle live_dir = handle_of(live / "dir"), past_dir = handle_of(past / "dir");
    const Handle live_deleted = handle_of(live / "deleted");
    const Handle past_deleted = handle_of(past / "deleted");
    make::file(live / "dir/file", "as it is!");
    CHECK(::unlink((live / "deleted").c_str()) == 0);
    CHECK(::rename((live / "dir").c_str(), (live / "moved").c_str()) == 0);

    const auto check_all = [&](const char* when) {
        INFO(std::string(when));
        CHECK(read_by(pair.share(), live_file) == "as it is!");
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

}  // namespace

UMBRA_ON_EACH_FILESYSTEM("file handles last", handles_last)

}  // namespace umbra::test
