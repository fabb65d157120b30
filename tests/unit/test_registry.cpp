#include <doctest/doctest.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "fuse/daemon_options.h"
#include "fuse/mount_table.h"
#include "fuse/registry.h"
#include "fuse/share_path.h"
#include "snapstore/unique_fd.h"
#include "tests/support/scratch.h"

using namespace umbra;
namespace fs = std::filesystem;

namespace {

MountedShare sample(const std::string& uuid, const std::string& share) {
    return {uuid, share, share, share + "/.umbra/diff", ::getpid(), 1700000000, "rw"};
}

// Publishes from another process, which lives until it is killed.
class OtherDaemon {
   public:
    OtherDaemon(const Registry& registry, MountedShare mounted) {
        int ends[2];
        REQUIRE(::pipe(ends) == 0);
        pid_ = ::fork();
        REQUIRE(pid_ >= 0);
        if (pid_ == 0) {
            mounted.pid = ::getpid();
            const auto entry = registry.publish(mounted);
            (void)!::write(ends[1], entry ? "y" : "n", 1);
            ::pause();
            ::_exit(0);
        }
        char answer = 0;
        published_ = ::read(ends[0], &answer, 1) == 1 && answer == 'y';
        ::close(ends[0]);
        ::close(ends[1]);
    }
    ~OtherDaemon() { kill(); }
    bool published() const { return published_; }
    void kill() {
        if (pid_ < 0) return;
        ::kill(pid_, SIGKILL);
        ::waitpid(pid_, nullptr, 0);
        pid_ = -1;
    }

   private:
    pid_t pid_ = -1;
    bool published_ = false;
};

}  // namespace

