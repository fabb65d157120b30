// kill -9 of the daemon at random moments of random work. Mounted again, the live tree holds all
// that completed system calls did, and every snapshot is exactly as it was.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <optional>
#include <thread>

#include "tests/model/driver.h"
#include "tests/model/ledger.h"
#include "tests/support/random.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"

namespace umbra::test {

namespace {

namespace fs = std::filesystem;

// Kills the daemon after a delay, from another thread.
class Assassin {
   public:
    Assassin(pid_t daemon, std::chrono::microseconds delay) : daemon_(daemon) {
        thread_ = std::thread([this, delay] {
            std::this_thread::sleep_for(delay);
            ::kill(daemon_, SIGKILL);
        });
    }
    Assassin(const Assassin&) = delete;
    Assassin& operator=(const Assassin&) = delete;
    ~Assassin() {
        if (thread_.joinable()) thread_.join();
    }
    // Returns when the daemon is gone.
    void wait() {
        thread_.join();
        for (int i = 0; i < 15'000 && process_alive(daemon_); ++i) {
            std::this_thread::sleep_for(std::chrono::milliseconds(2));
        }
        if (process_alive(daemon_)) throw std::runtime_error("the killed daemon does not end");
    }

   private:
    pid_t daemon_;
    std::thread thread_;
};

// Detaches the dead mount and mounts again; returns what `umbra mount` said on stderr.
std::string mount_again(const fs::path& share) {
    if (::umount2(share.c_str(), MNT_DETACH) != 0)
        throw std::runtime_error("cannot detach the dead mount");
    const auto result = umbra({"mount", share.string()});
    if (result.exit_code != 0)
        throw std::runtime_error("cannot mount after the kill: " + result.err);
    return result.err;
}

class KillTest {
   public:
    explicit KillTest(FilesystemType type)
        : share_(type),
          random_(announce_seed("kill -9 on " + to_string(type))),
          driver_(share_.path(), random_, options()),
          ledger_(share_.mount(), driver_, random_) {}

    void run(int kills) {
        try {
            for (int kill = 1; kill <= kills; ++kill) one_life();
            while (ledger_.size() > 0) ledger_.delete_one();
            driver_.verify(share_.path(), "at the end");
        } catch (const std::exception& error) {
            FAIL(driver_.recent() << "\n" << std::string(error.what()));
        }
        std::printf(
            "  %d kills, %llu operations; interrupted: %d operations, %d creations, %d deletions; "
            "%d torn tails\n",
            kills, static_cast<unsigned long long>(driver_.operations()), interrupted_operations_,
            interrupted_creations_, interrupted_deletions_, torn_tails_);
    }

   private:
    static DriverOptions options() {
        DriverOptions options;
        options.daemon_may_die = true;
        options.most_names = 150;
        options.most_bytes = 12 << 20;
        return options;
    }

