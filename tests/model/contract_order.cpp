// A snapshot is a moment. Writers do n to A and then, when that has returned, n to B, without any
// sync; no snapshot may show B ahead of A.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <thread>

#include "tests/support/random.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"

namespace umbra::test {

namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds kBetweenSnapshots{50};
constexpr size_t kMostSnapshots = 12;

// How far each side of a pair had got.
struct Progress {
    uint64_t a_least = 0;  // the whole of A shows at least this number
    uint64_t a_most = 0;
    uint64_t b = 0;
    bool operator==(const Progress&) const = default;
};

// One pair of things that are changed one after the other. `folder` is a directory of its own.
class Pair {
   public:
    virtual ~Pair() = default;
    virtual std::string name() const = 0;
    // Before the writer starts, and again in the writer.
    virtual void prepare(const fs::path&) {}
    virtual void open(const fs::path&) {}
    // In the writer. False: a system call failed.
    virtual bool change_a(const fs::path& folder, uint64_t number) = 0;
    virtual bool change_b(const fs::path& folder, uint64_t number) = 0;
    // Both made durable in between where the kernel may write back in any order.
    virtual bool sync_a() { return true; }
    virtual bool can_sync() const { return false; }
    virtual Progress look(const fs::path& folder) const = 0;
};

std::pair<uint64_t, uint64_t> least_and_most(const std::string& bytes) {
    uint64_t least = UINT64_MAX;
    uint64_t most = 0;
    for (size_t at = 0; at + sizeof(uint64_t) <= bytes.size(); at += sizeof(uint64_t)) {
        uint64_t word = 0;
        std::memcpy(&word, bytes.data() + at, sizeof word);
        least = std::min(least, word);
        most = std::max(most, word);
    }
    return {least == UINT64_MAX ? 0 : least, most};
}

std::string filled(size_t size, uint64_t number) {
    std::string bytes(size, '\0');
    for (size_t at = 0; at + sizeof number <= size; at += sizeof number) {
        std::memcpy(bytes.data() + at, &number, sizeof number);
    }
    return bytes;
}

bool write_at(int fd, const std::string& bytes, off_t offset) {
    for (size_t done = 0; done < bytes.size();) {
        const ssize_t count = ::pwrite(fd, bytes.data() + done, bytes.size() - done,
                                       offset + static_cast<off_t>(done));
        if (count <= 0) return false;
        done += static_cast<size_t>(count);
    }
    return true;
}

int open_to_write(const fs::path& path, int flags = 0) {
    return ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | flags, 0644);
}

// B is eight bytes in a file.
class SmallB : public Pair {
   public:
    void open(const fs::path& folder) override { b_ = open_to_write(folder / "B"); }
    bool change_b(const fs::path&, uint64_t number) override {
        return write_at(b_, filled(8, number), 0);
    }

   protected:
    static uint64_t look_b(const fs::path& folder) {
        return fs::exists(folder / "B") ? least_and_most(contents_of(folder / "B")).first : 0;
    }

   private:
    int b_ = -1;
};

// A is a file rewritten in place from `offset` on, its size staying the same.
class Overwrite : public SmallB {
   public:
    Overwrite(size_t size, off_t offset) : size_(size), offset_(offset) {}
    std::string name() const override { return "overwrite " + std::to_string(size_); }
    void prepare(const fs::path& folder) override {
        write_file(folder / "A", std::string(static_cast<size_t>(offset_) + size_, '\0'));
        write_file(folder / "B", std::string(8, '\0'));
    }
    void open(const fs::path& folder) override {
        SmallB::open(folder);
        a_ = open_to_write(folder / "A");
    }
    bool change_a(const fs::path&, uint64_t number) override {
        return write_at(a_, filled(size_, number), offset_);
    }
    bool can_sync() const override { return true; }
    bool sync_a() override { return ::fsync(a_) == 0; }
    Progress look(const fs::path& folder) const override {
        const auto [least, most] =
            least_and_most(contents_of(folder / "A").substr(static_cast<size_t>(offset_)));
        return {least, most, look_b(folder)};
    }