TEST_SUITE("registry") {
    TEST_CASE("an entry is there as long as its owner, and says what was published") {
        const test::TempDir directory("registry");
        const Registry registry((directory.path() / "run").string());
        CHECK(registry.mounted()->empty());
        {
            MountedShare odd = sample("b", "/srv/\xff odd");
            odd.mountpoint = "/mnt/elsewhere";
            const auto second = registry.publish(odd);
            const auto first = registry.publish(sample("a", "/srv/a"));
            REQUIRE(first.has_value());
            REQUIRE(second.has_value());
            const auto all = registry.mounted();
            REQUIRE(all->size() == 2);
            CHECK(all->at(0).share == "/srv/a");
            CHECK(all->at(0).in_place());
            CHECK(all->at(1).share == "/srv/\xff odd");
            CHECK(all->at(1).mountpoint == "/mnt/elsewhere");
            CHECK_FALSE(all->at(1).in_place());
            CHECK(all->at(1).pid == ::getpid());
            CHECK(all->at(1).mounted_since == 1700000000);
            CHECK(all->at(1).diff_area == "/srv/\xff odd/.umbra/diff");
        }
        CHECK(registry.mounted()->empty());
        struct stat status {};
        REQUIRE(::stat(registry.directory().c_str(), &status) == 0);
        CHECK((status.st_mode & 07777) == 0755);
    }

    TEST_CASE("a volume is published once") {
        const test::TempDir directory("registry");
        const Registry registry(directory.path().string());
        OtherDaemon other(registry, sample("a", "/srv/a"));
        REQUIRE(other.published());
        const auto second = registry.publish(sample("a", "/srv/a"));
        REQUIRE_FALSE(second.has_value());
        CHECK(second.error().kind == ErrorKind::kRefused);
        CHECK(registry.mounted()->size() == 1);
    }

    TEST_CASE("what a killed daemon leaves is not listed, is cleaned, and can be published again") {
        const test::TempDir directory("registry");
        const Registry registry(directory.path().string());
        OtherDaemon dead(registry, sample("a", "/srv/a"));
        OtherDaemon living(registry, sample("b", "/srv/b"));
        std::ofstream(registry.socket_path("a")) << "";
        dead.kill();
        REQUIRE(registry.mounted()->size() == 1);
        CHECK(registry.mounted()->front().uuid == "b");
        REQUIRE(registry.left_behind()->size() == 1);
        CHECK(registry.left_behind()->front().uuid == "a");
        SUBCASE("cleaned") {
            registry.clean();
            CHECK(registry.left_behind()->empty());
            CHECK_FALSE(fs::exists(registry.socket_path("a")));
            CHECK(registry.mounted()->size() == 1);
        }
        SUBCASE("published again") {
            const auto again = registry.publish(sample("a", "/srv/a"));
            REQUIRE(again.has_value());
            CHECK(registry.mounted()->size() == 2);
            registry.clean();
            CHECK(registry.mounted()->size() == 2);
        }
    }

    TEST_CASE("a living daemon's entry is one in every pid namespace") {
        const test::TempDir directory("registry");
        const Registry registry(directory.path().string());
        OtherDaemon living(registry, sample("a", "/srv/a"));
        REQUIRE(living.published());
        if (::geteuid() != 0) return;  // only root makes namespaces
        const pid_t outer = ::fork();
        if (outer == 0) {
            // Its children live in the new one, where the daemon has no number.
            if (::unshare(CLONE_NEWPID) != 0) ::_exit(2);
            const pid_t inner = ::fork();
            if (inner == 0) {
                registry.clean();
                ::_exit(registry.mounted()->size() == 1 ? 0 : 1);
            }
            int status = -1;
            ::waitpid(inner, &status, 0);
            ::_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 3);
        }
        int status = -1;
        REQUIRE(::waitpid(outer, &status, 0) == outer);
        CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
        CHECK(registry.mounted()->size() == 1);
    }

    TEST_CASE("who may only read an entry does not make it live") {
        const test::TempDir directory("registry");
        const Registry registry(directory.path().string());
        { OtherDaemon dead(registry, sample("a", "/srv/a")); }
        const UniqueFd stranger(
            ::open((directory.path() / "a.json").c_str(), O_RDONLY | O_CLOEXEC));
        struct flock all {};
        all.l_type = F_RDLCK;
        REQUIRE(::fcntl(stranger.get(), F_OFD_SETLK, &all) == 0);
        REQUIRE(::flock(stranger.get(), LOCK_EX) == 0);
        CHECK(registry.mounted()->empty());
        CHECK(registry.publish(sample("a", "/srv/a")).has_value());
    }

    TEST_CASE("an entry that is adopted says what its daemon says now, and stays a living one's") {
        const test::TempDir directory("registry");
        const Registry registry(directory.path().string());
        MountedShare mounted = sample("a", "/srv/a");
        auto published = registry.publish(mounted);
        REQUIRE(published.has_value());
        UniqueFd left = std::move(*published).release();
        mounted.options = "ro";
        const RegistryEntry adopted = registry.adopt(mounted, std::move(left));
        REQUIRE(registry.mounted()->size() == 1);
        CHECK(registry.mounted()->front().options == "ro");
    }

    TEST_CASE("files that are no entries are passed over") {
        const test::TempDir directory("registry");
        const Registry registry(directory.path().string());
        std::ofstream(directory.path() / "x.json") << "{\"uuid\": 3}";
        std::ofstream(directory.path() / "y.json") << "not json";
        std::ofstream(directory.path() / "z.json") << std::string(1 << 20, '[');
        CHECK(registry.mounted()->empty());
        CHECK(registry.left_behind()->empty());
        CHECK_FALSE(mounted_share_from_json(nlohmann::json::array()).has_value());
        CHECK_FALSE(mounted_share_from_json({{"uuid", "a"}}).has_value());
    }
}

