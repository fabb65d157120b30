#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "snapstore/undo_log.h"
#include "snapstore/volume_files.h"
#include "tests/support/ram_image.h"
#include "tests/support/skip.h"
#include "tests/unit/volume_fixture.h"

using namespace umbra;
using namespace umbra::test;

namespace fs = std::filesystem;

namespace {

const std::string kUuid = "01234567-89ab-4cde-8f01-23456789abcd";

class TestLog {
   public:
    explicit TestLog(const fs::path& parent = scratch_directory(),
                     std::uint64_t max_file_bytes = 256 << 20)
        : directory_(parent, "log"),
          fd_(::open(directory_.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)),
          max_file_bytes_(max_file_bytes) {
        reopen();
    }
    void close() { log_.reset(); }
    void reopen() {
        log_.reset();
        log_ = must(UndoLog::open({fd_.get(), kUuid, max_file_bytes_, false}));
    }
    UndoLog* operator->() { return log_.get(); }
    const fs::path& path() const { return directory_.path(); }
    std::string file(std::uint64_t sequence, Epoch epoch = 1) const {
        return path() / format_log_file_name({epoch, sequence});
    }

    // A record whose object's inode is `number`; returns where it is.
    LogPlace append(std::uint64_t number, const std::string& payload, Epoch epoch = 1) {
        LogPlace place;
        struct iovec part {
            const_cast<char*>(payload.data()), payload.size()
        };
        position_ =
            must(log_->append(RecordType::kEntry, epoch, {number, 0}, {&part, 1},
                              static_cast<std::uint32_t>(payload.size()), [&](LogPlace where) {
                                  place = where;
                                  return Result<void>{};
                              }));
        return place;
    }
    LogPlace append_durable(std::uint64_t number, const std::string& payload, Epoch epoch = 1) {
        LogPlace place = append(number, payload, epoch);
        must(log_->wait_durable(position_));
        return place;
    }
    struct Walk {
        std::vector<std::uint64_t> numbers;
        UndoLog::ScanOutcome outcome;
    };
    Walk walk(std::uint64_t file, std::uint64_t from = 0,
              UndoLog::Check check = UndoLog::Check::kPayload) {
        Walk walk;
        walk.outcome =
            must(log_->scan(file, from, check, [&](const RecordHeader& header, std::uint64_t) {
                walk.numbers.push_back(header.object.inode);
                return UndoLog::Visit::kContinue;
            }));
        return walk;
    }
    std::string payload_at(const LogPlace& place, std::size_t length) {
        std::string bytes(length, '\0');
        must(log_->read(place.file, place.offset + kRecordHeaderSize,
                        std::as_writable_bytes(std::span(bytes))));
        return bytes;
    }

   private:
    TempDir directory_;
    UniqueFd fd_;
    std::uint64_t max_file_bytes_;
    std::unique_ptr<UndoLog> log_;
    LogPosition position_ = 0;
};

std::uint64_t blocks_of(const std::string& path) {
    struct stat status {};
    REQUIRE(::stat(path.c_str(), &status) == 0);
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

void overwrite(const std::string& path, std::uint64_t offset, const std::string& bytes) {
    UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    REQUIRE(::pwrite(fd.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset)) ==
            static_cast<ssize_t>(bytes.size()));
}

void flip_bit(const std::string& path, std::uint64_t offset, int bit = 0) {
    UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    unsigned char byte = 0;
    REQUIRE(::pread(fd.get(), &byte, 1, static_cast<off_t>(offset)) == 1);
    byte = static_cast<unsigned char>(byte ^ (1 << bit));
    REQUIRE(::pwrite(fd.get(), &byte, 1, static_cast<off_t>(offset)) == 1);
}

}  // namespace

