// What a write that returned before `snapshot create` began leaves in the snapshot: everything,
// though the file is open, was never synced and its pages are dirty or mapped.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <functional>
#include <thread>

#include "tests/support/random.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"

namespace umbra::test {

namespace {

const std::vector<std::string> kWriteback{"-o", "writeback"};

struct Descriptor {
    explicit Descriptor(int number) : fd(number) { REQUIRE(fd >= 0); }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    ~Descriptor() { ::close(fd); }
    const int fd;
};

struct SharedMapping {
    SharedMapping(int fd, size_t size) : length(size) {
        void* mapped = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        REQUIRE(mapped != MAP_FAILED);
        bytes = static_cast<char*>(mapped);
    }
    SharedMapping(const SharedMapping&) = delete;
    SharedMapping& operator=(const SharedMapping&) = delete;
    ~SharedMapping() { ::munmap(bytes, length); }
    char* bytes = nullptr;
    const size_t length;
};

// The same contents, checked without printing megabytes.
bool same(const std::filesystem::path& path, const std::string& expected) {
    return contents_of(path) == expected;
}

// Runs a step in a child process that stays alive, its files open, until the object is destroyed.
class StayingChild {
   public:
    explicit StayingChild(const std::function<bool()>& step) {
        int done[2];
        REQUIRE(::pipe2(done, O_CLOEXEC) == 0);
        REQUIRE(::pipe2(end_, O_CLOEXEC) == 0);
        pid_ = ::fork();
        REQUIRE(pid_ >= 0);
        if (pid_ == 0) {
            const char answer = step() ? 'y' : 'n';
            ::close(end_[1]);
            char byte;
            if (::write(done[1], &answer, 1) == 1) (void)!::read(end_[0], &byte, 1);
            ::_exit(0);
        }
        ::close(done[1]);
        char answer = 'n';
        const bool answered = ::read(done[0], &answer, 1) == 1;
        ::close(done[0]);
        succeeded_ = answered && answer == 'y';
    }
    StayingChild(const StayingChild&) = delete;
    StayingChild& operator=(const StayingChild&) = delete;
    ~StayingChild() {
        ::close(end_[0]);
        ::close(end_[1]);
        ::waitpid(pid_, nullptr, 0);
    }
    bool succeeded() const { return succeeded_; }