    void one_life() {
        const pid_t daemon = share_.mount().daemon_pid();
        // A while without danger, so that there is something to lose.
        const auto before = random_.between(20, 200);
        for (int64_t i = 0; i < before; ++i) driver_.operate();
        ledger_.create();
        if (ledger_.size() > 6) ledger_.delete_one();

        driver_.note("--- the daemon will be killed");
        const uint64_t kind = random_.below(5);
        std::optional<Assassin> assassin;
        try {
            if (kind == 0) {
                assassin.emplace(daemon, std::chrono::microseconds(random_.below(60'000)));
                creating_ = true;
                ledger_.create();
                creating_ = false;
            } else if (kind == 1) {
                const auto operations = random_.between(0, 100);
                for (int64_t i = 0; i < operations; ++i) driver_.operate();
                assassin.emplace(daemon, std::chrono::microseconds(random_.below(50'000)));
                deleting_ = true;
                ledger_.delete_one();
                deleting_ = false;
            } else {
                assassin.emplace(
                    daemon, std::chrono::microseconds(random_.below(kind == 2 ? 500'000 : 60'000)));
            }
            // Until the kill is felt.
            while (true) driver_.operate();
        } catch (const std::exception& error) {
            assassin->wait();
            driver_.note(std::string("--- the daemon is dead: ") + error.what());
        }
        interrupted_operations_ += driver_.interrupted().has_value();
        interrupted_creations_ += std::exchange(creating_, false);
        interrupted_deletions_ += std::exchange(deleting_, false);

        const std::string said = mount_again(share_.path());
        if (!said.empty()) driver_.note("umbra mount said: " + said);
        if (said.find("was torn") != std::string::npos) ++torn_tails_;
        ledger_.recover();
        driver_.recover();
        ledger_.compare_all("after the kill");
    }

    Share share_;
    Random random_;
    Driver driver_;
    Ledger ledger_;
    bool creating_ = false;
    bool deleting_ = false;
    int interrupted_operations_ = 0;
    int interrupted_creations_ = 0;
    int interrupted_deletions_ = 0;
    int torn_tails_ = 0;
};

fs::path newest_log_file(const fs::path& share) {
    fs::path newest;
    for (const auto& entry : fs::directory_iterator(share / ".umbra" / "diff" / "log")) {
        if (entry.path().extension() == ".ulog" && entry.path().filename() != "catalog.ulog") {
            newest = std::max(newest, entry.path());
        }
    }
    REQUIRE(!newest.empty());
    return newest;
}

}  // namespace

TEST_SUITE("kill") {
    TEST_CASE("kill -9 of the daemon on ext4") {
        UMBRA_NEEDS_MOUNTS();
        KillTest(FilesystemType::Ext4).run(with_soak(25));
    }
    TEST_CASE("kill -9 of the daemon on XFS") {
        UMBRA_NEEDS_MOUNTS();
        KillTest(FilesystemType::Xfs).run(with_soak(15));
    }
    TEST_CASE("kill -9 of the daemon on btrfs") {
        UMBRA_NEEDS_MOUNTS();
        KillTest(FilesystemType::Btrfs).run(with_soak(15));
    }

    // Found by the model: the parts of the newest record that a deletion had given back were taken
    // for a torn end of the log, which cut off records behind them that were needed.
    TEST_CASE("killed after a deletion that gave back parts of the newest records") {
        UMBRA_NEEDS_MOUNTS();
        constexpr size_t kBlock = 16384;
        Share share(FilesystemType::Ext4);
        Random random(announce_seed("killed after a deletion"));
        const std::string first = random.bytes(100 * kBlock);
        write_file(share.path("file"), first);
        const std::string s1 = share.mount().create_snapshot();
        const int fd = ::open(share.path("file").c_str(), O_RDWR | O_CLOEXEC);
        REQUIRE(fd >= 0);
        const auto overwrite = [&](size_t offset, size_t size) {
            const std::string bytes = random.bytes(size);
            REQUIRE(::pwrite(fd, bytes.data(), size, static_cast<off_t>(offset)) ==
                    static_cast<ssize_t>(size));
        };
        overwrite(0, 10 * kBlock);
        const std::string s2 = share.mount().create_snapshot();
        // More blocks than one record holds: two records that are made durable together.
        overwrite(kBlock / 2, 64 * kBlock);
        overwrite(80 * kBlock, kBlock);
        ::close(fd);
        // Of the first of them, the first snapshot needs only the blocks that it has nowhere else.
        share.mount().delete_snapshot(s2);
        Assassin(share.mount().daemon_pid(), {}).wait();
        const std::string said = mount_again(share.path());
        CAPTURE(said);
        CHECK((contents_of(share.mount().snapshot_path(s1) / "file") == first));
        CHECK(said.find("truncated") == std::string::npos);
        share.mount().remount();
        CHECK((contents_of(share.mount().snapshot_path(s1) / "file") == first));
    }

    TEST_CASE("a torn write at the end of the log is cut, and the mount says so") {
        UMBRA_NEEDS_MOUNTS();
        Share share(FilesystemType::Ext4);
        Random random(announce_seed("torn tail"));
        const std::string first = random.bytes(100'000);
        const std::string second = random.bytes(100'000);
        write_file(share.path("file"), first);
        const std::string s1 = share.mount().create_snapshot();
        write_file(share.path("file"), second);
        Assassin(share.mount().daemon_pid(), {}).wait();
        REQUIRE(::umount2(share.path().c_str(), MNT_DETACH) == 0);
        // Half a record: the beginning of one that is there, appended once more.
        const fs::path log = newest_log_file(share.path());
        const std::string bytes = contents_of(log);
        std::ofstream(log, std::ios::app | std::ios::binary) << bytes.substr(bytes.size() - 200);
        const int below = ::open(log.c_str(), O_RDONLY | O_CLOEXEC);
        REQUIRE(below >= 0);

        const auto mounted = umbra({"mount", share.path().string()});
        REQUIRE(mounted.exit_code == 0);
        CHECK(mounted.err.find("truncated") != std::string::npos);
        CHECK(::lseek(below, 0, SEEK_END) <= static_cast<off_t>(bytes.size()));
        ::close(below);
        CHECK((contents_of(share.path("file")) == second));
        CHECK((contents_of(share.mount().snapshot_path(s1) / "file") == first));
        // The log goes on behind the cut.
        const std::string s2 = share.mount().create_snapshot();
        write_file(share.path("file"), "third");
        share.mount().remount();
        CHECK((contents_of(share.mount().snapshot_path(s1) / "file") == first));
        CHECK((contents_of(share.mount().snapshot_path(s2) / "file") == second));
    }
}

}  // namespace umbra::test
