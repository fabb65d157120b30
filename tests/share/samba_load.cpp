// Sixteen clients at work, by SMB and beside it, while snapshots come and go: no operation fails,
// and what a client has written is there, now and in each snapshot.
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <deque>
#include <string>
#include <thread>

#include "tests/share/served.h"
#include "tests/support/random.h"

namespace umbra::test {
namespace {

using namespace std::chrono_literals;

constexpr const char* kClients = "16";
constexpr const char* kLoad = "/usr/share/dbench/client.txt";
constexpr std::size_t kCheckedBytes = 300'000;

struct Pace {
    std::chrono::seconds length;
    std::chrono::milliseconds between_snapshots;
    std::size_t most_snapshots;
};

// With UMBRA_SOAK=1 five minutes, a snapshot every ten seconds, and twenty of them.
Pace pace() {
    if (with_soak(1) > 1) return {300s, 10s, 20};
    return {12s, 1s, 5};
}

// A share that also speaks SMB1, which smbtorture's load needs.
struct Loaded {
    // Room for all snapshots: none is to be evicted.
    Share share{FilesystemType::Ext4, {}, 16384};
    SambaServer server{printed_section(share.path()),
                       "    server min protocol = NT1\n    client min protocol = NT1\n"};

    Loaded() {
        must_run({umbra_binary(), "storage", "resize", share.path().string(), "--max-size",
                  "unbounded"});
    }
};

// A client that writes, has a snapshot taken of it, and remembers.
class Witness {
   public:
    Witness(Loaded& loaded, const Pace& pace) : loaded_(loaded), pace_(pace) {
        thread_ = std::thread([this] { work(); });
    }
    Witness(const Witness&) = delete;
    Witness& operator=(const Witness&) = delete;
    ~Witness() { stop(); }

    void stop() {
        stop_ = true;
        if (thread_.joinable()) thread_.join();
    }

    // What it remembers is there.
    void check() {
        CHECK_MESSAGE(failure_.empty(), failure_);
        REQUIRE(kept_.size() >= 3);
        CHECK(deleted_ >= 1);
        for (const auto& kept : kept_) {
            const std::string& token = kept.first;
            const std::string& contents = kept.second;
            CAPTURE(token);
            CHECK(contents_of(loaded_.share.mount().snapshot_path(token) / "witness") == contents);
            loaded_.server.must("data", "get " + token + "\\witness " + fetched());
            CHECK(contents_of(fetched()) == contents);
        }
        loaded_.server.must("data", "get witness " + fetched());
        CHECK(contents_of(fetched()) == kept_.back().second);
        CHECK(loaded_.share.mount().snapshots().size() == kept_.size());
    }

   private:
    void work() {
        try {
            for (std::uint64_t number = 0; !stop_; ++number) {
                one_turn(number);
                for (auto slept = 0ms; slept < pace_.between_snapshots && !stop_; slept += 50ms)
                    std::this_thread::sleep_for(50ms);
            }
        } catch (const std::exception& error) {
            failure_ = error.what();
        }
    }
    void one_turn(std::uint64_t number) {
        const std::string contents = Random(number).bytes(kCheckedBytes);
        write_file(folder_.path() / "source", contents);
        loaded_.server.must("data", "put " + (folder_.path() / "source").string() + " witness");
        kept_.emplace_back(loaded_.share.mount().create_snapshot(), contents);
        while (kept_.size() > pace_.most_snapshots) {
            loaded_.share.mount().delete_snapshot(kept_.front().first);
            kept_.pop_front();
            ++deleted_;
        }
    }
    std::string fetched() const { return folder_.path() / "fetched"; }

    Loaded& loaded_;
    const Pace pace_;
    TempDir folder_{"witness"};
    std::deque<std::pair<std::string, std::string>> kept_;  // token, contents
    int deleted_ = 0;
    std::string failure_;
    std::atomic<bool> stop_{false};
    std::thread thread_;  // all above is its own until it has ended
};

TEST_SUITE("samba-load") {
    TEST_CASE("dbench's load with 16 clients by smbtorture, snapshots coming and going") {
        UMBRA_NEEDS_SAMBA();
        Loaded loaded;
        const Pace chosen = pace();
        Witness witness(loaded, chosen);
        const ProcessResult load = loaded.server.torture(
            "data", "bench.nbench",
            {"-m", "NT1", std::string("--num-progs=") + kClients,
             std::string("--loadfile=") + kLoad,
             "--option=torture:timelimit=" + std::to_string(chosen.length.count())},
            chosen.length + 5min);
        witness.stop();
        INFO(load.out << load.err);
        CHECK(load.exit_code == 0);
        CHECK(load.out.find("success: nbench") != std::string::npos);
        CHECK(load.out.find("NT_STATUS_") == std::string::npos);
        witness.check();
    }

    TEST_CASE("dbench with 16 clients beside smbd, snapshots coming and going") {
        UMBRA_NEEDS_SAMBA();
        Loaded loaded;
        const Pace chosen = pace();
        Witness witness(loaded, chosen);
        ProcessOptions options;
        options.timeout = chosen.length + 5min;
        const ProcessResult load =
            run({"dbench", "-D", loaded.share.path(), "-t", std::to_string(chosen.length.count()),
                 "-c", kLoad, kClients},
                options);
        witness.stop();
        INFO(load.out << load.err);
        CHECK(load.exit_code == 0);
        CHECK(load.out.find("Throughput") != std::string::npos);
        // It says so and ends when any operation of a client fails.
        CHECK(load.out.find("Child failed") == std::string::npos);
        witness.check();
    }
}

}  // namespace
}  // namespace umbra::test