TEST_SUITE("undo log") {
    TEST_CASE("records are found in order and read back, also after opening again") {
        TestLog log;
        std::vector<LogPlace> places;
        std::vector<std::string> payloads;
        for (std::uint64_t i = 1; i <= 200; ++i) {
            payloads.push_back(noise(i * 37 % 5000, i));
            places.push_back(log.append(i, payloads.back()));
        }
        must(log->sync_all());
        for (int round = 0; round < 2; ++round) {
            auto walk = log.walk(1);
            REQUIRE(walk.numbers.size() == 200);
            for (std::uint64_t i = 0; i < 200; ++i) {
                CHECK(walk.numbers[i] == i + 1);
                CHECK(log.payload_at(places[i], payloads[i].size()) == payloads[i]);
            }
            CHECK(walk.outcome.end == places.back().offset + places.back().length);
            CHECK_FALSE(walk.outcome.torn);
            CHECK(walk.outcome.damaged.empty());
            auto tail = log.walk(1, places[100].offset);
            CHECK(tail.numbers.size() == 100);
            CHECK(tail.numbers.front() == 101);
            log.reopen();
        }
    }

    TEST_CASE("a visit may stop the walk") {
        TestLog log;
        for (std::uint64_t i = 1; i <= 5; ++i) log.append(i, "x");
        int visited = 0;
        must(log->scan(1, 0, UndoLog::Check::kPayload, [&](const RecordHeader&, std::uint64_t) {
            return ++visited == 3 ? UndoLog::Visit::kStop : UndoLog::Visit::kContinue;
        }));
        CHECK(visited == 3);
    }

    TEST_CASE("a new epoch, a full file and a new opening begin a new file") {
        TestLog log(scratch_directory(), 8192);
        CHECK(log.append(1, "x", 1).file == 1);
        CHECK(log.append(2, "x", 2).file == 2);
        CHECK(log.append(3, noise(6000, 1), 2).file == 2);
        CHECK(log.append(4, noise(6000, 1), 2).file == 3);
        log.reopen();
        CHECK(log.append(5, "x", 2).file == 4);
        auto files = log->files();
        REQUIRE(files.size() == 4);
        for (std::size_t i = 0; i < files.size(); ++i) CHECK(files[i].sequence == i + 1);
        CHECK(files[0].epoch == 1);
        CHECK(files[3].epoch == 2);
        CHECK(log.walk(2).numbers == std::vector<std::uint64_t>{2, 3});
        CHECK(fs::file_size(log.file(3, 2)) ==
              log.walk(3).outcome.end);  // what was reserved ahead is returned
    }

    TEST_CASE("an append whose index change fails leaves no record") {
        TestLog log;
        log.append(1, "x");
        struct iovec part {
            const_cast<char*>("y"), 1
        };
        auto failed = log->append(RecordType::kEntry, 1, {2, 0}, {&part, 1}, 1,
                                  [](LogPlace) -> Result<void> { return errno_only(EIO); });
        CHECK(code_of(failed) == EIO);
        CHECK(log.walk(1).numbers == std::vector<std::uint64_t>{1});
        log.append(3, "z");
        CHECK(log.walk(1).numbers == std::vector<std::uint64_t>{1, 3});
    }

    TEST_CASE(
        "8 threads append and wait; the index sees log order, everything is there and durable") {
        TestLog log(scratch_directory(), 64 << 10);
        constexpr std::uint64_t kThreads = 8, kEach = 200;
        std::vector<LogPlace> in_order;  // guarded by the log's own append lock
        std::vector<std::thread> threads;
        std::atomic<int> failures{0};
        for (std::uint64_t thread = 0; thread < kThreads; ++thread)
            threads.emplace_back([&, thread] {
                for (std::uint64_t i = 0; i < kEach; ++i) {
                    std::string payload = noise(100 + i, thread * kEach + i);
                    struct iovec part {
                        payload.data(), payload.size()
                    };
                    auto position = log->append(
                        RecordType::kEntry, 1, {1 + thread * kEach + i, 0}, {&part, 1},
                        static_cast<std::uint32_t>(payload.size()), [&](LogPlace place) {
                            in_order.push_back(place);
                            return Result<void>{};
                        });
                    if (!position || !log->wait_durable(*position)) ++failures;
                }
            });
        for (auto& thread : threads) thread.join();
        CHECK(failures == 0);
        REQUIRE(in_order.size() == kThreads * kEach);
        for (std::size_t i = 1; i < in_order.size(); ++i) {
            bool after = in_order[i].file > in_order[i - 1].file ||
                         (in_order[i].file == in_order[i - 1].file &&
                          in_order[i].offset >= in_order[i - 1].offset + in_order[i - 1].length);
            CHECK(after);
        }
        std::set<std::uint64_t> seen;
        CHECK(log->files().size() > 1);
        for (const auto& file : log->files()) {
            auto walk = log.walk(file.sequence);
            CHECK(walk.outcome.damaged.empty());
            seen.insert(walk.numbers.begin(), walk.numbers.end());
        }
        CHECK(seen.size() == kThreads * kEach);
    }

    TEST_CASE("a tail torn at any byte leaves exactly the whole records") {
        TestLog log;
        log.append(1, noise(100, 1));
        log.append(2, noise(200, 2));
        LogPlace last = log.append(3, noise(150, 3));
        must(log->sync_all());
        log.close();
        std::string path = log.file(1), copy = path + ".copy";
        fs::copy_file(path, copy);
        for (std::uint32_t kept = 0; kept < last.length; ++kept) {
            fs::copy_file(copy, path, fs::copy_options::overwrite_existing);
            fs::resize_file(path, last.offset + kept);
            log.reopen();
            auto walk = log.walk(1);
            CHECK(walk.numbers == std::vector<std::uint64_t>{1, 2});
            CHECK(walk.outcome.end == last.offset);
            CHECK(walk.outcome.torn == (kept > 0));
            CHECK(walk.outcome.damaged.empty());
            must(log->truncate_tail(1, walk.outcome.end));
            CHECK(fs::file_size(path) == last.offset);
        }
        // Not cut but never written: zeros from some byte on.
        for (std::uint32_t kept = 0; kept < kRecordHeaderSize + 150; ++kept) {
            fs::copy_file(copy, path, fs::copy_options::overwrite_existing);
            overwrite(path, last.offset + kept, std::string(last.length - kept, '\0'));
            log.reopen();
            CHECK(log.walk(1).numbers == std::vector<std::uint64_t>{1, 2});
        }
    }

    TEST_CASE("damage before what was durable is told, and later records are still visited") {
        TestLog log;
        log.append_durable(1, noise(100, 1));
        LogPlace second = log.append_durable(2, noise(100, 2));
        log.append_durable(3, noise(100, 3));
        LogPlace fourth = log.append_durable(4, noise(100, 4));
        log.append_durable(5, noise(100, 5));
        log.close();
        SUBCASE("in a header") { flip_bit(log.file(1), second.offset + 20, 3); }
        SUBCASE("in a payload") {
            flip_bit(log.file(1), second.offset + kRecordHeaderSize + 99, 7);
        }
        SUBCASE("a whole record gone") {
            overwrite(log.file(1), second.offset, std::string(second.length, '\0'));
        }
        log.reopen();
        auto walk = log.walk(1);
        CHECK(walk.numbers == std::vector<std::uint64_t>{1, 3, 4, 5});
        CHECK(walk.outcome.damaged == std::vector<std::uint64_t>{second.offset});
        CHECK_FALSE(walk.outcome.torn);
        flip_bit(log.file(1), fourth.offset + 1);
        CHECK(log.walk(1).numbers == std::vector<std::uint64_t>{1, 3, 5});
        CHECK(log.walk(1).outcome.damaged ==
              std::vector<std::uint64_t>{second.offset, fourth.offset});
    }

    TEST_CASE("a record moved within its file, or to another one, is none") {
        TestLog log;
        LogPlace first = log.append_durable(1, noise(100, 1));
        LogPlace second = log.append_durable(2, noise(100, 2));
        log.append_durable(3, noise(100, 3));
        log.append_durable(4, noise(100, 4), 2);
        log.append_durable(5, noise(100, 5), 2);
        std::string record(first.length, '\0');
        must(log->read(1, first.offset, std::as_writable_bytes(std::span(record))));
        log.close();
        SUBCASE("within the file") {
            overwrite(log.file(1), second.offset, record);
            log.reopen();
            CHECK(log.walk(1).numbers == std::vector<std::uint64_t>{1, 3});
        }
        SUBCASE("to the same place of another file") {
            overwrite(log.file(2, 2), first.offset, record);
            log.reopen();
            CHECK(log.walk(2).numbers == std::vector<std::uint64_t>{5});
        }
    }

    TEST_CASE("freed ranges and punched data keep the file walkable and give their space back") {
        UMBRA_SKIP_IF(missing_for_image(FilesystemType::Ext4));
        RamImage image(FilesystemType::Ext4, 128);
        TestLog log(image.path());
        std::vector<LogPlace> places;
        for (std::uint64_t i = 0; i < 16; ++i)
            places.push_back(log.append(i + 1, noise(1 << 20, i)));
        log.append(100, "next file", 2);  // finishes the first
        must(log->sync_all());
        std::uint64_t before = blocks_of(log.file(1));
        CHECK(before >= 16ull << 20);

        // Records 3 to 6 and 10, and most of the data of record 13.
        std::vector<UndoLog::Range> ranges = {
            {places[2].offset, places[6].offset - places[2].offset},
            {places[9].offset, places[9].length}};
        must(log->free_ranges(1, ranges));
        std::uint64_t after = blocks_of(log.file(1));
        CHECK(before - after >= (5ull << 20) - (64 << 10));
        must(log->punch(1, {places[12].offset + 4096, 900 << 10}));
        CHECK(after - blocks_of(log.file(1)) >= 890 << 10);
        CHECK(fs::file_size(log.file(1)) == places[15].offset + places[15].length);
        must(log->finish_file());
        CHECK(must(log->measure_bytes()) == blocks_of(log.file(1)) + blocks_of(log.file(2, 2)));

        for (int round = 0; round < 2; ++round) {
            auto walk = log.walk(1, 0, UndoLog::Check::kHeader);
            CHECK(walk.numbers ==
                  std::vector<std::uint64_t>{1, 2, 7, 8, 9, 11, 12, 13, 14, 15, 16});
            CHECK(walk.outcome.damaged.empty());
            CHECK_FALSE(walk.outcome.torn);
            CHECK(log.payload_at(places[7], 1 << 20) == noise(1 << 20, 7));
            log.reopen();
        }
        // What lies between two freed ranges can be freed as well, over their remains.
        must(log->free_ranges(1, std::vector<UndoLog::Range>{
                                     {places[0].offset, places[15].offset - places[0].offset}}));
        CHECK(log.walk(1).numbers == std::vector<std::uint64_t>{16});
        CHECK(blocks_of(log.file(1)) <= (1 << 20) + (64 << 10));
    }

    TEST_CASE("a removed file is gone from list and disk; the active one may go too") {
        TestLog log;
        log.append(1, noise(100000, 1), 1);
        log.append(2, noise(100000, 1), 2);
        must(log->remove_file(1));
        CHECK(log->files().size() == 1);
        CHECK_FALSE(fs::exists(log.file(1)));
        CHECK(
            log->scan(1, 0, UndoLog::Check::kPayload,
                      [](const RecordHeader&, std::uint64_t) { return UndoLog::Visit::kContinue; })
                .error()
                .kind == ErrorKind::kDiffArea);
        must(log->remove_file(2));
        CHECK(log->files().empty());
        CHECK(must(log->measure_bytes()) == 0);
        CHECK(log.append_durable(3, "x", 2).file == 3);
    }

    TEST_CASE("reading what is not there is an error of the diff area") {
        TestLog log;
        LogPlace place = log.append(1, "x");
        std::string buffer(100, '\0');
        auto behind =
            log->read(1, place.offset + place.length, std::as_writable_bytes(std::span(buffer)));
        CHECK(code_of(behind) == EIO);
        CHECK(behind.error().kind == ErrorKind::kDiffArea);
        CHECK(code_of(log->read(99, 0, std::as_writable_bytes(std::span(buffer)))) == EIO);
    }

    TEST_CASE("a full filesystem asks for space, and appending goes on when there is some") {
        UMBRA_SKIP_IF(missing_for_image(FilesystemType::Ext4));
        RamImage image(FilesystemType::Ext4, 32);
        TestLog log(image.path());
        std::string payload = noise(1 << 20, 1);
        std::uint64_t appended = 0;
        for (;; ++appended) {
            REQUIRE(appended < 100);
            struct iovec part {
                payload.data(), payload.size()
            };
            auto position = log->append(RecordType::kEntry, 1, {appended + 1, 0}, {&part, 1},
                                        static_cast<std::uint32_t>(payload.size()),
                                        [](LogPlace) { return Result<void>{}; });
            if (position) continue;
            CHECK(position.error().kind == ErrorKind::kNeedsSpace);
            CHECK(position.error().code == ENOSPC);
            break;
        }
        CHECK(appended > 4);
        CHECK(log.walk(1).numbers.size() == appended);
        auto first =
            must(log->scan(1, 0, UndoLog::Check::kHeader, [](const RecordHeader&, std::uint64_t) {
                return UndoLog::Visit::kStop;
            }));
        CHECK(first.damaged.empty());
        std::uint64_t length = align_record(kRecordHeaderSize + payload.size());
        must(log->free_ranges(1, std::vector<UndoLog::Range>{
                                     {align_record(kRecordHeaderSize + 4 + 36 + 16), 3 * length}}));
        log.append_durable(1000, payload);
        auto walk = log.walk(1);
        CHECK(walk.numbers.size() == appended - 3 + 1);
        CHECK(walk.numbers.back() == 1000);
    }
}