   private:
    size_t size_;
    off_t offset_;
    int a_ = -1;
};

// Both grow by a record at a time; how many there are is the number.
class Append : public Pair {
   public:
    explicit Append(size_t record) : record_(record) {}
    std::string name() const override { return "append " + std::to_string(record_); }
    void open(const fs::path& folder) override {
        a_ = open_to_write(folder / "A", O_APPEND);
        b_ = open_to_write(folder / "B", O_APPEND);
    }
    bool change_a(const fs::path&, uint64_t number) override { return append(a_, number); }
    bool change_b(const fs::path&, uint64_t number) override { return append(b_, number); }
    bool can_sync() const override { return true; }
    bool sync_a() override { return ::fsync(a_) == 0; }
    Progress look(const fs::path& folder) const override {
        const uint64_t a = records(folder / "A");
        return {a, a, records(folder / "B")};
    }

   private:
    bool append(int fd, uint64_t number) const {
        const std::string bytes = filled(record_, number);
        return ::write(fd, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size());
    }
    // How many records there are; the last ones must be what they should be.
    uint64_t records(const fs::path& path) const {
        const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT) return 0;
        const auto count = static_cast<uint64_t>(::lseek(fd, 0, SEEK_END)) / record_;
        for (uint64_t number = count > 20 ? count - 20 : 1; number <= count; ++number) {
            std::string bytes(record_, '\0');
            const auto offset = static_cast<off_t>((number - 1) * record_);
            if (::pread(fd, bytes.data(), record_, offset) != static_cast<ssize_t>(record_) ||
                bytes != filled(record_, number)) {
                ::close(fd);
                throw std::runtime_error(path.string() + ": record " + std::to_string(number) +
                                         " is wrong");
            }
        }
        ::close(fd);
        return count;
    }
    size_t record_;
    int a_ = -1;
    int b_ = -1;
};

uint64_t highest_name(const fs::path& folder) {
    uint64_t highest = 0;
    if (!fs::exists(folder)) return 0;
    for (const auto& entry : fs::directory_iterator(folder)) {
        highest = std::max<uint64_t>(highest,
                                     std::strtoull(entry.path().filename().c_str(), nullptr, 10));
    }
    return highest;
}

// File n is made in one directory, then marker n in another.
class Create : public Pair {
   public:
    std::string name() const override { return "create"; }
    void prepare(const fs::path& folder) override {
        fs::create_directory(folder / "files");
        fs::create_directory(folder / "markers");
    }
    bool change_a(const fs::path& folder, uint64_t number) override {
        return make(folder / "files", number);
    }
    bool change_b(const fs::path& folder, uint64_t number) override {
        return make(folder / "markers", number);
    }
    Progress look(const fs::path& folder) const override {
        const uint64_t a = highest_name(folder / "files");
        return {a, a, highest_name(folder / "markers")};
    }

   private:
    // The one before last goes, so that the directories stay small.
    static bool make(const fs::path& directory, uint64_t number) {
        const int fd = open_to_write(directory / std::to_string(number), O_EXCL);
        if (fd < 0) return false;
        ::close(fd);
        if (number > 2) ::unlink((directory / std::to_string(number - 2)).c_str());
        return true;
    }
};