TEST_SUITE("share path") {
    TEST_CASE("within is by whole components") {
        CHECK(path_is_within("/a/b", "/a"));
        CHECK(path_is_within("/a", "/a"));
        CHECK(path_is_within("/a", "/"));
        CHECK_FALSE(path_is_within("/ab", "/a"));
        CHECK_FALSE(path_is_within("/", "/a"));
    }

    TEST_CASE("a canonical path has no links as far as it exists, and the rest as written") {
        const test::TempDir directory("paths");
        const fs::path base = fs::canonical(directory.path());
        fs::create_directories(base / "real" / "inner");
        fs::create_symlink("real", base / "link");
        fs::create_symlink("nowhere", base / "real" / "dangling");
        const auto canonical = [&](const char* path, LastComponent last) {
            return canonical_path((base / path).string(), last).value_or("error");
        };
        CHECK(canonical("link/inner", LastComponent::kFollow) == base / "real/inner");
        CHECK(canonical("link/../link/./inner/", LastComponent::kFollow) == base / "real/inner");
        CHECK(canonical("link", LastComponent::kFollow) == base / "real");
        CHECK(canonical("link", LastComponent::kKeep) == base / "link");
        CHECK(canonical("link/dangling", LastComponent::kKeep) == base / "real/dangling");
        CHECK(canonical("link/gone/x", LastComponent::kKeep) == base / "real/gone/x");
        CHECK(canonical("link/gone/../x", LastComponent::kKeep) == base / "real/x");
        CHECK_FALSE(canonical_path("", LastComponent::kFollow).has_value());
    }

    TEST_CASE("an unmounted share is found from any path in it, also a deleted one") {
        const test::TempDir directory("share");
        const test::TempDir run("run");
        const Registry registry(run.path().string());
        const fs::path base = fs::canonical(directory.path());
        fs::create_directories(base / "s" / ".umbra");
        fs::create_directories(base / "s" / "docs");
        fs::create_directories(base / "plain");
        std::ofstream(base / "s" / ".umbra" / "volume.toml") << "";
        const auto from = [&](const char* path) {
            return resolve_share_path(registry, (base / path).string(), LastComponent::kKeep);
        };
        for (const char* path : {"s", "s/docs", "s/docs/gone/deeper", "s/.snapshots/@GMT-x/docs"}) {
            CAPTURE(path);
            REQUIRE(from(path).has_value());
            CHECK(from(path)->share == base / "s");
            CHECK_FALSE(from(path)->mounted.has_value());
        }
        CHECK(from("s")->relative == "");
        CHECK(from("s/docs/gone/deeper")->relative == "docs/gone/deeper");
        CHECK(from("s/.snapshots/@GMT-x/docs")->relative == "docs");
        CHECK(from("s/.snapshots/@GMT-x/docs")->token == "@GMT-x");
        CHECK(from("plain").error().kind == ErrorKind::kNotFound);
        CHECK(from("missing").error().kind == ErrorKind::kNotFound);
        CHECK(resolve_share(registry, (base / "s/gone").string()).error().kind ==
              ErrorKind::kNotFound);
    }
}

TEST_SUITE("mount table") {
    TEST_CASE("it is read with its escapes, and the last mount at a place is on top") {
        const auto table = parse_mount_table(
            "22 1 0:21 / /proc rw,relatime shared:5 - proc proc rw\n"
            "50 1 0:60 / /srv/a\\040b\\134c rw master:1 shared:2 - fuse.umbra /srv/a rw\n"
            "51 1 0:61 / /proc rw - tmpfs none rw\n"
            "garbage\n"
            "52 1 0:62 / /cut\n");
        REQUIRE(table.size() == 3);
        CHECK(table[1].mountpoint == "/srv/a b\\c");
        CHECK(table[1].type == kMountType);
        CHECK(table[1].device == "0:60");
        CHECK(mount_at(table, "/proc")->type == "tmpfs");
        CHECK_FALSE(mount_at(table, "/srv").has_value());
    }

    TEST_CASE("ours can be read") {
        const auto table = read_mount_table();
        REQUIRE(table.has_value());
        CHECK(mount_at(*table, "/proc").has_value());
    }
}

TEST_SUITE("mount options") {
    DaemonOptions parsed(const char* list) {
        DaemonOptions options;
        REQUIRE(add_mount_options(options, list).has_value());
        return options;
    }

    TEST_CASE("known options are understood") {
        const DaemonOptions options =
            parsed("writeback,memory=64M,noexec,ro,,_netdev,x-systemd.automount");
        CHECK(options.writeback);
        CHECK(options.read_only);
        CHECK(options.memory_bytes == 64u << 20);
        CHECK(options.extra_options == std::vector<std::string>{"noexec"});
        CHECK_FALSE(options.debug);
        CHECK(parsed("debug").debug);
        CHECK(parsed("").memory_bytes == 128u << 20);
        CHECK(options.text() == "ro,writeback,memory=64M,lease=60,noexec");
    }

    TEST_CASE("others are usage errors that change nothing") {
        for (const char* list : {"nonsense", "writeback,nonsense", "memory=", "memory=1",
                                 "memory=10%", "memory=unbounded", "memory=99999999999999999999",
                                 "memory", "writeback=1", "fsname=x", "dev,suid,subtype=y"}) {
            CAPTURE(list);
            DaemonOptions options;
            const auto added = add_mount_options(options, list);
            REQUIRE_FALSE(added.has_value());
            CHECK(added.error().kind == ErrorKind::kUsage);
            CHECK_FALSE(options.writeback);
            CHECK(options.extra_options.empty());
        }
    }
}
