// mount(8)'s option "remount": a share becomes read-only and writable again under those who use it.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>

#include "snapstore/unique_fd.h"
#include "tests/support/process.h"
#include "tests/support/scratch.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Called as mount(8) calls it: `list` after "remount".
ProcessResult remount(const fs::path& folder, const std::string& list,
                      const ProcessOptions& options = {}) {
    TempDir directory("helper");
    const fs::path helper = directory.path() / "mount.fuse.umbra";
    fs::create_symlink(fs::absolute(umbra_binary()), helper);
    fs::permissions(directory.path(), fs::perms(0755));
    return run({helper.string(), folder.string(), folder.string(), "-o",
                "rw,relatime,user_id=0,group_id=0,default_permissions,allow_other,max_read=524288,"
                "remount," +
                    list},
               options);
}

void must_remount(const fs::path& folder, const std::string& list) {
    const auto done = remount(folder, list);
    REQUIRE_MESSAGE(done.exit_code == 0, list << ": " << done.err);
}

json status_of(const fs::path& folder) {
    return json::parse(must_run({umbra_binary(), "status", folder.string(), "--json"}));
}

unsigned long flags_of(const fs::path& folder) {
    struct statvfs status {};
    REQUIRE(::statvfs(folder.c_str(), &status) == 0);
    return status.f_flag & (ST_RDONLY | ST_NOSUID | ST_NODEV | ST_NOEXEC | ST_NOATIME);
}

int error_of_creating(const fs::path& path) {
    return UniqueFd(::open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644)).valid() ? 0 : errno;
}

// A share that is mounted read-only from its beginning, with one snapshot.
struct ReadOnlyShare {
    RamImage image{FilesystemType::Ext4};
    fs::path folder = make_folder(image);
    fs::path area = folder.parent_path() / "area";
    std::string token;

    ReadOnlyShare() {
        must_run({umbra_binary(), "init", folder.string(), "--diff-area", area.string()});
        must_run({umbra_binary(), "mount", folder.string()});
        write_file(folder / "file", "then");
        token = must_run({umbra_binary(), "snapshot", "create", folder.string()});
        token.erase(token.find_last_not_of('\n') + 1);
        write_file(folder / "file", "now");
        must_run({umbra_binary(), "umount", folder.string()});
    }
    ~ReadOnlyShare() { umbra({"umount", folder.string()}); }

    fs::path past() const { return folder / ".snapshots" / token; }
};

// Makes files 1, 2, ... whenever the share is writable, until told to stop.
class FileMaker {
   public:
    explicit FileMaker(fs::path folder) : folder_(std::move(folder)), thread_([this] { work(); }) {}
    ~FileMaker() { finish(); }
    FileMaker(const FileMaker&) = delete;
    FileMaker& operator=(const FileMaker&) = delete;

    void finish() {
        done_ = true;
        if (thread_.joinable()) thread_.join();
    }
    int written() const { return written_; }
    int wrong() const { return wrong_; }

