// Restores that are killed, that run out of room, or meet what they cannot read or replace: what
// they say of each file is what is on disk, and they can be finished either way.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "fuse/control_client.h"
#include "fuse/control_protocol.h"
#include "fuse/registry.h"
#include "restore/restore_job.h"
#include "tests/support/process.h"
#include "tests/support/ram_image.h"
#include "tests/support/random.h"
#include "tests/support/scratch.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"
#include "tests/support/tree.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr int kFiles = 100;

std::string name_of_file(int i) { return (i < 10 ? "f0" : "f") + std::to_string(i); }

// A share whose folder d has files that a snapshot has otherwise.
class Ground {
   public:
    explicit Ground(int files, std::int64_t image_mib = 512,
                    FilesystemType type = FilesystemType::Ext4)
        : image_(type, image_mib), mount_(make_folder(image_)), files_(files) {}

    UmbraMount& mount() { return mount_; }
    fs::path d() const { return mount_.path() / "d"; }
    std::string share() const { return mount_.share().string(); }
    std::string image_path() const { return mount_.share().parent_path().string(); }

    static std::string before(int i) { return "before " + std::to_string(i) + "\n"; }
    static std::string after(int i) { return "after, and longer " + std::to_string(i) + "\n"; }

    // The same again, whatever was there; a new snapshot.
    std::string prepare() {
        fs::remove_all(d());
        fs::create_directories(d());
        for (int i = 0; i < files_; ++i) write_file(d() / name_of_file(i), before(i));
        write_file(d() / "gone", "gone");
        token_ = mount_.create_snapshot();
        for (int i = 0; i < files_; ++i) write_file(d() / name_of_file(i), after(i));
        fs::remove(d() / "gone");
        return token_;
    }

    std::vector<std::string> command(const std::vector<std::string>& more = {},
                                     const std::string& method = "replace") const {
        std::vector<std::string> arguments{umbra_binary(), "restore",  (d()).string(), "--from",
                                           token_,         "--method", method};
        arguments.insert(arguments.end(), more.begin(), more.end());
        return arguments;
    }

    json jobs() const {
        return json::parse(must_run({umbra_binary(), "restore", "list", share(), "--json"}));
    }
    json status(const std::string& job) const {
        return json::parse(must_run({umbra_binary(), "restore", "status", job, share(), "--json"}));
    }
    std::string newest_job() const { return jobs().back().at("job"); }

    bool all_after() const { return all_are(after) && !fs::exists(d() / "gone"); }
    bool all_before() const { return all_are(before) && fs::exists(d() / "gone"); }
    bool nothing_aside() const {
        for (const auto& entry : fs::directory_iterator(d()))
            if (entry.path().filename().string().starts_with(".umbra-restore")) return false;
        return true;
    }

    // Every path of the job's only component: what is said of it is what is on disk.
    void check_truth(const std::string& job) const {
        const json seen = status(job);
        if (seen.at("components").empty()) {
            CHECK(all_after());
            return;
        }
        const json& component = seen.at("components").at(0);
        std::size_t all = 0;
        for (const auto& path : component.at("paths")) {
            const std::string said = path.at("status");
            CAPTURE(path.dump());
            all += said == "all" ? 1 : 0;
            if (path.at("type") != "file") continue;
            const fs::path file = path.at("path").get<std::string>();
            const std::string name = file.filename().string();
            const std::string wanted = name == "gone" ? "gone" : before(std::stoi(name.substr(1)));
            const bool restored = fs::exists(file) && contents_of(file) == wanted;
            // In place, what is called failed may be anything between.
            if (said != "failed") CHECK((said == "all") == restored);
        }
        const std::string whole = component.at("status");
        if (whole == "all") CHECK(all == component.at("paths").size());
        if (whole == "none" || whole == "undefined") CHECK(all == 0);
    }

   private:
    bool all_are(std::string (*what)(int)) const {
        for (int i = 0; i < files_; ++i) {
            if (contents_of(d() / name_of_file(i)) != what(i)) return false;
        }
        return true;
    }

    RamImage image_;
    UmbraMount mount_;
    int files_;
    std::string token_;
};

ProcessOptions stop_at(int step) {
    ProcessOptions options;
    options.environment = {"UMBRA_TEST_STOP_AT_STEP=" + std::to_string(step)};
    return options;
}