   private:
    pid_t pid_ = -1;
    int end_[2] = {-1, -1};
    bool succeeded_ = false;
};

void written_and_open(Share& share) {
    Random random(announce_seed("written and open on " + to_string(share.type())));
    const auto path = share.path("open");
    for (const size_t size : {size_t{1}, size_t{5000}, size_t{70'000}, size_t{2'500'000}}) {
        const std::string first = random.bytes(size);
        const std::string second = random.bytes(size);
        const std::string third = random.bytes(size);
        write_file(path, first);
        const std::string s1 = share.mount().create_snapshot();
        const Descriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
        REQUIRE(::pwrite(file.fd, second.data(), size, 0) == static_cast<ssize_t>(size));
        const std::string s2 = share.mount().create_snapshot();
        REQUIRE(::pwrite(file.fd, third.data(), size, 0) == static_cast<ssize_t>(size));
        CHECK(same(share.mount().snapshot_path(s1) / "open", first));
        CHECK(same(share.mount().snapshot_path(s2) / "open", second));
        CHECK(same(path, third));
    }
}

void created_and_never_closed(Share& share) {
    const Descriptor file(
        ::open(share.path("created").c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    REQUIRE(::write(file.fd, "one", 3) == 3);
    const std::string s1 = share.mount().create_snapshot();
    REQUIRE(::write(file.fd, "two", 3) == 3);
    const std::string s2 = share.mount().create_snapshot();
    REQUIRE(::ftruncate(file.fd, 1) == 0);
    CHECK(contents_of(share.mount().snapshot_path(s1) / "created") == "one");
    CHECK(contents_of(share.mount().snapshot_path(s2) / "created") == "onetwo");
    CHECK(contents_of(share.path("created")) == "o");
}

void written_by_another_process(Share& share) {
    const auto path = share.path("theirs");
    write_file(path, std::string(100'000, 'a'));
    const StayingChild child([&] {
        const int fd = ::open(path.c_str(), O_RDWR);
        const std::string bytes(50'000, 'b');
        return ::pwrite(fd, bytes.data(), bytes.size(), 30'001) ==
               static_cast<ssize_t>(bytes.size());
    });
    REQUIRE(child.succeeded());
    const std::string token = share.mount().create_snapshot();
    write_file(path, "later");
    std::string expected(100'000, 'a');
    expected.replace(30'001, 50'000, 50'000, 'b');
    CHECK(same(share.mount().snapshot_path(token) / "theirs", expected));
}

void stored_through_a_mapping(Share& share) {
    constexpr size_t kSize = 400'000;
    const auto path = share.path("mapped");
    write_file(path, std::string(kSize, 'a'));
    const Descriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    const SharedMapping mapping(file.fd, kSize);
    std::string expected(kSize, 'a');
    std::vector<std::pair<std::string, std::string>> snapshots;
    for (int round = 0; round < 5; ++round) {
        // The same pages again each time: a snapshot must not stop later stores from being seen.
        const char letter = static_cast<char>('b' + round);
        for (const size_t at : {size_t{0}, size_t{4095}, size_t{100'000}, kSize - 1}) {
            mapping.bytes[at] = letter;
            expected[at] = letter;
        }
        snapshots.emplace_back(share.mount().create_snapshot(), expected);
    }
    std::memset(mapping.bytes, 'z', kSize);
    for (const auto& [token, contents] : snapshots) {
        CHECK(same(share.mount().snapshot_path(token) / "mapped", contents));
    }
    CHECK(same(path, std::string(kSize, 'z')));
}

void stored_by_another_process(Share& share) {
    constexpr size_t kSize = 60'000;
    const auto path = share.path("mapped by another");
    write_file(path, std::string(kSize, 'a'));
    // The descriptor is closed: the mapping alone keeps the file open.
    const StayingChild child([&] {
        const int fd = ::open(path.c_str(), O_RDWR);
        auto* bytes =
            static_cast<char*>(::mmap(nullptr, kSize, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
        ::close(fd);
        if (bytes == MAP_FAILED) return false;
        std::memset(bytes + 10'000, 'b', 20'000);
        return true;
    });
    REQUIRE(child.succeeded());
    const std::string token = share.mount().create_snapshot();
    std::string expected(kSize, 'a');
    expected.replace(10'000, 20'000, 20'000, 'b');
    CHECK(same(share.mount().snapshot_path(token) / "mapped by another", expected));
}

void removed_while_open(Share& share) {
    const auto path = share.path("removed");
    write_file(path, std::string(40'000, 'a'));
    const Descriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    REQUIRE(::pwrite(file.fd, "b", 1, 0) == 1);
    const std::string s1 = share.mount().create_snapshot();
    REQUIRE(::unlink(path.c_str()) == 0);
    REQUIRE(::pwrite(file.fd, "c", 1, 0) == 1);
    REQUIRE(::ftruncate(file.fd, 10) == 0);
    const std::string s2 = share.mount().create_snapshot();
    CHECK(same(share.mount().snapshot_path(s1) / "removed", "b" + std::string(39'999, 'a')));
    CHECK(::access((share.mount().snapshot_path(s2) / "removed").c_str(), F_OK) != 0);
    char byte = 0;
    CHECK(::pread(file.fd, &byte, 1, 0) == 1);
    CHECK(byte == 'c');
}

// A thread stores growing numbers into all pages; no snapshot is older than its beginning or newer
// than its end.
void stored_meanwhile(Share& share) {
    constexpr size_t kPages = 40;
    constexpr size_t kPage = 4096;
    const auto path = share.path("counting");
    write_file(path, std::string(kPages * kPage, '\0'));
    const Descriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    const SharedMapping mapping(file.fd, kPages * kPage);
    std::atomic<bool> stop{false};
    std::atomic<uint64_t> stored{0};   // by now in every page
    std::atomic<uint64_t> storing{0};  // perhaps in some page
    std::thread writer([&] {
        for (uint64_t number = 1; !stop; ++number) {
            storing = number;
            for (size_t page = 0; page < kPages; ++page) {
                __atomic_store_n(reinterpret_cast<uint64_t*>(mapping.bytes + page * kPage), number,
                                 __ATOMIC_SEQ_CST);
            }
            stored = number;
        }
    });
    struct Bounds {
        std::string token;
        uint64_t least, most;
    };
    std::vector<Bounds> snapshots;
    for (int round = 0; round < 12; ++round) {
        const uint64_t least = stored;
        const std::string token = share.mount().create_snapshot();
        snapshots.push_back({token, least, storing});
    }
    stop = true;
    writer.join();
    for (const auto& snapshot : snapshots) {
        const std::string bytes =
            contents_of(share.mount().snapshot_path(snapshot.token) / "counting");
        REQUIRE(bytes.size() == kPages * kPage);
        for (size_t page = 0; page < kPages; ++page) {
            uint64_t number = 0;
            std::memcpy(&number, bytes.data() + page * kPage, sizeof number);
            CHECK(number >= snapshot.least);
            CHECK(number <= snapshot.most);
        }
    }
}

// Many short rounds: what was written last, in a random place, must be there.
void written_just_before(Share& share) {
    constexpr size_t kSize = 300'000;
    Random random(announce_seed("written just before on " + to_string(share.type())));
    const auto path = share.path("again and again");
    std::string expected = random.bytes(kSize);
    write_file(path, expected);
    const Descriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    std::vector<std::pair<std::string, std::string>> snapshots;
    for (int round = 0; round < with_soak(25); ++round) {
        const std::string bytes = random.bytes(1 + random.below(30'000));
        const size_t offset = random.below(kSize - bytes.size());
        REQUIRE(::pwrite(file.fd, bytes.data(), bytes.size(), static_cast<off_t>(offset)) ==
                static_cast<ssize_t>(bytes.size()));
        expected.replace(offset, bytes.size(), bytes);
        snapshots.emplace_back(share.mount().create_snapshot(), expected);
    }
    for (const auto& [token, contents] : snapshots) {
        CHECK(same(share.mount().snapshot_path(token) / "again and again", contents));
    }
}

// The kernel may own the times: cutting a file to the size it has must not date it below alone.
void times_as_shown(Share& share) {
    const auto path = share.path("dated");
    write_file(path, "12345");
    const Descriptor file(::open(path.c_str(), O_RDWR | O_CLOEXEC));
    REQUIRE(::pwrite(file.fd, "6", 1, 0) == 1);
    REQUIRE(::fsync(file.fd) == 0);
    ::usleep(50'000);
    REQUIRE(::truncate(path.c_str(), 5) == 0);
    struct stat shown {};
    REQUIRE(::stat(path.c_str(), &shown) == 0);
    const std::string s1 = share.mount().create_snapshot();
    struct stat past {};
    REQUIRE(::stat((share.mount().snapshot_path(s1) / "dated").c_str(), &past) == 0);
    CHECK(past.st_mtim.tv_sec == shown.st_mtim.tv_sec);
    CHECK(past.st_mtim.tv_nsec == shown.st_mtim.tv_nsec);
}

void everything(FilesystemType type, const std::vector<std::string>& mount_arguments) {
    Share share(type, mount_arguments);
    written_and_open(share);
    created_and_never_closed(share);
    written_by_another_process(share);
    stored_through_a_mapping(share);
    stored_by_another_process(share);
    removed_while_open(share);
    stored_meanwhile(share);
    written_just_before(share);
    times_as_shown(share);
}

}  // namespace

TEST_SUITE("contract") {
    TEST_CASE("what was written before a snapshot began is in it") {
        UMBRA_NEEDS_MOUNTS();
        for (const auto type : all_filesystem_types()) {
            CAPTURE(to_string(type));
            everything(type, {});
        }
    }
    TEST_CASE("what was written before a snapshot began is in it, with -o writeback") {
        UMBRA_NEEDS_MOUNTS();
        everything(FilesystemType::Ext4, kWriteback);
    }
}

}  // namespace umbra::test