   private:
    void work() {
        while (!done_) {
            const std::string name = std::to_string(written_ + 1);
            const UniqueFd file(
                ::open((folder_ / name).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
            if (!file.valid() && errno == EROFS) continue;
            // Who has a file open writes it, and keeps the share writable.
            const auto size = static_cast<ssize_t>(name.size());
            if (!file.valid() || ::write(file.get(), name.data(), name.size()) != size) ++wrong_;
            ++written_;
        }
    }

    fs::path folder_;
    std::atomic<bool> done_ = false;
    std::atomic<int> written_ = 0, wrong_ = 0;
    std::thread thread_;
};

TEST_SUITE_BEGIN("remount");

TEST_CASE("a share becomes read-only and writable again, and what is open stays open") {
    UMBRA_NEEDS_MOUNTS();
    Share share(FilesystemType::Ext4);
    write_file(share.path("file"), "then");
    const std::string token = share.mount().create_snapshot();
    write_file(share.path("file"), "now");
    const UniqueFd reader(::open(share.path("file").c_str(), O_RDONLY | O_CLOEXEC));
    const pid_t daemon = share.mount().daemon_pid();
    const auto read = [&] {
        char text[4]{};
        return std::string(text, static_cast<std::size_t>(
                                     std::max<ssize_t>(::pread(reader.get(), text, 4, 0), 0)));
    };

    must_remount(share.path(), "ro");
    CHECK(error_of_creating(share.path("new")) == EROFS);
    CHECK(::mkdir((share.mount().snapshots_path() / "label").c_str(), 0755) != 0);
    CHECK(errno == EROFS);
    CHECK(umbra({"snapshot", "create", share.path().string()}).exit_code == 4);
    CHECK(status_of(share.path()).at("read_only") == true);
    CHECK(umbra({"doctor", share.path().string()}).out.find("read-only") != std::string::npos);
    CHECK(read() == "now");
    CHECK(contents_of(share.mount().snapshot_path(token) / "file") == "then");
    must_remount(share.path(), "ro");

    must_remount(share.path(), "rw");
    CHECK(status_of(share.path()).at("read_only") == false);
    CHECK(read() == "now");
    CHECK(share.mount().daemon_pid() == daemon);
    const std::string later = share.mount().create_snapshot();
    write_file(share.path("file"), "last");
    CHECK(read() == "last");
    CHECK(contents_of(share.mount().snapshot_path(token) / "file") == "then");
    CHECK(contents_of(share.mount().snapshot_path(later) / "file") == "now");
}

TEST_CASE("nothing is refused or lost that was being written when a share became read-only") {
    UMBRA_NEEDS_MOUNTS();
    Share share(FilesystemType::Ext4);
    FileMaker maker(share.path());
    int refused = 0;
    for (int round = 0; round < 20; ++round) {
        const int before = maker.written();
        while (maker.written() == before && maker.wrong() == 0) std::this_thread::yield();
        const auto result = remount(share.path(), "ro");
        if (result.exit_code != 0) ++refused;
        CHECK((result.exit_code == 0 || result.err.find("open for writing") != std::string::npos));
        must_remount(share.path(), "rw");
    }
    maker.finish();
    MESSAGE(maker.written() << " files written, refused " << refused << " of 20");
    CHECK(maker.wrong() == 0);
    share.mount().remount();
    for (int number = 1; number <= maker.written(); ++number)
        CHECK(contents_of(share.path(std::to_string(number))) == std::to_string(number));
}

TEST_CASE("a share with files open for writing stays writable") {
    UMBRA_NEEDS_MOUNTS();
    Share share(FilesystemType::Ext4);
    const UniqueFd writer(::open(share.path("file").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
    const auto refused = remount(share.path(), "ro");
    CHECK(refused.exit_code == 32);
    CHECK(refused.err.find("open for writing") != std::string::npos);
    CHECK(::write(writer.get(), "more", 4) == 4);
    CHECK(error_of_creating(share.path("new")) == 0);
}

TEST_CASE("a share that is mounted read-only becomes writable, with its history") {
    UMBRA_NEEDS_MOUNTS();
    ReadOnlyShare share;
    must_run({umbra_binary(), "mount", "--read-only", share.folder.string()});
    CHECK(error_of_creating(share.folder / "new") == EROFS);
    must_remount(share.folder, "rw");
    CHECK(contents_of(share.past() / "file") == "then");
    write_file(share.folder / "file", "newer");
    CHECK(contents_of(share.past() / "file") == "then");
    CHECK(must_run({umbra_binary(), "snapshot", "create", share.folder.string()}).size() > 20);
}

TEST_CASE("a share whose diff area is missing does not become writable") {
    UMBRA_NEEDS_MOUNTS();
    ReadOnlyShare share;
    const fs::path aside = share.area.string() + ".aside";
    fs::rename(share.area, aside);
    must_run({umbra_binary(), "mount", "--read-only", share.folder.string()});
    const UniqueFd reader(::open((share.folder / "file").c_str(), O_RDONLY | O_CLOEXEC));
    for (int round = 0; round < 2; ++round) {
        const auto refused = remount(share.folder, "rw");
        CHECK(refused.exit_code == 32);
        CHECK_MESSAGE(refused.err.find(share.area.string()) != std::string::npos, refused.err);
        CHECK((flags_of(share.folder) & ST_RDONLY) != 0);
        CHECK(error_of_creating(share.folder / "new") == EROFS);
        CHECK(status_of(share.folder).at("remount_failure").at("data").at("kind") == "diff-area");
    }
    char text[4]{};
    CHECK(::pread(reader.get(), text, 4, 0) == 3);
    fs::rename(aside, share.area);
    must_remount(share.folder, "rw");
    CHECK_FALSE(status_of(share.folder).contains("remount_failure"));
    write_file(share.folder / "file", "newer");
    CHECK(contents_of(share.past() / "file") == "then");
}

TEST_CASE("a remount changes what it names, and no more") {
    UMBRA_NEEDS_MOUNTS();
    Share share(FilesystemType::Ext4, {"-o", "nosuid,nodev"});
    CHECK(flags_of(share.path()) == (ST_NOSUID | ST_NODEV));
    must_remount(share.path(), "noexec,noatime,dev");
    CHECK(flags_of(share.path()) == (ST_NOSUID | ST_NOEXEC | ST_NOATIME));
    must_remount(share.path(), "noexec,exec,relatime,ro");
    CHECK(flags_of(share.path()) == (ST_NOSUID | ST_RDONLY));
    must_remount(share.path(), "memory=64M,lease=30,rw");
    CHECK(flags_of(share.path()) == ST_NOSUID);
    const std::string options = status_of(share.path()).at("options");
    CHECK(options.find("memory=64M,lease=30") != std::string::npos);
    must_remount(share.path(), "memory=64M,lease=30");
}

TEST_CASE("a share stays writable while a restore runs") {
    UMBRA_NEEDS_MOUNTS();
    Share share(FilesystemType::Ext4);
    write_file(share.path("file"), "then");
    const std::string token = share.mount().create_snapshot();
    // Made, given its snapshot, recorded: then it runs.
    int step = 4;
    for (;; ++step) {
        CAPTURE(step);
        write_file(share.path("file"), "now");
        ProcessOptions stop;
        stop.environment = {"UMBRA_TEST_STOP_AT_STEP=" + std::to_string(step)};
        BackgroundProcess restore(
            {umbra_binary(), "restore", share.path("file").string(), "--from", token}, stop);
        if (!restore.stops()) break;
        const auto refused = remount(share.path(), "ro");
        CHECK(refused.exit_code == 32);
        CHECK(flags_of(share.path()) == 0);
        restore.send(SIGCONT);
        CHECK(restore.wait() == 0);
        CHECK(contents_of(share.path("file")) == "then");
    }
    CHECK(step > 10);
    must_remount(share.path(), "ro");
}

TEST_CASE("what cannot be remounted is said, and changes nothing") {
    UMBRA_NEEDS_MOUNTS();
    Share share(FilesystemType::Ext4);
    const int restarts = status_of(share.path()).at("restarts");
    CHECK(remount(share.path(), "ro,nonsense").exit_code == 1);
    CHECK(remount(share.path(), "ro,memory=1").exit_code == 1);
    CHECK(remount(share.path(), "ro,writeback").exit_code == 32);
    CHECK(remount(share.path() / "missing", "ro").exit_code == 32);
    ProcessOptions nobody;
    nobody.uid = 65534;
    CHECK(remount(share.path(), "ro", nobody).exit_code == 32);
    REQUIRE(::mount("tmpfs", share.path().c_str(), "tmpfs", 0, nullptr) == 0);
    CHECK(remount(share.path(), "ro").exit_code == 32);
    CHECK(flags_of(share.path()) == 0);
    REQUIRE(::umount2(share.path().c_str(), 0) == 0);
    CHECK(flags_of(share.path()) == 0);
    CHECK(status_of(share.path()).at("restarts") == restarts);
    share.mount().unmount();
    CHECK(remount(share.path(), "ro").exit_code == 32);
    share.mount().mount();
}

TEST_SUITE_END();

}  // namespace
}  // namespace umbra::test
