// A share exported by Debian's nfs-ganesha and used by libnfs's tools.
#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <map>
#include <thread>

#include "tests/share/nfs_support.h"
#include "tests/support/random.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kLarge = 24 << 20;

std::size_t count(const std::vector<std::string>& names, const std::string& name) {
    return static_cast<std::size_t>(std::count(names.begin(), names.end(), name));
}

// Is the snapshot listed so often, in the end? A list with one in it that has gone is an error.
bool comes_to_be_listed(NfsShare& nfs, const std::string& token, std::size_t times) {
    for (int second = 0; second < 30; ++second) {
        try {
            if (count(nfs.server().names(nfs.mount().snapshots_path()), token) == times)
                return true;
        } catch (const std::runtime_error&) {
        }
        std::this_thread::sleep_for(std::chrono::seconds(1));
    }
    return false;
}

TEST_SUITE_BEGIN("nfs");

TEST_CASE("files go to and fro whole, and snapshots are browsed") {
    UMBRA_NEEDS_NFS();
    Random random(announce_seed("nfs"));
    NfsShare nfs;
    TempDir local("nfs-client");
    const std::string large = random.bytes(kLarge), small = random.bytes(5000);
    write_file(local.path() / "large", large);
    write_file(local.path() / "small", small);

    for (const char* name : {"large", "small"}) {
        const auto copied = nfs.server().run(
            {"/usr/bin/nfs-cp", (local.path() / name).string(), Ganesha::url(nfs.path(name))});
        REQUIRE_MESSAGE(copied.exit_code == 0, copied.err << nfs.server().log());
    }
    CHECK(contents_of(nfs.path("large")) == large);
    CHECK(contents_of(nfs.path("small")) == small);

    const std::string token = nfs.mount().create_snapshot();
    const std::string changed = random.bytes(kLarge);
    write_file(nfs.path("large"), changed);
    REQUIRE(::unlink(nfs.path("small").c_str()) == 0);
    CHECK(nfs.server().contents(nfs.path("large")) == changed);

    const fs::path past = nfs.mount().snapshot_path(token);
    CHECK(count(nfs.server().names(nfs.mount().snapshots_path()), token) == 1);
    const auto in_past = nfs.server().names(past);
    CHECK(count(in_past, "large") == 1);
    CHECK(count(in_past, "small") == 1);
    CHECK(nfs.server().contents(past / "large") == large);
    CHECK(nfs.server().contents(past / "small") == small);

    // Nobody writes into the past.
    const auto refused = nfs.server().run(
        {"/usr/bin/nfs-cp", (local.path() / "small").string(), Ganesha::url(past / "new")});
    CHECK(refused.exit_code != 0);
    CHECK(contents_of(past / "small") == small);

    // What comes and goes is seen once the server looks again.
    const std::string later = nfs.mount().create_snapshot();
    CHECK(comes_to_be_listed(nfs, later, 1));
    nfs.mount().delete_snapshot(token);
    CHECK(comes_to_be_listed(nfs, token, 0));
    CHECK(comes_to_be_listed(nfs, later, 1));
    CHECK(nfs.server().run({"/usr/bin/nfs-cat", Ganesha::url(past / "large")}).exit_code != 0);
}

TEST_CASE("10,000 entries are listed once each while the directory changes") {
    UMBRA_NEEDS_NFS();
    constexpr int kEntries = 10'000;
    constexpr std::size_t kListings = 3;
    NfsShare nfs;
    const fs::path directory = nfs.path("many");
    REQUIRE(::mkdir(directory.c_str(), 0755) == 0);
    for (int i = 0; i < kEntries; ++i) write_file(directory / ("stays-" + std::to_string(i)), "");
    nfs.mount().create_snapshot();

    std::atomic<bool> done = false;
    std::atomic<int> changes = 0;
    std::thread changer([&] {
        for (int i = 0; !done; i = (i + 1) % 500) {
            const fs::path turning = directory / ("turns-" + std::to_string(i));
            const fs::path renamed = directory / ("renamed-" + std::to_string(i));
            write_file(turning, "");
            ::rename(turning.c_str(), renamed.c_str());
            if (i % 2 == 1) ::unlink(renamed.c_str());
            ++changes;
            ::usleep(1000);
        }
    });
    std::vector<std::vector<std::string>> listings;
    std::string failure;
    const int before = changes;
    // Ganesha fails a listing with ESTALE or ENOENT when a file goes between its own look at the
    // directory and that at the file, on any filesystem; clients ask again.
    for (int left = 10 * kListings; left > 0 && listings.size() < kListings; --left) {
        try {
            listings.push_back(nfs.server().names(directory));
        } catch (const std::exception& error) {
            failure = error.what();
            if (failure.find("NFS3ERR_STALE") == std::string::npos &&
                failure.find("NFS3ERR_NOENT") == std::string::npos)
                break;
        }
    }
    const bool changed_meanwhile = changes > before;
    done = true;
    changer.join();
    REQUIRE_MESSAGE(listings.size() == kListings, failure);
    CHECK(changed_meanwhile);
    for (const auto& names : listings) {
        std::map<std::string, int> times;
        for (const auto& name : names) ++times[name];
        int missing = 0, repeated = 0;
        for (int i = 0; i < kEntries; ++i)
            if (times["stays-" + std::to_string(i)] == 0) ++missing;
        for (const auto& [name, number] : times)
            if (number > 1 && name.starts_with("stays-")) ++repeated;
        CHECK(missing == 0);
        CHECK(repeated == 0);
    }
}