// A is replaced by a rename, as editors save.
class Rename : public SmallB {
   public:
    std::string name() const override { return "rename over"; }
    void prepare(const fs::path& folder) override {
        write_file(folder / "A", std::string(20'000, '\0'));
        write_file(folder / "B", std::string(8, '\0'));
    }
    bool change_a(const fs::path& folder, uint64_t number) override {
        const int fd = open_to_write(folder / "new", O_EXCL);
        if (fd < 0) return false;
        const bool written = write_at(fd, filled(20'000, number), 0);
        ::close(fd);
        return written && ::rename((folder / "new").c_str(), (folder / "A").c_str()) == 0;
    }
    Progress look(const fs::path& folder) const override {
        const auto [least, most] = least_and_most(contents_of(folder / "A"));
        return {least, most, look_b(folder)};
    }
};

class RenameDirectory : public SmallB {
   public:
    std::string name() const override { return "rename a directory"; }
    void prepare(const fs::path& folder) override {
        fs::create_directories(folder / "moving" / "0");
        write_file(folder / "moving" / "0" / "inside", "here");
        write_file(folder / "B", std::string(8, '\0'));
    }
    bool change_a(const fs::path& folder, uint64_t number) override {
        return ::rename((folder / "moving" / std::to_string(number - 1)).c_str(),
                        (folder / "moving" / std::to_string(number)).c_str()) == 0;
    }
    Progress look(const fs::path& folder) const override {
        const uint64_t a = highest_name(folder / "moving");
        if (contents_of(folder / "moving" / std::to_string(a) / "inside") != "here") {
            throw std::runtime_error("the moved directory lost its file");
        }
        return {a, a, look_b(folder)};
    }
};

// Sizes and xattrs.
class Attributes : public Pair {
   public:
    std::string name() const override { return "truncate, then setxattr"; }
    void prepare(const fs::path& folder) override {
        write_file(folder / "A", "");
        write_file(folder / "B", "");
    }
    bool change_a(const fs::path& folder, uint64_t number) override {
        return ::truncate((folder / "A").c_str(), static_cast<off_t>(number)) == 0;
    }
    bool change_b(const fs::path& folder, uint64_t number) override {
        return ::setxattr((folder / "B").c_str(), "user.number", &number, sizeof number, 0) == 0;
    }
    Progress look(const fs::path& folder) const override {
        uint64_t b = 0;
        if (::getxattr((folder / "B").c_str(), "user.number", &b, sizeof b) < 0) b = 0;
        const uint64_t a = fs::file_size(folder / "A");
        return {a, a, b};
    }
};

// A process that does numbers 1, 2, ... until it is told to stop.
class Writer {
   public:
    Writer(Pair& pair, const fs::path& folder, bool sync) : folder_(folder) {
        void* shared = ::mmap(nullptr, sizeof(std::atomic<bool>), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        REQUIRE(shared != MAP_FAILED);
        stop_ = new (shared) std::atomic<bool>(false);
        std::fflush(nullptr);
        pid_ = ::fork();
        REQUIRE(pid_ >= 0);
        if (pid_ != 0) return;
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        pair.open(folder);
        for (uint64_t number = 1; !*stop_; ++number) {
            const bool done = pair.change_a(folder, number) && (!sync || pair.sync_a()) &&
                              pair.change_b(folder, number);
            if (done) continue;
            std::perror(("writer '" + pair.name() + "'").c_str());
            ::_exit(1);
        }
        ::_exit(0);
    }
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;
    ~Writer() {
        stop();
        ::munmap(stop_, sizeof *stop_);
    }
    // True when every system call of the writer succeeded.
    bool stop() {
        if (pid_ < 0) return succeeded_;
        *stop_ = true;
        int status = 0;
        ::waitpid(pid_, &status, 0);
        pid_ = -1;
        return succeeded_ = status == 0;
    }

   private:
    fs::path folder_;
    std::atomic<bool>* stop_ = nullptr;
    pid_t pid_ = -1;
    bool succeeded_ = false;
};

using Pairs = std::vector<std::unique_ptr<Pair>>;

Pairs all_pairs() {
    Pairs pairs;
    pairs.push_back(std::make_unique<Overwrite>(8, 0));
    pairs.push_back(std::make_unique<Overwrite>(40'000, 5000));
    pairs.push_back(std::make_unique<Overwrite>(3'000'000, 0));
    pairs.push_back(std::make_unique<Append>(64));
    pairs.push_back(std::make_unique<Append>(5000));
    pairs.push_back(std::make_unique<Create>());
    pairs.push_back(std::make_unique<Rename>());
    pairs.push_back(std::make_unique<RenameDirectory>());
    pairs.push_back(std::make_unique<Attributes>());
    return pairs;
}

class OrderTest {
   public:
    OrderTest(Share& share, Pairs pairs, bool sync)
        : share_(share),
          pairs_(std::move(pairs)),
          sync_(sync),
          random_(announce_seed("order of writes on " + to_string(share.type()))) {}

    void run(std::chrono::milliseconds usual) {
        std::vector<std::unique_ptr<Writer>> writers;
        for (const auto& pair : pairs_) {
            fs::create_directory(folder(share_.path(), *pair));
            pair->prepare(folder(share_.path(), *pair));
        }
        for (const auto& pair : pairs_) {
            writers.push_back(std::make_unique<Writer>(*pair, folder(share_.path(), *pair), sync_));
        }
        const Budget budget(usual);
        uint64_t made = 0;
        while (!budget.spent(made)) {
            std::this_thread::sleep_for(kBetweenSnapshots);
            const std::string token = share_.mount().create_snapshot();
            ++made;
            // Some at once, while the writers are at it, and each at the latest when it goes.
            seen_[token];
            if (made % 3 == 0) check(token);
            if (seen_.size() > kMostSnapshots) forget_one();
        }
        for (const auto& writer : writers) CHECK(writer->stop());
        // Once more, when much has been written over what they need.
        drop_kernel_caches();
        for (const auto& [token, progress] : std::map(seen_)) check(token);
        std::printf("  %llu snapshots", static_cast<unsigned long long>(made));
        for (const auto& pair : pairs_) {
            const auto end = pair->look(folder(share_.path(), *pair));
            CHECK(end.a_least == end.b);
            CHECK(end.b > 0);
            std::printf("; %s: %llu", pair->name().c_str(), static_cast<unsigned long long>(end.b));
        }
        std::printf("\n");
    }

   private:
    static fs::path folder(const fs::path& root, const Pair& pair) { return root / pair.name(); }

    void check(const std::string& token) {
        for (const auto& pair : pairs_) {
            const Progress now = pair->look(folder(share_.mount().snapshot_path(token), *pair));
            CAPTURE(token);
            CAPTURE(pair->name());
            CHECK(now.a_least >= now.b);
            // With write-through the other half holds as well: n + 1 went to A after n had gone to
            // B.
            if (!sync_) CHECK(now.a_most <= now.b + 1);
            const auto [known, fresh] = seen_[token].emplace(pair->name(), now);
            CHECK(known->second == now);
        }
    }

    void forget_one() {
        auto gone = seen_.begin();
        if (random_.chance(50)) std::advance(gone, static_cast<long>(random_.below(seen_.size())));
        check(gone->first);
        share_.mount().delete_snapshot(gone->first);
        seen_.erase(gone);
    }

    Share& share_;
    Pairs pairs_;
    bool sync_;
    Random random_;
    std::map<std::string, std::map<std::string, Progress>> seen_;
};

}  // namespace

TEST_SUITE("contract") {
    TEST_CASE("no snapshot shows a later write without an earlier one") {
        UMBRA_NEEDS_MOUNTS();
        for (const auto type : all_filesystem_types()) {
            CAPTURE(to_string(type));
            Share share(type);
            OrderTest(share, all_pairs(), false)
                .run(type == FilesystemType::Ext4 ? std::chrono::seconds(10)
                                                  : std::chrono::seconds(5));
        }
    }
    TEST_CASE(
        "with -o writeback no snapshot shows a later write without an earlier one that was "
        "fsynced") {
        UMBRA_NEEDS_MOUNTS();
        Share share(FilesystemType::Ext4, {"-o", "writeback"});
        Pairs pairs;
        for (auto& pair : all_pairs()) {
            if (pair->can_sync()) pairs.push_back(std::move(pair));
        }
        OrderTest(share, std::move(pairs), true).run(std::chrono::seconds(8));
    }
}

}  // namespace umbra::test
