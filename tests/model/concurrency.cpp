// Eight threads change overlapping directories while snapshots are made and deleted. Every file
// says itself what it is, so any snapshot can be checked without knowing what the threads have
// done.
#include <dirent.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <thread>

#include "tests/support/random.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"
#include "tests/support/tree.h"

namespace umbra::test {

namespace {

namespace fs = std::filesystem;

constexpr int kThreads = 8;
constexpr uint64_t kDirectories = 4;
constexpr uint64_t kNames = 12;
constexpr uint64_t kTravellers = 10;
constexpr size_t kKept = 5;
constexpr std::chrono::milliseconds kBetweenSnapshots{100};

// A file's contents: this, then bytes that follow from it. It is written by one pwrite, so that a
// snapshot must have a whole version: an old one or a new one.
struct Header {
    uint64_t file;      // never changes while the file lives
    uint64_t version;   // of its contents
    uint64_t length;    // follows from `file`
    uint64_t checksum;  // of all bytes behind the header
};

size_t length_of(uint64_t file) { return sizeof(Header) + 1 + file * 7919 % 90'000; }

std::string version_of(uint64_t file, uint64_t version) {
    std::string bytes = Random(file * 1'000'003 + version).bytes(length_of(file));
    Header header{file, version, bytes.size(), 0};
    header.checksum = XXH3_64bits(bytes.data() + sizeof header, bytes.size() - sizeof header);
    std::memcpy(bytes.data(), &header, sizeof header);
    return bytes;
}

// Empty when these bytes are one whole version (or nothing written yet); else what is wrong.
std::string flaw_of(const std::string& bytes) {
    if (bytes.empty()) return "";
    Header header{};
    if (bytes.size() < sizeof header) return "shorter than a header";
    std::memcpy(&header, bytes.data(), sizeof header);
    if (header.length != bytes.size() || header.length != length_of(header.file)) {
        return "says " + std::to_string(header.length) + " bytes, has " +
               std::to_string(bytes.size());
    }
    if (bytes != version_of(header.file, header.version)) {
        return "not a whole version: file " + std::to_string(header.file) + " version " +
               std::to_string(header.version);
    }
    return "";
}

std::string directory_name(uint64_t number) { return "d" + std::to_string(number); }
std::string file_name(uint64_t number) { return "f" + std::to_string(number); }
std::string traveller_name(uint64_t number) { return "traveller" + std::to_string(number); }

class Problems {
   public:
    void add(const std::string& text) {
        const std::lock_guard lock(mutex_);
        if (texts_.size() < 20) texts_.push_back(text);
    }
    std::string all() const {
        const std::lock_guard lock(mutex_);
        std::string text;
        for (const auto& line : texts_) text += line + "\n";
        return text;
    }

   private:
    mutable std::mutex mutex_;
    std::vector<std::string> texts_;
};

// One thread's work. Others may be faster: names that are there or not are no failure.
class Worker {
   public:
    Worker(const fs::path& root, int number, uint64_t seed, Problems& problems)
        : root_(root), number_(number), random_(seed), problems_(problems) {}

    void work(const std::atomic<bool>& stop) {
        while (!stop) {
            ++operations_;
            switch (random_.below(12)) {
                case 0:
                case 1:
                    create();
                    break;
                case 2:
                case 3:
                case 4:
                    rewrite();
                    break;
                case 5:
                    rename();
                    break;
                case 6:
                    unlink();
                    break;
                case 7:
                    read();
                    break;
                case 8:
                    list();
                    break;
                case 9:
                    replace();
                    break;
                case 10:
                    link_and_unlink();
                    break;
                default:
                    travel();
                    break;
            }
        }
    }
    uint64_t operations() const { return operations_; }

   private:
    fs::path some_path() {
        return root_ / directory_name(random_.below(kDirectories)) /
               file_name(random_.below(kNames));
    }
    uint64_t new_file_number() { return static_cast<uint64_t>(number_) << 32 | ++files_; }

    void expect(bool fine, const std::string& what, std::initializer_list<int> also) {
        if (fine) return;
        const int error = errno;
        for (const int accepted : also) {
            if (error == accepted) return;
        }
        problems_.add(what + ": " + std::strerror(error));
    }
    void write_version(int fd, uint64_t file, uint64_t version) {
        const std::string bytes = version_of(file, version);
        const ssize_t written = ::pwrite(fd, bytes.data(), bytes.size(), 0);
        expect(written == static_cast<ssize_t>(bytes.size()), "pwrite", {});
    }

    void create() {
        const fs::path path = some_path();
        const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        expect(fd >= 0, "create", {EEXIST});
        if (fd < 0) return;
        write_version(fd, new_file_number(), 0);
        ::close(fd);
    }
    void rewrite() {
        const int fd = ::open(some_path().c_str(), O_RDWR | O_CLOEXEC);
        expect(fd >= 0, "open to rewrite", {ENOENT});
        if (fd < 0) return;
        Header header{};
        // Not written yet: its maker will do it.
        if (::pread(fd, &header, sizeof header, 0) == static_cast<ssize_t>(sizeof header)) {
            for (int times = 0; times < 3; ++times) write_version(fd, header.file, random_.next());
        }
        ::close(fd);
    }
    void rename() {
        expect(::rename(some_path().c_str(), some_path().c_str()) == 0, "rename", {ENOENT});
    }
    void unlink() { expect(::unlink(some_path().c_str()) == 0, "unlink", {ENOENT}); }
    void read() {
        try {
            const std::string flaw = flaw_of(contents_of(some_path()));
            // Reading in pieces may see two versions while somebody writes; only the length is
            // sure.
            if (flaw.rfind("says", 0) == 0 || flaw.rfind("shorter", 0) == 0)
                problems_.add("live: " + flaw);
        } catch (const std::exception& error) {
            expect(false, error.what(), {ENOENT});
        }
    }
    void list() {
        DIR* directory = ::opendir((root_ / directory_name(random_.below(kDirectories))).c_str());
        expect(directory != nullptr, "opendir", {});
        if (directory == nullptr) return;
        errno = 0;
        while (::readdir(directory) != nullptr) {
        }
        expect(errno == 0, "readdir", {});
        ::closedir(directory);
    }
    // Saves as an editor does: a new file over an old one.
    void replace() {
        const fs::path path = some_path();
        const fs::path fresh = path.parent_path() / ("new" + std::to_string(number_));
        const int fd = ::open(fresh.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        expect(fd >= 0, "create to replace", {});
        if (fd < 0) return;
        write_version(fd, new_file_number(), 0);
        ::close(fd);
        expect(::rename(fresh.c_str(), path.c_str()) == 0, "rename over", {});
    }
    void link_and_unlink() {
        const fs::path from = some_path();
        expect(::link(from.c_str(), some_path().c_str()) == 0, "link", {ENOENT, EEXIST});
        expect(::unlink(from.c_str()) == 0, "unlink a link", {ENOENT});
    }
    // Moves one of the files that always exist exactly once.
    void travel() {
        const std::string name = traveller_name(random_.below(kTravellers));
        const uint64_t from = random_.below(kDirectories);
        const uint64_t to = random_.below(kDirectories);
        expect(::rename((root_ / directory_name(from) / name).c_str(),
                        (root_ / directory_name(to) / name).c_str()) == 0,
               "travel", {ENOENT});
    }

    fs::path root_;
    int number_;
    Random random_;
    Problems& problems_;
    uint64_t operations_ = 0;
    uint64_t files_ = 0;
};

void check_names(const fs::path& directory, const std::set<std::string>& listed,
                 const std::string& where, Problems& problems) {
    for (uint64_t number = 0; number < kNames; ++number) {
        const std::string name = file_name(number);
        const bool found = ::access((directory / name).c_str(), F_OK) == 0;
        if (found != (listed.count(name) != 0)) {
            problems.add(where + name +
                         (found ? " is found but not listed" : " is listed but not found"));
        }
    }
}

// Each file a whole version, listing and looking up of one mind, every traveller there once.
void check_snapshot(const fs::path& root, const std::string& token, Problems& problems) {
    std::map<std::string, int> travellers;
    for (uint64_t number = 0; number < kDirectories; ++number) {
        const fs::path directory = root / directory_name(number);
        const std::string where = token + "/" + directory_name(number) + "/";
        std::set<std::string> listed;
        try {
            for (const auto& entry : fs::directory_iterator(directory)) {
                const std::string name = entry.path().filename();
                if (!listed.insert(name).second) problems.add(where + name + " is listed twice");
                if (name.rfind("traveller", 0) == 0) ++travellers[name];
                const std::string flaw = flaw_of(contents_of(entry.path()));
                if (!flaw.empty()) problems.add(where + name + ": " + flaw);
            }
        } catch (const std::exception& error) {
            problems.add(where + ": " + error.what());
        }
        check_names(directory, listed, where, problems);
    }
    for (uint64_t number = 0; number < kTravellers; ++number) {
        const int times = travellers[traveller_name(number)];
        if (times != 1)
            problems.add(token + ": " + traveller_name(number) + " is there " +
                         std::to_string(times) + " times");
    }
}

void prepare(const fs::path& root) {
    for (uint64_t number = 0; number < kDirectories; ++number)
        fs::create_directory(root / directory_name(number));
    for (uint64_t number = 0; number < kTravellers; ++number) {
        write_file(root / directory_name(0) / traveller_name(number), version_of(number, 0));
    }
}

void run_concurrency(FilesystemType type, std::chrono::milliseconds usual) {
    Share share(type);
    prepare(share.path());
    const uint64_t seed = announce_seed("concurrency on " + to_string(type));
    Random random(seed);
    Problems problems;
    std::atomic<bool> stop{false};
    std::vector<std::unique_ptr<Worker>> workers;
    std::vector<std::thread> threads;
    for (int number = 1; number <= kThreads; ++number) {
        workers.push_back(std::make_unique<Worker>(share.path(), number,
                                                   seed + static_cast<uint64_t>(number), problems));
        threads.emplace_back([&stop, worker = workers.back().get()] { worker->work(stop); });
    }
    // Pictures taken while the threads were at work.
    std::map<std::string, Tree> pictures;
    uint64_t made = 0;
    const Budget budget(usual);
    try {
        while (!budget.spent(made) && problems.all().empty()) {
            std::this_thread::sleep_for(kBetweenSnapshots);
            const std::string token = share.mount().create_snapshot();
            ++made;
            check_snapshot(share.mount().snapshot_path(token), token, problems);
            pictures[token] = capture(share.mount().snapshot_path(token));
            if (pictures.size() <= kKept) continue;
            auto gone = pictures.begin();
            if (random.chance(50))
                std::advance(gone, static_cast<long>(random.below(pictures.size())));
            share.mount().delete_snapshot(gone->first);
            pictures.erase(gone);
        }
    } catch (const std::exception& error) {
        problems.add(error.what());
    }
    stop = true;
    for (auto& thread : threads) thread.join();
    REQUIRE(problems.all() == "");

    uint64_t operations = 0;
    for (const auto& worker : workers) operations += worker->operations();
    std::printf("  %llu operations, %llu snapshots\n", static_cast<unsigned long long>(operations),
                static_cast<unsigned long long>(made));
    const auto check_all = [&](const std::string& occasion) {
        CAPTURE(occasion);
        for (const auto& taken : pictures) {
            const auto& token = taken.first;
            CAPTURE(token);
            check_snapshot(share.mount().snapshot_path(token), token, problems);
            CHECK(differences(taken.second, capture(share.mount().snapshot_path(token))) ==
                  kNoDifferences);
        }
        CHECK(problems.all() == "");
    };
    check_all("at rest");
    drop_kernel_caches();
    check_all("with empty caches");
    share.mount().remount();
    check_all("mounted again");
}

// The last two names of a file go at the same time, again and again.
void lose_both_names_at_once(Share& share) {
    constexpr uint64_t kFiles = 150;
    const fs::path one = share.path("one");
    const fs::path two = share.path("two");
    fs::create_directory(one);
    fs::create_directory(two);
    for (uint64_t number = 0; number < kFiles; ++number) {
        write_file(one / file_name(number), version_of(number, 1));
        REQUIRE(::link((one / file_name(number)).c_str(), (two / file_name(number)).c_str()) == 0);
    }
    const std::string token = share.mount().create_snapshot();
    std::atomic<int> waiting{0};
    std::atomic<int> failed{0};
    const auto remove_all = [&](const fs::path& directory, bool by_rename) {
        const fs::path other = directory / "other";
        for (uint64_t number = 0; number < kFiles; ++number) {
            if (by_rename) write_file(other, "x");
            // Both threads begin each file together.
            ++waiting;
            while (waiting < 2 * static_cast<int>(number + 1)) {
            }
            const fs::path name = directory / file_name(number);
            if ((by_rename ? ::rename(other.c_str(), name.c_str()) : ::unlink(name.c_str())) != 0)
                ++failed;
        }
    };
    std::thread first([&] { remove_all(one, false); });
    std::thread second([&] { remove_all(two, true); });
    first.join();
    second.join();
    CHECK(failed == 0);
    for (const char* name : {"one", "two"}) {
        for (uint64_t number = 0; number < kFiles; ++number) {
            const auto path = share.mount().snapshot_path(token) / name / file_name(number);
            REQUIRE(contents_of(path) == version_of(number, 1));
        }
    }
}

}  // namespace

TEST_SUITE("concurrency") {
    TEST_CASE("eight threads at work on ext4 while snapshots come and go") {
        UMBRA_NEEDS_MOUNTS();
        run_concurrency(FilesystemType::Ext4, std::chrono::seconds(12));
    }
    TEST_CASE("eight threads at work on XFS while snapshots come and go") {
        UMBRA_NEEDS_MOUNTS();
        run_concurrency(FilesystemType::Xfs, std::chrono::seconds(6));
    }
    TEST_CASE("eight threads at work on btrfs while snapshots come and go") {
        UMBRA_NEEDS_MOUNTS();
        run_concurrency(FilesystemType::Btrfs, std::chrono::seconds(6));
    }
    TEST_CASE("a file that loses its last two names at once stays in the snapshot") {
        UMBRA_NEEDS_MOUNTS();
        Share share(FilesystemType::Ext4);
        lose_both_names_at_once(share);
    }
}

}  // namespace umbra::test
