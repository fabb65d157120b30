// umbra restart: the daemon goes on as another program, and whoever uses the share does not notice.
#include <dirent.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>
#include <vector>

#include "snapstore/unique_fd.h"
#include "tests/support/random.h"
#include "tests/support/scratch.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kRestarts = 3;
constexpr std::size_t kBlock = 4096;

json status_of(const Share& share) {
    return json::parse(must_run({umbra_binary(), "status", share.path().string(), "--json"}));
}

void restart(const Share& share) {
    const ProcessResult result = umbra({"restart", share.path().string()});
    REQUIRE_MESSAGE(result.exit_code == 0, result.err);
}

UniqueFd opened(const fs::path& path, int flags) {
    UniqueFd fd(::open(path.c_str(), flags | O_CLOEXEC, 0644));
    REQUIRE_MESSAGE(fd.valid(), path << ": " << std::strerror(errno));
    return fd;
}

std::string read_all(int fd) {
    std::string text(1 << 20, '\0');
    const ssize_t size = ::pread(fd, text.data(), text.size(), 0);
    REQUIRE(size >= 0);
    text.resize(static_cast<std::size_t>(size));
    return text;
}

// Writes a file, block after block, through one descriptor, until told to stop.
class Writer {
   public:
    Writer(const fs::path& file, uint64_t seed)
        : fd_(opened(file, O_RDWR | O_CREAT)), thread_([this, seed] { work(seed); }) {}
    ~Writer() { finish(); }
    Writer(const Writer&) = delete;
    Writer& operator=(const Writer&) = delete;

    void finish() {
        done_ = true;
        if (thread_.joinable()) thread_.join();
    }
    int failures() const { return failures_; }
    std::size_t written() const { return written_; }
    const std::string& expected() const { return expected_; }
    int descriptor() const { return fd_.get(); }

   private:
    void work(uint64_t seed) {
        Random random(seed);
        expected_.assign(64 * kBlock, '\0');
        while (!done_) {
            const std::size_t place = random.below(64) * kBlock;
            const std::string bytes = random.bytes(kBlock);
            const ssize_t size =
                ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(place));
            if (size != static_cast<ssize_t>(bytes.size())) {
                ++failures_;
                return;
            }
            expected_.replace(place, kBlock, bytes);
            ++written_;
        }
    }

    UniqueFd fd_;
    std::string expected_;
    std::atomic<bool> done_ = false;
    std::atomic<int> failures_ = 0;
    std::atomic<std::size_t> written_ = 0;
    std::thread thread_;
};

std::string padded(std::string text, std::size_t size) {
    text.resize(size, '\0');
    return text;
}

