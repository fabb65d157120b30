// A writer that is faster than the diff area can take, under each policy: no more goes than has to,
// what is held never, readers go on, and writing resumes when there is space.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/support/process.h"
#include "tests/support/ram_image.h"
#include "tests/support/random.h"
#include "tests/support/scratch.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr size_t kMiB = 1 << 20;
constexpr size_t kFileSize = 6 * kMiB;
constexpr size_t kPiece = 256 << 10;
constexpr size_t kLimit = 48 * kMiB;

std::chrono::seconds run_time() { return std::chrono::seconds(with_soak(6)); }

// A share beside its mount, so that what lies below it can be looked at.
class Ground {
   public:
    explicit Ground(const std::string& policy)
        : image_(FilesystemType::Ext4, 1024), share_(make_folder(image_)) {
        must_run({umbra_binary(), "init", share_.string(), "--max-size", std::to_string(kLimit),
                  "--on-full", policy});
        mount_ = std::make_unique<UmbraMount>(
            share_, MountOptions{make_folder(image_, "mountpoint"), {}, {}});
    }
    UmbraMount& mount() { return *mount_; }
    fs::path path(const std::string& inside) const { return mount_->path() / inside; }
    // Tokens, as the events tell.
    std::vector<std::string> evicted() const {
        std::vector<std::string> tokens;
        for (const auto& event : events()) {
            if (event.at("name") != "snapshot-evicted") continue;
            const std::string text = event.at("message");
            tokens.push_back(text.substr(text.find("@GMT-"), 24));
        }
        return tokens;
    }
    size_t told(const std::string& name) const {
        const auto all = events();
        return static_cast<size_t>(std::count_if(
            all.begin(), all.end(), [&](const auto& event) { return event.at("name") == name; }));
    }

   private:
    std::vector<json> events() const {
        std::vector<json> all;
        for (const char* name : {"events.1.jsonl", "events.jsonl"}) {
            std::ifstream lines(share_ / ".umbra" / name);
            for (std::string line; std::getline(lines, line);) {
                json event = json::parse(line, nullptr, false);
                if (event.is_object()) all.push_back(std::move(event));
            }
        }
        return all;
    }
    RamImage image_;
    fs::path share_;
    std::unique_ptr<UmbraMount> mount_;
};

// Overwrites the file again and again, with a snapshot before each time.
class Writer {
   public:
    Writer(Ground& ground, uint64_t seed) : ground_(ground), random_(seed) {
        data_ = random_.bytes(kFileSize);
        write_file(ground.path("data"), data_);
    }
    void snapshot(bool hold) {
        const auto made = umbra({"snapshot", "create", ground_.mount().path().string()});
        INFO(made.err);
        REQUIRE(made.exit_code == 0);
        const std::string token = trim_end(made.out);
        if (hold)
            must_run({umbra_binary(), "snapshot", "hold", ground_.mount().path().string(), token,
                      "--reason", "test"});
        contents_[token] = data_;
    }
    // One round; `refused` is asked what to do when there is no space: go on or not.
    void round(const std::function<bool()>& refused) {
        const std::string next = random_.bytes(kFileSize);
        const int fd = ::open(ground_.path("data").c_str(), O_WRONLY | O_CLOEXEC);
        REQUIRE(fd >= 0);
        for (size_t at = 0; at < kFileSize;) {
            const ssize_t count = ::pwrite(fd, next.data() + at, kPiece, static_cast<off_t>(at));
            if (count < 0) {
                const int code = errno;
                REQUIRE(code == ENOSPC);
                if (!refused()) break;
                continue;
            }
            std::copy_n(next.data() + at, count, data_.data() + at);
            at += static_cast<size_t>(count);
        }
        ::close(fd);
    }
    // Ascending by token.
    const std::map<std::string, std::string>& contents() const { return contents_; }
    const std::string& data() const { return data_; }

   private:
    Ground& ground_;
    Random random_;
    std::string data_;
    std::map<std::string, std::string> contents_;
};

// Reads the held snapshot, through the daemon each time, as long as it lives.
class Reader {
   public:
    Reader(fs::path file, std::string expected)
        : thread_([this, file = std::move(file), expected = std::move(expected)] {
              while (!stop_) {
                  try {
                      if (contents_of(file) != expected) ++wrong_;
                  } catch (const std::exception&) {
                      ++wrong_;
                  }
                  ++reads_;
              }
          }) {}
    ~Reader() {
        stop_ = true;
        thread_.join();
    }
    int reads() const { return reads_; }
    int wrong() const { return wrong_; }

   private:
    std::atomic<bool> stop_{false};
    std::atomic<int> reads_{0}, wrong_{0};
    std::thread thread_;
};

void check_snapshots(Ground& ground, const Writer& writer) {
    for (const auto& snapshot : ground.mount().snapshots()) {
        CAPTURE(snapshot.token);
        CHECK((contents_of(ground.mount().snapshot_path(snapshot.token) / "data") ==
               writer.contents().at(snapshot.token)));
    }
    CHECK((contents_of(ground.path("data")) == writer.data()));
}

