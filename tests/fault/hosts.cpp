// A volume that several hosts reach: it moves with all its snapshots, two never write it at once,
// and a host that was taken for dead does no harm when it comes back. A host is a set of namespaces
// with a name, a boot id and a /run of its own.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/ram_image.h"
#include "tests/support/scratch.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"
#include "tests/support/tree.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;
using Arguments = std::vector<std::string>;

constexpr int kRefused = 4;

bool wait_until(const std::function<bool()>& condition) {
    for (int attempt = 0; attempt < 6000; ++attempt) {
        if (condition()) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
}

class Host {
   public:
    Host(const std::string& name, const std::string& machine)
        : name_(name), process_(start(name, machine)) {
        REQUIRE(wait_until([&] { return fs::exists(directory_.path() / "ready"); }));
    }
    ~Host() {
        for (const pid_t daemon : daemons()) {
            ::kill(daemon, SIGKILL);
            wait_until([&] { return !process_alive(daemon); });
        }
    }

    ProcessResult umbra(const Arguments& arguments) const {
        Arguments inside{umbra_binary()};
        inside.insert(inside.end(), arguments.begin(), arguments.end());
        return run(here(inside));
    }
    std::string must_umbra(const Arguments& arguments) const {
        const ProcessResult result = umbra(arguments);
        INFO(join_command(arguments) << ": " << result.err);
        REQUIRE(result.exit_code == 0);
        return trim_end(result.out);
    }
    // argv as run on this host.
    Arguments here(const Arguments& argv) const {
        Arguments all{"nsenter", "-t", std::to_string(process_.pid()), "-m", "-u", "-n", "--"};
        all.insert(all.end(), argv.begin(), argv.end());
        return all;
    }
    // A path as this host sees it.
    fs::path path(const fs::path& path) const {
        return "/proc/" + std::to_string(process_.pid()) + "/root" + path.string();
    }
    std::vector<pid_t> daemons() const {
        std::vector<pid_t> found;
        std::error_code gone;
        for (const auto& entry : fs::directory_iterator(path("/run/umbra"), gone)) {
            if (entry.path().extension() != ".json") continue;
            std::ifstream file(entry.path());
            const json mounted = json::parse(file, nullptr, false);
            if (mounted.is_object()) found.push_back(mounted.at("pid").get<pid_t>());
        }
        return found;
    }
    pid_t daemon() const {
        const auto all = daemons();
        REQUIRE(all.size() == 1);
        return all.front();
    }
    const std::string& name() const { return name_; }

   private:
    Arguments start(const std::string& name, const std::string& machine) const {
        const std::string place = directory_.path().string();
        std::ofstream(directory_.path() / "boot") << "boot-of-" << name << place << "\n";
        std::ofstream(directory_.path() / "machine") << machine << "\n";
        return {"unshare",
                "-m",
                "-u",
                "-n",
                "--propagation",
                "private",
                "sh",
                "-ec",
                "hostname " + name +
                    "; mkdir -p /run/umbra; mount -t tmpfs tmpfs /run/umbra"
                    "; mount --bind " +
                    place +
                    "/boot /proc/sys/kernel/random/boot_id"
                    "; mount --bind " +
                    place +
                    "/machine /etc/machine-id"
                    "; touch " +
                    place + "/ready; exec sleep infinity"};
    }

    TempDir directory_;
    std::string name_;
    BackgroundProcess process_;
};

// Two hosts and one volume: the share on a filesystem that both have mounted, the diff area beside
// it.
struct Cluster {
    Cluster() : image(FilesystemType::Ext4), share(make_folder(image)) {
        must_run({umbra_binary(), "init", share.string(), "--diff-area",
                  (image.path() / "area").string(), "--max-size", "80%"});
        write_file(share / "kept", std::string(100'000, 'k'));
        fs::create_directory(share / "folder");
    }

    // Changes everything and takes a snapshot, whose picture is kept.
    void grow(const Host& host, int round) {
        const fs::path root = host.path(share);
        const std::string text = "round " + std::to_string(round) + " on " + host.name();
        write_file(root / "kept", text + std::string(50'000 + round * 1000, 'x'));
        write_file(root / "folder" / ("new " + std::to_string(round)), text);
        if (round > 0) fs::remove(root / "folder" / ("new " + std::to_string(round - 1)));
        const std::string token = host.must_umbra({"snapshot", "create", share.string()});
        pictures.emplace_back(token, capture(root));
    }

    std::string flaws(const Host& host) const {
        const json listed =
            json::parse(host.must_umbra({"snapshot", "list", share.string(), "--json"}));
        std::string found;
        if (listed.size() != pictures.size()) found += "another number of snapshots; ";
        for (const auto& [token, picture] : pictures) {
            const auto different =
                differences(picture, capture(host.path(share) / ".snapshots" / token));
            if (different != kNoDifferences) found += token + ": " + different + "; ";
        }
        return found;
    }

    Arguments mounting(const Arguments& more = {}) const {
        Arguments arguments{"mount", share.string(), "-o", "lease=3"};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return arguments;
    }

    std::vector<std::string> event_names() const {
        std::vector<std::string> names;
        std::ifstream file(share / ".umbra" / "events.jsonl");
        for (std::string line; std::getline(file, line);)
            names.push_back(json::parse(line).at("name"));
        return names;
    }
    bool told(const std::string& name) const {
        const auto names = event_names();
        return std::find(names.begin(), names.end(), name) != names.end();
    }

    RamImage image;
    fs::path share;
    std::vector<std::pair<std::string, Tree>> pictures;
};

// Overwrites a file on a host, small pieces and synced large ones, until it is told to stop or may
// not any more. Prints what it has synced last.
Arguments heavy_writer(const Host& host, const fs::path& file, const fs::path& synced) {
    return host.here({"python3", "-c",
                      "import os,sys\n"
                      "fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o644)\n"
                      "n = 0\n"
                      "while True:\n"
                      "    n += 1\n"
                      "    block = (b'%08d' % n) * 512\n"
                      "    for i in range(64):\n"
                      "        os.pwrite(fd, block, (n * 7 + i * 13) % 256 * 16384)\n"
                      "    os.pwrite(fd, b'%08d' % n, 8 << 20)\n"
                      "    os.fsync(fd)\n"
                      "    out = open(sys.argv[2] + '.new', 'w'); out.write(str(n)); out.close()\n"
                      "    os.rename(sys.argv[2] + '.new', sys.argv[2])\n",
                      file.string(), synced.string()});
}

long number_in(const fs::path& file) {
    std::ifstream in(file);
    long number = 0;
    in >> number;
    return number;
}

long number_at(const fs::path& file, off_t offset) {
    char text[9] = {};
    const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    REQUIRE(fd >= 0);
    CHECK(::pread(fd, text, 8, offset) == 8);
    ::close(fd);
    return std::atol(text);
}

}  // namespace

TEST_SUITE("hosts") {
    TEST_CASE("a volume given back moves at once, with all its snapshots, and back again") {
        UMBRA_NEEDS_MOUNTS();
        Cluster cluster;
        Host one("one", "m1"), two("two", "m2");
        one.must_umbra(cluster.mounting());
        for (int round = 0; round < 2; ++round) cluster.grow(one, round);
        one.must_umbra({"umount", cluster.share.string()});
        two.must_umbra(cluster.mounting());
        CHECK(cluster.flaws(two) == "");
        for (int round = 2; round < 4; ++round) cluster.grow(two, round);
        two.must_umbra({"umount", cluster.share.string()});
        one.must_umbra(cluster.mounting());
        CHECK(cluster.flaws(one) == "");
        CHECK_FALSE(cluster.told("ownership-taken-over"));
        one.must_umbra({"umount", cluster.share.string()});
    }

    TEST_CASE("a second host is refused, told who has it, and waits until the lease has run out") {
        UMBRA_NEEDS_MOUNTS();
        Cluster cluster;
        Host one("one", "m1"), two("two", "m2");
        one.must_umbra(cluster.mounting());
        cluster.grow(one, 0);
        const std::string pid = std::to_string(one.daemon());
        for (const Arguments& more : std::vector<Arguments>{{}, {"--wait", "1"}}) {
            const auto refused = two.umbra(cluster.mounting(more));
            CHECK(refused.exit_code == kRefused);
            CHECK(refused.err.find("host 'one' (process " + pid + ")") != std::string::npos);
        }
        CHECK(two.umbra({"snapshot", "list", cluster.share.string()}).exit_code == kRefused);
        // The lease is renewed: longer than it runs.
        std::this_thread::sleep_for(std::chrono::seconds(6));
        CHECK(two.umbra(cluster.mounting()).exit_code == kRefused);
        cluster.grow(one, 1);
        ::kill(one.daemon(), SIGKILL);
        const auto early = two.umbra(cluster.mounting());
        CHECK(early.exit_code == kRefused);
        two.must_umbra(cluster.mounting({"--wait", "60"}));
        CHECK(cluster.flaws(two) == "");
        CHECK(cluster.told("ownership-taken-over"));
        cluster.grow(two, 2);
        CHECK(cluster.flaws(two) == "");
        two.must_umbra({"umount", cluster.share.string()});
    }

    TEST_CASE("a machine that was started again does not wait for its own lease") {
        UMBRA_NEEDS_MOUNTS();
        Cluster cluster;
        {
            Host before("one", "m1");
            before.must_umbra(cluster.mounting());
            cluster.grow(before, 0);
        }  // killed
        Host after("one", "m1");
        after.must_umbra(cluster.mounting());
        CHECK(cluster.flaws(after) == "");
        CHECK_FALSE(cluster.told("ownership-taken-over"));
        after.must_umbra({"umount", cluster.share.string()});
    }

    TEST_CASE("a take-over that fails leaves what the next one has to know") {
        UMBRA_NEEDS_MOUNTS();
        Cluster cluster;
        const fs::path area = cluster.image.path() / "area", away = cluster.image.path() / "away";
        Host one("one", "m1"), two("two", "m2");
        one.must_umbra(cluster.mounting());
        cluster.grow(one, 0);
        ::kill(one.daemon(), SIGKILL);
        fs::rename(area, away);
        CHECK(two.umbra(cluster.mounting({"--take-over"})).exit_code == 5);
        fs::rename(away, area);
        CHECK(two.umbra(cluster.mounting()).exit_code == kRefused);  // its lease still runs
        two.must_umbra(cluster.mounting({"--take-over"}));
        CHECK(cluster.told("ownership-taken-over"));
        CHECK(cluster.flaws(two) == "");
        two.must_umbra({"umount", cluster.share.string()});
    }

    TEST_CASE("failover during heavy writes") {
        UMBRA_NEEDS_MOUNTS();
        Cluster cluster;
        Host one("one", "m1"), two("two", "m2");
        TempDir notes;
        write_file(cluster.share / "busy", std::string(9 << 20, '0'));
        one.must_umbra(cluster.mounting());
        cluster.grow(one, 0);
        BackgroundProcess writer(
            heavy_writer(one, cluster.share / "busy", notes.path() / "synced"));
        REQUIRE(wait_until([&] { return number_in(notes.path() / "synced") > 10; }));
        ::kill(one.daemon(), SIGKILL);
        CHECK(writer.wait() != 0);
        two.must_umbra(cluster.mounting({"--take-over"}));
        const long synced = number_in(notes.path() / "synced");
        CHECK(number_at(two.path(cluster.share) / "busy", 8 << 20) >= synced);
        CHECK(cluster.flaws(two) == "");
        cluster.grow(two, 1);
        CHECK(cluster.flaws(two) == "");
        two.must_umbra({"umount", cluster.share.string()});
    }

    TEST_CASE("a host that comes back to life notices, stops writing, and has done no harm") {
        UMBRA_NEEDS_MOUNTS();
        Cluster cluster;
        Host one("one", "m1"), two("two", "m2");
        TempDir notes;
        write_file(cluster.share / "busy", std::string(9 << 20, '0'));
        one.must_umbra(cluster.mounting());
        cluster.grow(one, 0);
        BackgroundProcess writer(
            heavy_writer(one, cluster.share / "busy", notes.path() / "synced"));
        REQUIRE(wait_until([&] { return number_in(notes.path() / "synced") > 3; }));
        const pid_t zombie = one.daemon();
        ::kill(zombie, SIGSTOP);
        two.must_umbra(cluster.mounting({"--take-over"}));
        // Only the busy file may differ: a write that was under way when it was stopped ends later.
        fs::remove(two.path(cluster.share) / "busy");
        for (int round = 1; round < 3; ++round) cluster.grow(two, round);
        cluster.pictures.erase(cluster.pictures.begin());
        const std::string first = cluster.flaws(two);
        CHECK(first == "another number of snapshots; ");
        const Tree live = capture(two.path(cluster.share));
        const std::uintmax_t log_before =
            fs::file_size(cluster.image.path() / "area" / "log" / "catalog.ulog");
        ::kill(zombie, SIGCONT);
        const bool ended = wait_until([&] { return !process_alive(zombie); });
        CHECK(ended);
        if (!ended) ::kill(zombie, SIGKILL);
        CHECK(writer.wait() != 0);  // it was told
        CHECK(one.umbra({"snapshot", "create", cluster.share.string()}).exit_code == kRefused);
        CHECK(fs::file_size(cluster.image.path() / "area" / "log" / "catalog.ulog") == log_before);
        CHECK(differences(live, capture(two.path(cluster.share))) == kNoDifferences);
        CHECK(cluster.flaws(two) == "another number of snapshots; ");
        CHECK_FALSE(cluster.told("ownership-lost"));  // the event log is the new owner's
        cluster.grow(two, 3);
        two.must_umbra({"umount", cluster.share.string()});
        two.must_umbra(cluster.mounting());
        CHECK(cluster.flaws(two) == "another number of snapshots; ");
        for (const auto& name : cluster.event_names()) CHECK(name != "record-damaged");
        two.must_umbra({"umount", cluster.share.string()});
    }

    TEST_CASE(
        "who cannot renew his lease says so, refuses everything when it has run out, and goes on") {
        UMBRA_NEEDS_MOUNTS();
        const RamImage image(FilesystemType::Ext4);
        MountOptions options;
        options.mountpoint = make_folder(image, "place");
        options.arguments = {"-o", "lease=3"};
        const fs::path share = make_folder(image);
        must_run({umbra_binary(), "init", share.string()});
        UmbraMount mount(share, options);
        write_file(mount.path() / "file", "before");
        const std::string owner = (mount.share() / ".umbra" / "owner").string();
        must_run({"chattr", "+i", owner});
        const auto status_code = [&] {
            struct stat status {};
            return ::stat((mount.path() / "file").c_str(), &status) == 0 ? 0 : errno;
        };
        const auto drop = [&] { drop_kernel_caches(); };
        CHECK(wait_until([&] {
            drop();
            return status_code() == EIO;
        }));
        const int fd = ::open((mount.path() / "new").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
        CHECK(fd < 0);
        CHECK(errno == EIO);
        std::ifstream log(mount.share() / ".umbra" / "events.jsonl");
        const std::string told{std::istreambuf_iterator<char>(log), {}};
        CHECK(told.find("lease-not-renewed") != std::string::npos);
        must_run({"chattr", "-i", owner});
        CHECK(wait_until([&] { return status_code() == 0; }));
        write_file(mount.path() / "file", "after");
        CHECK(contents_of(mount.path() / "file") == "after");
        CHECK_FALSE(fs::exists(mount.path() / "new"));
    }

    TEST_CASE("a lease that is none") {
        UMBRA_NEEDS_MOUNTS();
        const RamImage image(FilesystemType::Ext4);
        const fs::path share = make_folder(image);
        for (const char* lease : {"lease=0", "lease=", "lease=2", "lease=-5", "lease=3601",
                                  "lease=9999999999999999999999", "lease=5s"}) {
            CAPTURE(lease);
            const auto refused = umbra({"mount", share.string(), "-o", lease});
            CHECK(refused.exit_code == 2);
            CHECK(refused.err.find("lease") != std::string::npos);
            CHECK_FALSE(fs::exists(share / ".umbra"));
        }
    }
}

}  // namespace umbra::test