// The step at which `name` happens for the nth time, in a run of this command that completes.
int step_named(Ground& ground, const std::string& name, int nth) {
    const fs::path file = scratch_directory() / "steps";
    fs::remove(file);
    ProcessOptions options;
    options.environment = {"UMBRA_TEST_STEPS=" + file.string()};
    ground.prepare();
    must_run(ground.command(), options);
    std::ifstream steps(file);
    int number = 0;
    for (std::string line; std::getline(steps, line);) {
        ++number;
        if (line == name && --nth == 0) return number;
    }
    FAIL("there is no such step");
    return 0;
}

// Kills the command, or the daemon, at one step of a restore. False: there are not so many.
bool killed_at(Ground& ground, const std::vector<std::string>& command, int step, bool daemon) {
    const std::size_t jobs_before = ground.jobs().size();
    BackgroundProcess restore(command, stop_at(step));
    if (!restore.stops()) return false;
    if (daemon) {
        ground.mount().kill_daemon();
        restore.send(SIGCONT);
        CHECK(restore.wait() != 0);
        ground.mount().remount();
    } else {
        restore.send(SIGKILL);
        restore.wait();
    }
    if (ground.jobs().size() == jobs_before) {
        CHECK(ground.all_after());
        return true;
    }
    const std::string job = ground.newest_job();
    ground.check_truth(job);
    const bool begun = !ground.status(job).at("runs").empty();
    const bool undo = step % 2 == 0;
    const auto ended = umbra({"restore", undo ? "undo" : "resume", job, ground.share()});
    CAPTURE(ended.err);
    CHECK(ended.exit_code == (begun ? 0 : 4));
    CHECK((undo || !begun ? ground.all_after() : ground.all_before()));
    CHECK(ground.nothing_aside());
    return true;
}

void kill_at_steps(Ground& ground, const std::string& method, int first, int stride) {
    const bool in_place = method == "--in-place";
    for (const bool daemon : {false, true}) {
        int step = first;
        for (;; step += stride) {
            ground.prepare();
            const auto command = in_place ? ground.command({method}) : ground.command({}, method);
            CAPTURE(method);
            CAPTURE(daemon);
            CAPTURE(step);
            if (!killed_at(ground, command, step, daemon)) break;
        }
        CHECK(step > 12);
    }
}

}  // namespace