void write_faster_than(const std::string& policy) {
    Ground ground(policy);
    Writer writer(ground, announce_seed("a writer faster than the area: " + policy));
    writer.snapshot(true);
    const std::string held = writer.contents().begin()->first;
    const Reader reader(ground.mount().snapshot_path(held) / "data", writer.data());
    const auto end = std::chrono::steady_clock::now() + run_time();
    int refused = 0;
    size_t rounds = 0;
    // At least until the area has been full; a refused writer goes on when something is deleted.
    for (; std::chrono::steady_clock::now() < end || rounds < 12; ++rounds) {
        writer.round([&] {
            ++refused;
            const auto all = ground.mount().snapshots();
            REQUIRE(policy == "refuse");
            REQUIRE(all.size() > 2);
            // What is held is not deleted on request either.
            CHECK(umbra({"snapshot", "delete", ground.mount().path().string(), held}).exit_code ==
                  4);
            ground.mount().delete_snapshot(all[1].token);
            return true;
        });
        writer.snapshot(false);
    }
    const auto left = ground.mount().snapshots();
    CHECK(left.front().token == held);
    // Not one more than needed: that many of that size have room, and two extents more.
    CHECK(left.size() >= kLimit / kFileSize - 2);
    const auto evicted = ground.evicted();
    if (policy == "refuse") {
        CHECK(refused > 0);
        CHECK(evicted.empty());
        CHECK(ground.told("diff-area-full") >= 1);
        CHECK(ground.told("diff-area-has-room") >= 1);
    } else {
        CHECK(refused == 0);
        // The oldest, in order: all that were taken, but the held one, up to the first that is
        // left.
        std::vector<std::string> expected;
        for (const auto& [token, data] : writer.contents())
            if (token != held && token < left.at(1).token) expected.push_back(token);
        CHECK_FALSE(expected.empty());
        CHECK(evicted == expected);
        CHECK(std::find(evicted.begin(), evicted.end(), held) == evicted.end());
    }
    CHECK((ground.told("writers-throttled") > 0) == (policy == "throttle"));
    CHECK(reader.reads() > 0);
    CHECK(reader.wrong() == 0);
    check_snapshots(ground, writer);
}

}  // namespace

TEST_SUITE("fast_writer") {
    TEST_CASE("a writer faster than the diff area: evict") {
        UMBRA_NEEDS_MOUNTS();
        write_faster_than("evict");
    }

    TEST_CASE("a writer faster than the diff area: refuse") {
        UMBRA_NEEDS_MOUNTS();
        write_faster_than("refuse");
    }

    TEST_CASE("a writer faster than the diff area: throttle") {
        UMBRA_NEEDS_MOUNTS();
        write_faster_than("throttle");
    }

    TEST_CASE("throttle: more writers than the daemon has threads wait, and readers do not") {
        UMBRA_NEEDS_MOUNTS();
        constexpr int kWriters = 24;
        Ground ground("throttle");
        const std::string data(5 * kMiB / 4, 'a');
        for (int i = 0; i < kWriters; ++i)
            write_file(ground.path("file" + std::to_string(i)), data);
        ground.mount().create_snapshot();
        // Up to 80 %, which nobody waits for.
        write_file(ground.path("ballast"), std::string(38 * kMiB, 'b'));
        ground.mount().create_snapshot();
        write_file(ground.path("ballast"), std::string(38 * kMiB, 'c'));
        std::atomic<bool> stop{false};
        std::atomic<int> writes{0};
        std::vector<std::thread> writers;
        for (int i = 0; i < kWriters; ++i) {
            writers.emplace_back([&, i] {
                const int fd =
                    ::open(ground.path("file" + std::to_string(i)).c_str(), O_WRONLY | O_CLOEXEC);
                for (size_t at = 0; !stop && at + kPiece <= data.size(); at += kPiece) {
                    const std::string piece(kPiece, 'x');
                    if (::pwrite(fd, piece.data(), kPiece, static_cast<off_t>(at)) < 0) break;
                    ++writes;
                }
                ::close(fd);
            });
        }
        while (ground.told("writers-throttled") == 0 && writes < kWriters * 5)
            std::this_thread::sleep_for(std::chrono::milliseconds(10));
        const int writes_before = writes;
        int asked = 0;
        const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(2);
        while (std::chrono::steady_clock::now() < end) {
            // Names of attributes are never cached: the daemon is asked each time.
            char names[256];
            ::listxattr(ground.path("ballast").c_str(), names, sizeof names);
            ++asked;
        }
        const int written = writes - writes_before;
        stop = true;
        for (auto& writer : writers) writer.join();
        CAPTURE(asked);
        CAPTURE(written);
        CHECK(asked > 10 * (written + 1));
    }
}

}  // namespace umbra::test
