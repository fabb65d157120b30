// A client's open handle, over everything that may happen to the daemon below the NFS server.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "tests/share/nfs_client.h"
#include "tests/share/nfs_support.h"
#include "tests/support/random.h"

namespace umbra::test {
namespace {

constexpr std::size_t kSize = 3 << 20;
constexpr std::size_t kPart = 128 << 10;

// Clients come as nobody.
void write_for_all(const std::filesystem::path& file, const std::string& contents) {
    write_file(file, contents);
    REQUIRE(::chmod(file.c_str(), 0666) == 0);
}

// A client reads a live file and one of a snapshot, and writes, before and after `happens`.
template <typename Happens>
void handles_outlive(Happens happens) {
    Random random(announce_seed("nfs"));
    NfsShare nfs;
    const std::string before = random.bytes(kSize), after = random.bytes(kPart);
    write_for_all(nfs.path("file"), before);
    const std::string token = nfs.mount().create_snapshot();
    NfsFile live(nfs.server(), nfs.path("file"), O_RDWR);
    NfsFile past(nfs.server(), nfs.mount().snapshot_path(token) / "file", O_RDONLY);
    std::string bytes;
    REQUIRE(live.write(0, after) == 0);
    for (int round = 1; round <= 2; ++round) {
        CAPTURE(round);
        happens(nfs);
        const std::size_t place = static_cast<std::size_t>(round) * kPart;
        REQUIRE(live.read(0, kPart, bytes) == 0);
        CHECK(bytes == after);
        CHECK(live.read(place, kPart, bytes) == 0);
        CHECK(bytes == before.substr(place, kPart));
        CHECK(live.write(place, after) == 0);
        for (const std::size_t part : {std::size_t{0}, place}) {
            CHECK(past.read(part, kPart, bytes) == 0);
            CHECK(bytes == before.substr(part, kPart));
        }
    }
    CHECK(contents_of(nfs.path("file")) == after + after + after + before.substr(3 * kPart));
    CHECK(contents_of(nfs.mount().snapshot_path(token) / "file") == before);
}

TEST_SUITE_BEGIN("nfs");

TEST_CASE("a client's open handle outlives umbra restart, and the server goes on") {
    UMBRA_NEEDS_NFS();
    handles_outlive([](NfsShare& nfs) {
        must_run({umbra_binary(), "restart", nfs.share().path().string()});
        drop_kernel_caches();
    });
}

TEST_CASE("a client's open handle outlives an unmount") {
    UMBRA_NEEDS_NFS();
    handles_outlive([](NfsShare& nfs) {
        nfs.server().stop();
        nfs.mount().unmount();
        drop_kernel_caches();
        nfs.mount_as_before();
        nfs.server().start();
    });
}

TEST_CASE("a client's open handle outlives a killed daemon") {
    UMBRA_NEEDS_NFS();
    handles_outlive([](NfsShare& nfs) {
        nfs.mount().kill_daemon();
        nfs.server().stop();
        nfs.mount_as_before();
        nfs.server().start();
    });
}

// A mount that somebody still has open keeps its device's number, which Ganesha takes into handles:
// the next mount has another one, and what clients hold leads nowhere. It must not lead elsewhere.
TEST_CASE("a share that is mounted again beside a server of the dead mount is lost to clients") {
    UMBRA_NEEDS_NFS();
    NfsShare nfs;
    write_for_all(nfs.path("file"), "contents");
    NfsFile file(nfs.server(), nfs.path("file"), O_RDWR);
    std::string bytes;
    REQUIRE(file.read(0, 100, bytes) == 0);
    nfs.mount().kill_daemon();
    nfs.mount().remount();
    nfs.server().stop();
    nfs.server().start();
    CHECK(file.read(0, 100, bytes) != 0);
    CHECK(file.write(0, "changed") != 0);
    CHECK(contents_of(nfs.path("file")) == "contents");
    NfsFile opened_anew(nfs.server(), nfs.path("file"), O_RDONLY);
    CHECK(opened_anew.read(0, 100, bytes) == 0);
    CHECK(bytes == "contents");
}

TEST_SUITE_END();

}  // namespace
}  // namespace umbra::test