void what_is_open_stays_open(FilesystemType type, const std::vector<std::string>& arguments) {
    const uint64_t seed = announce_seed("restart");
    Share share(type, arguments);
    for (int i = 0; i < 3000; ++i) write_file(share.path("entry-" + std::to_string(i)), "");
    write_file(share.path("old"), "as it was");
    REQUIRE(::mkdir(share.path("gone").c_str(), 0755) == 0);
    write_file(share.path("unlinked"), "no name any more");
    const std::string token = share.mount().create_snapshot();
    const fs::path past_path = share.mount().snapshot_path(token) / "old";
    write_file(share.path("old"), "as it is");
    const pid_t before = share.mount().daemon_pid();

    // All kinds of what may be open.
    const UniqueFd past = opened(past_path, O_RDONLY);
    const UniqueFd unlinked = opened(share.path("unlinked"), O_RDWR);
    REQUIRE(::unlink(share.path("unlinked").c_str()) == 0);
    const UniqueFd gone = opened(share.path("gone"), O_RDONLY | O_DIRECTORY);
    REQUIRE(::rmdir(share.path("gone").c_str()) == 0);
    const UniqueFd unnamed = opened(share.path(), O_RDWR | O_TMPFILE);
    REQUIRE(::pwrite(unnamed.get(), "unnamed", 7, 0) == 7);
    const UniqueFd mapped = opened(share.path("mapped"), O_RDWR | O_CREAT);
    REQUIRE(::ftruncate(mapped.get(), kBlock) == 0);
    auto* memory = static_cast<char*>(
        ::mmap(nullptr, kBlock, PROT_READ | PROT_WRITE, MAP_SHARED, mapped.get(), 0));
    REQUIRE(memory != MAP_FAILED);
    const UniqueFd locked = opened(share.path("locked"), O_RDWR | O_CREAT);
    REQUIRE(::flock(locked.get(), LOCK_EX) == 0);
    DIR* directory = ::opendir(share.path().c_str());
    REQUIRE(directory != nullptr);
    std::multiset<std::string> listed;
    for (int i = 0; i < 100; ++i) listed.insert(::readdir(directory)->d_name);

    Writer writer(share.path("written"), seed);
    for (int i = 1; i <= kRestarts; ++i) {
        const std::size_t written = writer.written();
        std::memcpy(memory, ("round " + std::to_string(i)).c_str(), 8);
        restart(share);
        CHECK(status_of(share).at("restarts") == i);
        CHECK(read_all(past.get()) == "as it was");
        CHECK(read_all(unlinked.get()) == "no name any more");
        CHECK(read_all(unnamed.get()) == "unnamed");
        struct stat status {};
        CHECK(::fstat(gone.get(), &status) == 0);
        CHECK(status.st_nlink == 0);
        CHECK(::fstat(unlinked.get(), &status) == 0);
        CHECK(status.st_nlink == 0);
        CHECK(::ftruncate(mapped.get(), kBlock) == 0);
        while (writer.written() == written && writer.failures() == 0) ::usleep(1000);
    }
    writer.finish();
    CHECK(writer.failures() == 0);
    CHECK(share.mount().daemon_pid() == before);
    CHECK(padded(read_all(writer.descriptor()), 64 * kBlock) == writer.expected());
    CHECK(padded(contents_of(share.path("written")), 64 * kBlock) == writer.expected());

    const UniqueFd second = opened(share.path("locked"), O_RDWR);
    CHECK(::flock(second.get(), LOCK_EX | LOCK_NB) != 0);
    CHECK(::pwrite(unlinked.get(), "NO", 2, 0) == 2);
    CHECK(read_all(unlinked.get()) == "NO name any more");
    CHECK(::linkat(AT_FDCWD, ("/proc/self/fd/" + std::to_string(unnamed.get())).c_str(), AT_FDCWD,
                   share.path("named").c_str(), AT_SYMLINK_FOLLOW) == 0);
    CHECK(contents_of(share.path("named")) == "unnamed");
    while (const dirent* entry = ::readdir(directory)) listed.insert(entry->d_name);
    for (int i = 0; i < 3000; ++i) CHECK(listed.count("entry-" + std::to_string(i)) == 1);
    ::closedir(directory);

    // History goes on, and what was mapped is in it.
    std::memcpy(memory, "the last", 8);
    const std::string later = share.mount().create_snapshot();
    std::memcpy(memory, "not this", 8);
    ::munmap(memory, kBlock);
    CHECK(contents_of(share.mount().snapshot_path(later) / "mapped").starts_with("the last"));
    CHECK(contents_of(past_path) == "as it was");
    CHECK(contents_of(share.path("old")) == "as it is");
}

// Where `program` is, a share is served by it.
struct ByProgram {
    TempDir directory{"program"};
    fs::path program = directory.path() / "umbra";
    RamImage image{FilesystemType::Ext4};
    fs::path folder = make_folder(image);

    ByProgram() {
        fs::copy_file(umbra_binary(), program);
        must_run({program.string(), "mount", folder.string()});
    }
    ~ByProgram() { run({umbra_binary(), "umount", folder.string()}); }

    void replace_by(const fs::path& other) const {
        fs::copy_file(other, program.string() + ".new");
        fs::rename(program.string() + ".new", program);
    }
    fs::path running() const {
        const json status =
            json::parse(must_run({umbra_binary(), "status", folder.string(), "--json"}));
        return fs::read_symlink("/proc/" + std::to_string(status.at("pid").get<pid_t>()) + "/exe");
    }
};

TEST_SUITE_BEGIN("restart");

TEST_CASE("what is open stays open when the daemon is restarted, on ext4") {
    UMBRA_NEEDS_MOUNTS();
    what_is_open_stays_open(FilesystemType::Ext4, {});
}