TEST_SUITE("restore-jobs") {
    TEST_CASE(
        "the command or the daemon killed at every step: the truth is told, and it ends well") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground(3);
        kill_at_steps(ground, "replace", 1, 1);
    }

    TEST_CASE("killed at steps of other methods, on other filesystems") {
        UMBRA_NEEDS_MOUNTS();
        const int stride = with_soak(1) > 1 ? 1 : 5;
        Random random(announce_seed("steps at which restores are killed"));
        const auto first = [&] { return static_cast<int>(1 + random.below(stride)); };
        Ground xfs(3, 512, FilesystemType::Xfs);
        for (const char* method : {"merge", "--in-place"})
            kill_at_steps(xfs, method, first(), stride);
        Ground btrfs(3, 512, FilesystemType::Btrfs);
        for (const char* method : {"mirror", "if-can-replace"})
            kill_at_steps(btrfs, method, first(), stride);
    }

    TEST_CASE("a killed job is told of, finished and undone while the share is not mounted") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground(3);
        const int step = step_named(ground, "switch", 2);
        ground.prepare();
        BackgroundProcess restore(ground.command(), stop_at(step));
        REQUIRE(restore.stops());
        restore.send(SIGKILL);
        restore.wait();
        const std::string job = ground.newest_job();
        ground.mount().unmount();
        ground.check_truth(job);
        const auto resumed = umbra({"restore", "resume", job, ground.share()});
        INFO(resumed.err);
        CHECK(resumed.exit_code == 0);
        CHECK(ground.all_before());
        CHECK(ground.status(job).at("components").at(0).at("status") == "all");
        const auto undone = umbra({"restore", "undo", job, ground.share()});
        INFO(undone.err);
        CHECK(undone.exit_code == 0);
        CHECK(ground.all_after());
        CHECK(ground.nothing_aside());
        ground.mount().remount();
        CHECK(ground.all_after());
    }

    TEST_CASE("a hundred files, and one is in the way: nothing has changed") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground(kFiles);
        ground.prepare();
        const fs::path victim = ground.d() / name_of_file(50);
        int code = 0;
        SUBCASE("a program has it open for writing") {
            const int fd = ::open(victim.c_str(), O_WRONLY | O_CLOEXEC);
            REQUIRE(fd >= 0);
            const auto result = run(ground.command());
            CHECK(result.exit_code == 6);
            CHECK(result.err.find(victim.string()) != std::string::npos);
            ::close(fd);
            code = EBUSY;
        }
        SUBCASE("a program has a lease on it") {
            const int fd = ::open(victim.c_str(), O_RDWR | O_CLOEXEC);
            REQUIRE(fd >= 0);
            // That somebody wants it is told by a signal; this one is ignored.
            REQUIRE(::fcntl(fd, F_SETSIG, SIGURG) == 0);
            REQUIRE(::fcntl(fd, F_SETLEASE, F_WRLCK) == 0);
            CHECK(run(ground.command()).exit_code == 6);
            ::close(fd);
            code = EBUSY;
        }
        SUBCASE("it is immutable") {
            must_run({"chattr", "+i", victim.string()});
            const auto result = run(ground.command());
            must_run({"chattr", "-i", victim.string()});
            CHECK(result.exit_code == 6);
            code = EPERM;
        }
        CHECK(ground.all_after());
        CHECK(ground.nothing_aside());
        const json component = ground.status(ground.newest_job()).at("components").at(0);
        CHECK(component.at("status") == "none");
        CHECK(component.at("status_number") == 1);
        CHECK(component.at("errno") == code);
        for (const auto& path : component.at("paths")) CHECK(path.at("status") == "none");
        // The reason has gone: the same job goes on.
        CHECK(umbra({"restore", "resume", ground.newest_job(), ground.share()}).exit_code == 0);
        CHECK(ground.all_before());
    }

    TEST_CASE("a hundred files, and one becomes immutable or opened when others are switched") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground(kFiles);
        const int step = step_named(ground, "switch", 40);
        ground.prepare();
        const fs::path victim = ground.d() / name_of_file(60);
        BackgroundProcess restore(ground.command(), stop_at(step));
        REQUIRE(restore.stops());
        CHECK(contents_of(ground.d() / name_of_file(10)) == Ground::before(10));
        int fd = -1;
        SUBCASE("immutable") { must_run({"chattr", "+i", victim.string()}); }
        SUBCASE("opened") { fd = ::open(victim.c_str(), O_WRONLY | O_CLOEXEC); }
        restore.send(SIGCONT);
        CHECK(restore.wait() == 6);
        if (fd >= 0) ::close(fd);
        run({"chattr", "-i", victim.string()});
        CHECK(ground.all_after());
        CHECK(ground.nothing_aside());
        CHECK(ground.status(ground.newest_job()).at("components").at(0).at("status") == "none");
    }

    TEST_CASE("a disk that is full, or fills while a hundred files are staged") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground(kFiles, 128);
        const int step = step_named(ground, "stage", 50);
        ground.prepare();
        const auto fill = [&] {
            run({"sh", "-c", "cat /dev/zero > " + ground.image_path() + "/filler 2>/dev/null"});
        };
        const std::size_t jobs_before = ground.jobs().size();
        SUBCASE("while") {
            BackgroundProcess restore(ground.command(), stop_at(step));
            REQUIRE(restore.stops());
            fill();
            restore.send(SIGCONT);
            CHECK(restore.wait() != 0);
        }
        SUBCASE("before") {
            fill();
            CHECK(run(ground.command()).exit_code != 0);
        }
        fs::remove(ground.image_path() + "/filler");
        CHECK(ground.all_after());
        CHECK(ground.nothing_aside());
        // Where there was no room for a job there is none.
        if (ground.jobs().size() > jobs_before) ground.check_truth(ground.newest_job());
    }

    TEST_CASE("a damaged block in the diff area, in the middle of a hundred files") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground(kFiles);
        ground.prepare();
        const fs::path victim = ground.d() / name_of_file(50);
        write_file(victim, std::string(20'000, 'k'));
        const std::string marker = "a marker that is nowhere else";
        write_file(victim, marker + std::string(40'000, 'm'));
        const std::string token = ground.mount().create_snapshot();
        write_file(victim, "later");
        ground.mount().unmount();
        int damaged = 0;
        for (const auto& entry :
             fs::directory_iterator(ground.mount().share() / ".umbra" / "diff" / "log")) {
            std::string bytes = contents_of(entry.path());
            const std::size_t at = bytes.find(marker);
            if (at == std::string::npos) continue;
            std::fstream file(entry.path(), std::ios::in | std::ios::out | std::ios::binary);
            file.seekp(static_cast<std::streamoff>(at));
            file.put('X');
            ++damaged;
        }
        REQUIRE(damaged > 0);
        ground.mount().mount();
        for (int i = 0; i < kFiles; ++i)
            if (i != 50) write_file(ground.d() / name_of_file(i), "third " + std::to_string(i));
        const Tree original = capture(ground.d());
        const auto result = run({umbra_binary(), "restore", ground.d().string(), "--from", token,
                                 "--method", "replace"});
        CHECK(result.exit_code == 6);
        CHECK(result.err.find(name_of_file(50)) != std::string::npos);
        CompareOptions compare;
        compare.ctime = false;
        CHECK(differences(original, capture(ground.d()), compare) == kNoDifferences);
        const json component = ground.status(ground.newest_job()).at("components").at(0);
        CHECK(component.at("status") == "none");
        CHECK(component.at("errno") == EIO);
        // File by file all others come back, and the component is not called restored.
        const auto merged = run({umbra_binary(), "restore", ground.d().string(), "--from", token});
        CHECK(merged.exit_code == 6);
        CHECK(contents_of(ground.d() / name_of_file(49)) == Ground::after(49));
        CHECK(contents_of(victim) == "later");
        const json mixed = ground.status(ground.newest_job()).at("components").at(0);
        CHECK(mixed.at("status") == "failed");
        CHECK(mixed.at("status_number") == 3);
    }

    TEST_CASE("a failure reads back as one, and nobody turns it into success (KB 952826)") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground(3);
        const int step = step_named(ground, "switch", 2);
        ground.prepare();
        BackgroundProcess restore(ground.command({"--in-place"}), stop_at(step + 1));
        REQUIRE(restore.stops());
        restore.send(SIGKILL);
        restore.wait();
        const std::string job = ground.newest_job();
        const auto is_failed = [&] {
            const json component = ground.status(job).at("components").at(0);
            CHECK(component.at("status") == "failed");
            CHECK(component.at("status_number") == 3);
        };
        is_failed();
        const Registry registry;
        const auto mounted = registry.mounted();
        REQUIRE(mounted);
        for (const auto& share : *mounted) {
            if (share.share != ground.share()) continue;
            auto client = ControlClient::connect(registry.socket_path(share.uuid));
            REQUIRE(client);
            ReportedStatus all;
            all.status = RestoreStatus::kAll;
            const auto refused =
                client->call(control_method::kRestoreAppend,
                             {{"job", job},
                              {"records", {encode_hex(job_record::component_status(0, all))}},
                              {"sync", true}});
            REQUIRE_FALSE(refused);
            CHECK(refused.error().kind == ErrorKind::kRefused);
        }
        is_failed();
        ground.mount().remount();
        is_failed();
        CHECK(umbra({"restore", "resume", job, ground.share()}).exit_code == 0);
        CHECK(ground.status(job).at("components").at(0).at("status") == "all");
        CHECK(ground.all_before());
    }

    TEST_CASE("a folder that becomes a link in the middle leads nothing out of the share") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground(3);
        const int last = step_named(ground, "record the end", 1);
        const fs::path outside = scratch_directory() / "outside";
        fs::create_directories(outside);
        for (int i = 0; i < 3; ++i) write_file(outside / name_of_file(i), "precious");
        for (int step = 1; step <= last; ++step) {
            ground.prepare();
            BackgroundProcess restore(ground.command(), stop_at(step));
            CAPTURE(step);
            REQUIRE(restore.stops());
            const fs::path moved = ground.mount().path() / "moved";
            fs::rename(ground.d(), moved);
            fs::create_directory_symlink(outside, ground.d());
            restore.send(SIGCONT);
            restore.wait();
            for (int i = 0; i < 3; ++i) CHECK(contents_of(outside / name_of_file(i)) == "precious");
            CHECK(std::distance(fs::directory_iterator(outside), {}) == 3);
            fs::remove(ground.d());
            fs::remove_all(moved);
        }
    }

    TEST_CASE("jobs are their users' own, and go on with their rights") {
        UMBRA_NEEDS_MOUNTS();
        constexpr uid_t kUser = 1234, kStranger = 1235;
        Ground ground(3);
        ground.prepare();
        ProcessOptions user, stranger;
        user.uid = user.gid = kUser;
        stranger.uid = stranger.gid = kStranger;
        // The user may write here, but not to f01, and f02 is not readable in the snapshot.
        for (int i = 0; i < 3; ++i)
            REQUIRE(::chown((ground.d() / name_of_file(i)).c_str(), kUser, kUser) == 0);
        REQUIRE(::chown(ground.d().c_str(), kUser, kUser) == 0);
        ::chmod(ground.d().c_str(), 0755);
        const std::string token = ground.mount().create_snapshot();
        for (int i = 0; i < 3; ++i) write_file(ground.d() / name_of_file(i), "changed");
        const std::vector<std::string> command{
            umbra_binary(), "restore", ground.d().string(), "--from", token, "--method", "replace"};
        ProcessOptions stopped = user;
        stopped.environment = stop_at(8).environment;
        BackgroundProcess restore(command, stopped);
        REQUIRE(restore.stops());
        const std::string job = ground.newest_job();
        CHECK(json::parse(
                  run({umbra_binary(), "restore", "list", ground.share(), "--json"}, user).out)
                  .size() == 1);
        CHECK(json::parse(
                  run({umbra_binary(), "restore", "list", ground.share(), "--json"}, stranger).out)
                  .empty());
        // While it is run nobody else runs it.
        CHECK(umbra({"restore", "resume", job, ground.share()}).exit_code == 4);
        restore.send(SIGKILL);
        restore.wait();
        for (const char* verb : {"status", "resume", "undo", "forget"}) {
            CAPTURE(verb);
            CHECK(run({umbra_binary(), "restore", verb, job, ground.share()}, stranger).exit_code ==
                  3);
        }
        // Root goes on with it, as that user: what that user may not, it does not.
        REQUIRE(::chown(ground.d().c_str(), 0, 0) == 0);
        CHECK(umbra({"restore", "resume", job, ground.share()}).exit_code == 6);
        CHECK(contents_of(ground.d() / name_of_file(0)) == "changed");
        REQUIRE(::chown(ground.d().c_str(), kUser, kUser) == 0);
        CHECK(umbra({"restore", "resume", job, ground.share()}).exit_code == 0);
        CHECK(contents_of(ground.d() / name_of_file(0)) == Ground::after(0));
        CHECK(run({umbra_binary(), "restore", "forget", job, ground.share()}, user).exit_code == 0);
        for (const auto& one :
             json::parse(must_run({umbra_binary(), "snapshot", "list", ground.share(), "--json"})))
            for (const auto& hold : one.at("holds"))
                CHECK(hold.at("reason").get<std::string>().find(job) == std::string::npos);
    }

    TEST_CASE("in place: what is read and written is what has changed, and events tell of it") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground(3);
        constexpr std::size_t kSize = 48 << 20, kChanged = 1 << 20;
        const fs::path large = ground.mount().path() / "large";
        write_file(large, std::string(kSize, 'l'));
        const std::string token = ground.prepare();
        {
            std::fstream file(large, std::ios::binary | std::ios::in | std::ios::out);
            file.seekp(kSize - kChanged);
            file << std::string(kChanged, 'n');
        }
        struct stat before {};
        REQUIRE(::stat(large.c_str(), &before) == 0);
        ground.mount().remount();
        const auto requests = [&](const char* kind) {
            const json status =
                json::parse(must_run({umbra_binary(), "status", ground.share(), "--json"}));
            return status.at("requests").value(kind, 0);
        };
        const int reads = requests("read"), writes = requests("write");
        must_run({umbra_binary(), "restore", large.string(), "--from", token, "--in-place"});
        // 1 MiB a request at most, of each of the two files; all of one would be 48.
        CHECK(requests("read") - reads <= 24);
        CHECK(requests("write") - writes <= 80);
        CHECK(contents_of(large) == std::string(kSize, 'l'));
        struct stat after {};
        REQUIRE(::stat(large.c_str(), &after) == 0);
        CHECK(after.st_ino == before.st_ino);
        const std::string job = ground.newest_job();
        must_run({umbra_binary(), "restore", "undo", job, ground.share()});
        CHECK(contents_of(large) ==
              std::string(kSize - kChanged, 'l') + std::string(kChanged, 'n'));
        must_run({"chattr", "+i", (ground.mount().share() / "d" / "f01").string()});
        CHECK(run(ground.command()).exit_code == 6);
        must_run({"chattr", "-i", (ground.mount().share() / "d" / "f01").string()});
        std::vector<std::string> told;
        for (const auto& event :
             json::parse(must_run({umbra_binary(), "events", ground.share(), "--json"}))) {
            const std::string name = event.at("name");
            if (name.starts_with("restore-")) told.push_back(name);
        }
        const std::vector<std::string> expected{
            "restore-begun",    "restore-finished", "restore-begun", "restore-begun",
            "restore-finished", "restore-finished", "restore-begun", "restore-incomplete"};
        CHECK(told == expected);
    }

    TEST_CASE("a dry run reads no contents of what has not been written to") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground(3);
        write_file(ground.mount().path() / "large", std::string(48 << 20, 'l'));
        const std::string token = ground.prepare();
        ::chmod((ground.mount().path() / "large").c_str(), 0600);
        ground.mount().remount();
        const auto reads = [&] {
            const json status =
                json::parse(must_run({umbra_binary(), "status", ground.share(), "--json"}));
            return status.at("requests").value("read", 0);
        };
        const int before = reads();
        const json plan = json::parse(must_run(
            {umbra_binary(), "restore", ground.share(), "--from", token, "--dry-run", "--json"}));
        std::map<std::string, std::string> actions;
        for (const auto& one : plan)
            actions[fs::path(one.at("path").get<std::string>()).filename().string()] =
                one.at("action");
        CHECK(actions.at("large") == "metadata");
        CHECK(actions.at("f00") == "replace");
        CHECK(actions.at("gone") == "create");
        CHECK(reads() == before);
    }

    TEST_CASE("revert brings a whole share back, later snapshots stay, and it can be undone") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground(20);
        const std::string token = ground.prepare();
        write_file(ground.mount().path() / "new", "new");
        const std::string later = ground.mount().create_snapshot("later");
        const Tree now = capture(ground.mount().path());
        must_run({umbra_binary(), "revert", ground.share(), token});
        CompareOptions compare;
        compare.ctime = false;
        CHECK(differences(capture(ground.mount().snapshot_path(token)),
                          capture(ground.mount().path()), compare) == kNoDifferences);
        CHECK(differences(now, capture(ground.mount().snapshot_path(later)), compare) ==
              kNoDifferences);
        must_run({umbra_binary(), "restore", "undo", ground.newest_job(), ground.share()});
        CHECK(differences(now, capture(ground.mount().path()), compare) == kNoDifferences);
    }

    TEST_CASE("a restore racing with writers: whole files, and what is said is so") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground(6);
        for (int round = 0; round < 8; ++round) {
            ground.prepare();
            std::atomic<bool> stop{false};
            std::thread writer([&] {
                for (int i = 0; !stop; ++i) {
                    // As editors save, and as logs are written.
                    write_file(ground.d() / "saving", "saved " + std::to_string(i) + "\n");
                    fs::rename(ground.d() / "saving", ground.d() / name_of_file(1));
                    std::ofstream(ground.d() / name_of_file(2), std::ios::app) << "line\n";
                    std::this_thread::sleep_for(std::chrono::milliseconds(1));
                }
            });
            const auto result = run(ground.command());
            stop = true;
            writer.join();
            CAPTURE(round);
            CAPTURE(result.err);
            const bool all = result.exit_code == 0;
            CHECK((all || result.exit_code == 6));
            CHECK(ground.status(ground.newest_job()).at("components").at(0).at("status") ==
                  (all ? "all" : "none"));
            // What nobody else writes to is as it is said.
            for (const int i : {0, 3, 4, 5})
                CHECK(contents_of(ground.d() / name_of_file(i)) ==
                      (all ? Ground::before(i) : Ground::after(i)));
            const std::string saved = contents_of(ground.d() / name_of_file(1));
            CHECK((saved.starts_with("saved ") || saved == Ground::before(1)));
            std::string lines = contents_of(ground.d() / name_of_file(2));
            const std::string& start = all ? Ground::before(2) : Ground::after(2);
            CHECK(lines.starts_with(start));
            for (lines = lines.substr(start.size()); !lines.empty(); lines = lines.substr(5))
                REQUIRE(lines.starts_with("line\n"));
            CHECK(ground.nothing_aside());
        }
    }

    TEST_CASE("a signal stops it between files: exit code 6, and the job goes on") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground(20);
        const int step = step_named(ground, "stage", 10);
        for (const char* method : {"merge", "replace"}) {
            ground.prepare();
            BackgroundProcess restore(ground.command({}, method), stop_at(step));
            REQUIRE(restore.stops());
            restore.send(SIGINT);
            restore.send(SIGCONT);
            CHECK(restore.wait() == 6);
            CAPTURE(method);
            ground.check_truth(ground.newest_job());
            CHECK(ground.nothing_aside());
            CHECK(umbra({"restore", "resume", ground.newest_job(), ground.share()}).exit_code == 0);
            CHECK(ground.all_before());
        }
    }
}

}  // namespace umbra::test