// The server has gone, the share was unmounted, the kernel has forgotten everything.
void start_all_anew(NfsShare& nfs) {
    nfs.server().stop();
    nfs.mount().unmount();
    drop_kernel_caches();
    nfs.mount_as_before();
    nfs.server().start();
}

TEST_CASE("a client's open file survives a restart of daemon and server") {
    UMBRA_NEEDS_NFS();
    Random random(announce_seed("nfs"));
    NfsShare nfs;
    const std::string bytes = random.bytes(kLarge);
    write_file(nfs.path("file"), bytes);
    const std::string token = nfs.mount().create_snapshot();
    SlowReader live(nfs.server(), nfs.path("file"));
    SlowReader past(nfs.server(), nfs.mount().snapshot_path(token) / "file");
    std::string live_bytes = live.read(1 << 20), past_bytes = past.read(1 << 20);
    start_all_anew(nfs);
    CHECK(live.finish(live_bytes) == 0);
    CHECK(past.finish(past_bytes) == 0);
    CHECK(live_bytes == bytes);
    CHECK(past_bytes == bytes);
}

// XFS uses inodes again at once.
TEST_CASE("the handle of a deleted file leads to no other file") {
    UMBRA_NEEDS_NFS();
    Random random(announce_seed("nfs"));
    NfsShare nfs(FilesystemType::Xfs);
    const std::string bytes = random.bytes(kLarge), other = random.bytes(kLarge);
    write_file(nfs.path("file"), bytes);
    struct stat deleted {};
    REQUIRE(::stat(nfs.path("file").c_str(), &deleted) == 0);
    SlowReader reader(nfs.server(), nfs.path("file"));
    std::string got = reader.read(1 << 20);
    nfs.server().stop();
    REQUIRE(::unlink(nfs.path("file").c_str()) == 0);
    nfs.mount().unmount();
    drop_kernel_caches();
    nfs.mount_as_before();
    // The inode is used again, by a file as large.
    bool reused = false;
    for (int i = 0; i < 200 && !reused; ++i) {
        const fs::path file = nfs.path("other" + std::to_string(i));
        write_file(file, "");
        struct stat status {};
        REQUIRE(::stat(file.c_str(), &status) == 0);
        reused = status.st_ino == deleted.st_ino;
        if (reused) write_file(file, other);
    }
    CHECK(reused);
    nfs.server().start();
    CHECK(reader.finish(got) != 0);
    CHECK(got.size() < bytes.size());
    CHECK(bytes.starts_with(got));
}

TEST_CASE("what share nfs prints is what was asked for") {
    UMBRA_NEEDS_MOUNTS();
    Share share(FilesystemType::Ext4);
    const std::string path = share.path().string();
    const std::string restricted = must_run({umbra_binary(), "share", "nfs", path, "--clients",
                                             "10.1.0.0/16,box.example", "--read-only"});
    CHECK(restricted.find("    Access_Type = None;") != std::string::npos);
    CHECK(restricted.find("Clients = 10.1.0.0/16, box.example;") != std::string::npos);
    CHECK(restricted.find("        Access_Type = RO;") != std::string::npos);
    const std::string kernel = must_run({umbra_binary(), "share", "nfs", path, "--kernel"});
    CHECK(kernel.find(path + " *(rw,fsid=") != std::string::npos);
    // Nothing that would end a value and begin another.
    const auto refused =
        run({umbra_binary(), "share", "nfs", path, "--clients", "*; Squash = No_Root_Squash"});
    CHECK(refused.exit_code == 2);
}

TEST_SUITE_END();

}  // namespace
}  // namespace umbra::test