TEST_CASE("what is open stays open when the daemon is restarted, on XFS with writeback") {
    UMBRA_NEEDS_MOUNTS();
    what_is_open_stays_open(FilesystemType::Xfs, {"-o", "writeback"});
}

TEST_CASE("a restart goes on as the program that is installed now") {
    UMBRA_NEEDS_MOUNTS();
    ByProgram served;
    write_file(served.folder / "file", "contents");
    served.replace_by(umbra_binary());
    CHECK(served.running().string().ends_with(" (deleted)"));
    must_run({umbra_binary(), "restart", served.folder.string()});
    CHECK(served.running() == served.program);
    CHECK(contents_of(served.folder / "file") == "contents");
}

TEST_CASE("a program that cannot go on is not tried") {
    UMBRA_NEEDS_MOUNTS();
    ByProgram served;
    write_file(served.folder / "file", "contents");
    served.replace_by("/bin/false");
    const auto refused = run({umbra_binary(), "restart", served.folder.string()});
    CHECK(refused.exit_code == 4);
    CHECK(refused.err.find("unmount the share and mount it again") != std::string::npos);
    CHECK(contents_of(served.folder / "file") == "contents");
    CHECK(must_run({umbra_binary(), "snapshot", "create", served.folder.string()}).size() > 20);
}

TEST_CASE("a program that disappears while it is to go on leaves the old one serving") {
    UMBRA_NEEDS_MOUNTS();
    ByProgram served;
    write_file(served.folder / "file", "contents");
    // It says that it would go on, and is no more.
    const fs::path vanishing = served.directory.path() / "vanishing";
    write_file(vanishing, "#!/bin/sh\nrm -- '" + served.program.string() + "'\n");
    fs::permissions(vanishing, fs::perms(0755));
    served.replace_by(vanishing);
    must_run({umbra_binary(), "restart", served.folder.string()});
    CHECK_FALSE(fs::exists(served.program));
    CHECK(contents_of(served.folder / "file") == "contents");
    CHECK(must_run({umbra_binary(), "snapshot", "create", served.folder.string()}).size() > 20);
}

TEST_CASE("snapshots are taken and deleted through the mount while the daemon is restarted") {
    UMBRA_NEEDS_MOUNTS();
    Share share(FilesystemType::Ext4);
    std::atomic<bool> done = false;
    std::atomic<int> made = 0, failed = 0;
    std::thread maker([&] {
        for (int i = 0; !done; ++i) {
            write_file(share.path("file"), std::to_string(i));
            const fs::path label = share.mount().snapshots_path() / ("label" + std::to_string(i));
            if (::mkdir(label.c_str(), 0755) != 0) ++failed;
            if (i % 2 == 1 && ::rmdir(label.c_str()) != 0) ++failed;
            ++made;
        }
    });
    // So many that some are always waiting for their turn.
    std::vector<std::thread> others;
    for (int number = 0; number < 4; ++number) {
        others.emplace_back([&, number] {
            for (int i = 0; !done; ++i) {
                const fs::path label = share.mount().snapshots_path() /
                                       ("other" + std::to_string(number) + "-" + std::to_string(i));
                if (::mkdir(label.c_str(), 0755) != 0 || ::rmdir(label.c_str()) != 0) ++failed;
            }
        });
    }
    for (int i = 0; i < kRestarts; ++i) {
        const int before = made;
        restart(share);
        while (made == before && failed == 0) ::usleep(1000);
    }
    done = true;
    maker.join();
    for (auto& other : others) other.join();
    CHECK(failed.load() == 0);
    for (const auto& snapshot : share.mount().snapshots())
        CHECK("label" + contents_of(share.mount().snapshot_path(snapshot.token) / "file") ==
              snapshot.label);
}

TEST_CASE("what cannot be restarted is said") {
    UMBRA_NEEDS_MOUNTS();
    Share share(FilesystemType::Ext4);
    ProcessOptions nobody;
    nobody.uid = 65534;
    CHECK(umbra({"restart", share.path().string()}, nobody).exit_code == 4);
    share.mount().unmount();
    CHECK(umbra({"restart", share.path().string()}).exit_code == 3);
    share.mount().mount();
}

TEST_SUITE_END();

}  // namespace
}  // namespace umbra::test
