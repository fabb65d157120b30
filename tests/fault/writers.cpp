// Writers around the snapshots and restores of a real share: whoever dies, and wherever, they are
// thawed; and a snapshot says of itself how they stood.
#include <doctest/doctest.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "tests/support/process.h"
#include "tests/support/ram_image.h"
#include "tests/support/scratch.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {

namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string text_of(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

bool becomes(const std::function<bool()>& true_soon) {
    for (int i = 0; i < 4000; ++i) {
        if (true_soon()) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
}

ProcessOptions stop_at(int step) {
    ProcessOptions options;
    options.environment = {"UMBRA_TEST_STOP_AT_STEP=" + std::to_string(step)};
    return options;
}

// A share with two writers: `plain` has a flag file while it is frozen, `held` a process.
class Ground {
   public:
    Ground() : dir_("writers"), image_(FilesystemType::Ext4, 512), mount_(make_folder(image_)) {
        fs::create_directories(flags());
        add(definition("plain", ": > $FLAGS/plain", "rm -f $FLAGS/plain"));
        add(definition("held", ": > $FLAGS/held; echo frozen; cat; rm -f $FLAGS/held; echo label",
                       "", "freeze-stays = true\n"));
    }

    UmbraMount& mount() { return mount_; }
    std::string share() const { return mount_.share().string(); }
    fs::path flags() const { return dir_.path() / "flags"; }
    fs::path log() const { return flags() / "log"; }

    std::string definition(const std::string& name, const std::string& freeze,
                           const std::string& thaw, const std::string& more = "") const {
        std::string text = "format = 1\nname = \"" + name + "\"\n[environment]\nFLAGS = \"" +
                           flags().string() + "\"\n[commands]\nfreeze = '" + freeze + "'\n";
        if (!thaw.empty()) text += "thaw = '" + thaw + "'\n";
        return text + more;
    }
    void add(const std::string& text) const {
        const fs::path file = dir_.path() / "definition.toml";
        std::ofstream(file) << text;
        must_run({umbra_binary(), "writers", "add", share(), file.string()});
    }
    void remove(const std::string& name) const {
        must_run({umbra_binary(), "writers", "remove", share(), name});
    }

    std::vector<std::string> create(const std::vector<std::string>& more = {}) const {
        std::vector<std::string> command{umbra_binary(), "snapshot", "create", share()};
        command.insert(command.end(), more.begin(), more.end());
        return command;
    }
    json snapshots() const {
        return json::parse(must_run({umbra_binary(), "snapshot", "list", share(), "--json"}));
    }
    json writers() const {
        return json::parse(must_run({umbra_binary(), "writers", "list", share(), "--json"}));
    }
    json writer(const std::string& name) const {
        for (const auto& one : writers())
            if (one.at("name") == name) return one;
        return {};
    }

    bool frozen() const { return fs::exists(flags() / "plain") && fs::exists(flags() / "held"); }
    bool thawed() const { return !fs::exists(flags() / "plain") && !fs::exists(flags() / "held"); }

   private:
    TempDir dir_;
    RamImage image_;
    UmbraMount mount_;
};

}  // namespace

TEST_SUITE("writers") {
    TEST_CASE("a snapshot has its writers' states, and their documents for root alone") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        write_file(ground.mount().path() / "file", "1");
        const std::string token = must_run(ground.create({"--label", "first"}));
        CHECK(ground.thawed());
        const auto check = [&] {
            const json snapshot = ground.snapshots().at(0);
            REQUIRE(snapshot.at("writers").size() == 2);
            for (const auto& writer : snapshot.at("writers")) {
                CHECK(writer.at("state") == "stable");
                CHECK(writer.at("state_number") == 1);
                CHECK(writer.at("last_error") == "no_error");
                CHECK(!writer.contains("document"));
            }
            CHECK(ground.writer("held").at("state") == "stable");
            CHECK(ground.writer("held").at("snapshot") == snapshot.at("token"));
            const json documents = json::parse(must_run(
                {umbra_binary(), "writers", "list", ground.share(), "--from", "first", "--json"}));
            CHECK(documents.at(0).at("document") == "label\n");
        };
        check();
        ground.mount().remount();
        check();
        // Also from the log alone, and while it is not mounted.
        ground.mount().unmount();
        must_run({umbra_binary(), "storage", "rebuild-index", ground.share()});
        check();
        must_run(ground.create({"--label", "second"}));
        CHECK(ground.thawed());
        CHECK(ground.snapshots().at(1).at("writers").at(0).at("state") == "stable");
        ground.mount().mount();
        CHECK(ground.snapshots().at(1).at("writers").size() == 2);
    }

    TEST_CASE(
        "the command, the daemon or both killed at every step: all is thawed, the truth told") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        enum class Victim { kCommand, kDaemon, kBoth };
        for (const Victim victim : {Victim::kCommand, Victim::kDaemon, Victim::kBoth}) {
            for (int step = 1;; ++step) {
                const std::size_t before = ground.snapshots().size();
                BackgroundProcess create(ground.create({"--hold", "kept"}), stop_at(step));
                CAPTURE(static_cast<int>(victim));
                CAPTURE(step);
                if (!create.stops()) {
                    CHECK(step == 7);
                    CHECK(ground.snapshots().size() == before + 1);
                    break;
                }
                if (step == 3 || step == 4) CHECK(ground.frozen());
                if (victim != Victim::kCommand) ground.mount().kill_daemon();
                create.send(victim == Victim::kDaemon ? SIGCONT : SIGKILL);
                const int code = create.wait();
                CHECK(code != 0);
                CHECK(becomes([&] { return ground.thawed(); }));
                if (victim != Victim::kCommand) ground.mount().remount();
                // No snapshot that was not finished says that it is consistent.
                const json snapshots = ground.snapshots();
                for (std::size_t i = before; i < snapshots.size(); ++i) {
                    CHECK(step > 3);
                    for (const auto& writer : snapshots[i].at("writers"))
                        CHECK(writer.at("state") == "frozen");
                }
                if (victim == Victim::kCommand && step > 1)
                    CHECK(becomes([&] {
                        return ground.writer("plain").at("state") == "failed_at_shutdown";
                    }));
                // And it works again.
                must_run(ground.create());
                CHECK(ground.writer("plain").at("state") == "stable");
            }
        }
    }

    TEST_CASE("a daemon that takes too long over the cut: thawed meanwhile, and no snapshot") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        ground.add(ground.definition("plain", ": > $FLAGS/plain", "rm -f $FLAGS/plain",
                                     "[limits]\ncut = 2\n"));
        BackgroundProcess create(ground.create(), stop_at(3));
        REQUIRE(create.stops());
        CHECK(ground.frozen());
        // It answers nobody; the limit of the cut is over while it does not.
        const pid_t daemon = ground.mount().daemon_pid();
        ::kill(daemon, SIGSTOP);
        create.send(SIGCONT);
        CHECK(becomes([&] { return ground.thawed(); }));
        CHECK(create.running());
        ::kill(daemon, SIGCONT);
        CHECK(create.wait() == 1);
        CHECK(ground.snapshots().empty());
        CHECK(ground.writer("plain").at("state") == "failed_at_freeze");
        CHECK(ground.writer("plain").at("last_error") == "timed_out");
        CHECK(ground.writer("held").at("last_error") == "timed_out");
    }

    TEST_CASE("a writer that fails: no snapshot, or one that says so") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        std::string freeze = "echo cannot >&2; exit 1", error = "retryable";
        std::string more;
        SUBCASE("at once") {}
        SUBCASE("after its limit") {
            freeze = "sleep 600";
            error = "timed_out";
            more = "[limits]\nfreeze = 1\n";
        }
        ground.add(ground.definition("zz", freeze, ": > $FLAGS/zz-thawed", more));
        const auto refused = run(ground.create({"--label", "x", "--hold", "y"}));
        CHECK(refused.exit_code == 1);
        CHECK(refused.out.empty());
        CHECK(refused.err.find("writer 'zz' failed_at_freeze (" + error + ")") !=
              std::string::npos);
        CHECK(refused.err.find("--allow-failed-writers") != std::string::npos);
        CHECK(ground.snapshots().empty());
        CHECK(ground.thawed());
        CHECK(fs::exists(ground.flags() / "zz-thawed"));
        CHECK(ground.writer("zz").at("state") == "failed_at_freeze");
        CHECK(ground.writer("zz").at("last_error") == error);

        const auto allowed = run(ground.create({"--allow-failed-writers"}));
        CHECK(allowed.exit_code == 0);
        CHECK(allowed.err.find("although writer 'zz'") != std::string::npos);
        const json taken = ground.snapshots().at(0);
        REQUIRE(taken.at("writers").size() == 3);
        for (const auto& writer : taken.at("writers"))
            CHECK((writer.at("state") == "stable") == (writer.at("name") != "zz"));

        CHECK(run(ground.create({"--exclude-writer", "zz"})).exit_code == 0);
        CHECK(ground.snapshots().at(1).at("writers").size() == 2);
        CHECK(run(ground.create({"--writer", "held"})).exit_code == 0);
        CHECK(ground.snapshots().at(2).at("writers").size() == 1);
        CHECK(run(ground.create({"--no-writers"})).exit_code == 0);
        CHECK(ground.snapshots().at(3).at("writers").empty());
        CHECK(run(ground.create({"--writer", "nobody"})).exit_code == 3);
    }

    TEST_CASE("a thaw that fails takes the snapshot back, though it is held") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        ground.add(ground.definition("zz", ":", "exit 5"));
        const auto refused = run(ground.create({"--hold", "kept"}));
        CHECK(refused.exit_code == 1);
        CHECK(refused.err.find("failed_at_thaw") != std::string::npos);
        CHECK(ground.snapshots().empty());
        CHECK(ground.thawed());
    }

    TEST_CASE("Ctrl-C while a freeze hangs thaws and ends it") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        ground.add(ground.definition("zz", ": > $FLAGS/zz; sleep 600", "rm -f $FLAGS/zz"));
        BackgroundProcess create(ground.create());
        CHECK(becomes([&] { return fs::exists(ground.flags() / "zz"); }));
        CHECK(ground.frozen());
        create.send(SIGINT);
        CHECK(create.wait() == 1);
        CHECK(ground.thawed());
        CHECK(!fs::exists(ground.flags() / "zz"));
        CHECK(ground.snapshots().empty());
    }

    TEST_CASE("only root gives a share writers, sees what they keep, and is asked for them") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        const uid_t somebody = 4711;
        // The owner of the share is trusted with its history, but not with root's commands.
        REQUIRE(::chown(ground.mount().path().c_str(), somebody, somebody) == 0);
        ProcessOptions as_owner;
        as_owner.uid = somebody;
        as_owner.gid = somebody;
        const auto owner = [&](std::vector<std::string> arguments) {
            arguments.insert(arguments.begin(), umbra_binary());
            return run(arguments, as_owner);
        };
        const std::string share = ground.share();
        CHECK(owner({"writers", "remove", share, "held"}).exit_code == 4);
        CHECK(owner({"writers", "add", share, "/etc/hostname"}).exit_code != 0);
        const auto refused = owner({"snapshot", "create", share});
        CHECK(refused.exit_code == 4);
        CHECK(refused.err.find("--no-writers") != std::string::npos);
        CHECK(owner({"snapshot", "create", share, "--no-writers"}).exit_code == 0);
        must_run(ground.create({"--label", "with"}));
        CHECK(owner({"writers", "list", share}).exit_code == 0);
        CHECK(owner({"writers", "list", share, "--from", "with", "--json"}).exit_code == 4);
        CHECK(json::parse(owner({"snapshot", "list", share, "--json"}).out).size() == 2);
    }

    TEST_CASE("a restore of a writer's files is between its pre-restore and post-restore") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        const fs::path root = ground.mount().path();
        fs::create_directories(root / "db");
        write_file(root / "db" / "file", "old");
        write_file(root / "other", "old");
        ground.add(ground.definition(
            "db", ":", "echo the document",
            "pre-restore = 'echo pre $(cat $UMBRA_SHARE/db/file) >> $FLAGS/log; exit "
            "$(cat $FLAGS/code 2>/dev/null || echo 0)'\n"
            "post-restore = 'echo post $UMBRA_RESTORE_STATUS $(cat $UMBRA_SHARE/db/file) $(cat) "
            ">> $FLAGS/log'\n[[component]]\nname = \"data\"\npaths = [\"db\"]\n"));
        const std::string token = trim_end(must_run(ground.create()));
        const auto restore = [&](const std::string& what, std::vector<std::string> more = {}) {
            write_file(root / "db" / "file", "newer");
            write_file(root / "other", "newer");
            fs::remove(ground.log());
            std::vector<std::string> arguments{"restore", (root / what).string(), "--from", token};
            arguments.insert(arguments.end(), more.begin(), more.end());
            return umbra(arguments);
        };
        CHECK(restore("db", {"--method", "replace"}).exit_code == 0);
        CHECK(text_of(ground.log()) == "pre newer\npost all old the document\n");
        CHECK(restore("other").exit_code == 0);
        CHECK(text_of(ground.log()).empty());
        CHECK(restore("db", {"--dry-run"}).exit_code == 0);
        CHECK(text_of(ground.log()).empty());
        CHECK(restore("db", {"--no-writers"}).exit_code == 0);
        CHECK(text_of(ground.log()).empty());

        write_file(root / "db" / "file", "newer");
        // Nothing could be replaced: it says so, and not that all is well.
        must_run({"chattr", "+i", (root / "db" / "file").string()});
        fs::remove(ground.log());
        CHECK(umbra({"restore", (root / "db").string(), "--from", token, "--method", "replace"})
                  .exit_code == 6);
        must_run({"chattr", "-i", (root / "db" / "file").string()});
        CHECK(text_of(ground.log()).find("post none") != std::string::npos);

        // A pre-restore that fails: nothing is touched.
        std::ofstream(ground.flags() / "code") << "3";
        CHECK(restore("db").exit_code == 1);
        CHECK(contents_of(root / "db" / "file") == "newer");
        CHECK(ground.writer("db").at("state") == "failed_at_pre_restore");
        fs::remove(ground.flags() / "code");

        write_file(root / "db" / "file", "newest");
        fs::remove(ground.log());
        CHECK(umbra({"revert", ground.share(), token}).exit_code == 0);
        CHECK(text_of(ground.log()) == "pre newest\npost all old the document\n");
        const json jobs =
            json::parse(must_run({umbra_binary(), "restore", "list", ground.share(), "--json"}));
        fs::remove(ground.log());
        CHECK(umbra({"restore", "undo", jobs.back().at("job"), ground.share()}).exit_code == 0);
        CHECK(text_of(ground.log()) == "pre old\npost all newest\n");
    }

    TEST_CASE("a unit is stopped around the cut if it ran, and not started on a mixture") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        const fs::path root = ground.mount().path();
        fs::create_directories(root / "app");
        for (const char* name : {"a", "b"}) write_file(root / "app" / name, "old");
        // In the place of systemctl: nothing here runs systemd.
        const fs::path running = ground.flags() / "running", bin = ground.flags() / "bin";
        fs::create_directories(bin);
        std::ofstream(bin / "systemctl")
            << "#!/bin/sh\ncase $1 in\nshow) echo loaded ;;\n"
               "is-active) [ -e $FLAGS/running ] ;;\n"
               "stop) rm $FLAGS/running; echo stop >> $FLAGS/log ;;\n"
               "start) : > $FLAGS/running; echo start >> $FLAGS/log ;;\n"
               "esac\n";
        fs::permissions(bin / "systemctl", fs::perms(0755));
        const fs::path shipped =
            fs::path(::getenv("UMBRA_SOURCE_DIR")) / "packaging" / "writers" / "systemd-unit.toml";
        const fs::path file = ground.flags() / "unit.toml";
        std::ofstream(file) << contents_of(shipped) << "[environment]\nFLAGS = \""
                            << ground.flags().string() << "\"\nPATH = \"" << bin.string()
                            << ":/usr/bin:/bin\"\n";
        const std::string unit = "app" + std::to_string(::getpid()) + ".service";
        must_run({umbra_binary(), "writers", "add", ground.share(), file.string(), "--set",
                  "unit=" + unit, "--set", "path=app"});
        const std::string token = trim_end(must_run(ground.create()));
        CHECK(text_of(ground.log()).empty());
        std::ofstream(running) << "";
        must_run(ground.create());
        CHECK(text_of(ground.log()) == "stop\nstart\n");

        // Killed while it is stopped: it is started.
        BackgroundProcess create(ground.create(), stop_at(4));
        REQUIRE(create.stops());
        CHECK(!fs::exists(running));
        create.send(SIGKILL);
        CHECK(becomes([&] { return fs::exists(running); }));

        for (const char* name : {"a", "b"}) write_file(root / "app" / name, "newer");
        must_run({"chattr", "+i", (root / "app" / "b").string()});
        const auto mixed = umbra({"restore", (root / "app").string(), "--from", token});
        CHECK(mixed.exit_code == 6);
        CHECK(mixed.err.find("stays stopped") != std::string::npos);
        CHECK(!fs::exists(running));
        must_run({"chattr", "-i", (root / "app" / "b").string()});
        const json jobs =
            json::parse(must_run({umbra_binary(), "restore", "list", ground.share(), "--json"}));
        CHECK(umbra({"restore", "resume", jobs.back().at("job"), ground.share()}).exit_code == 0);
        CHECK(fs::exists(running));
        CHECK(contents_of(root / "app" / "b") == "old");
    }

    TEST_CASE("the writers that come with Umbra can be added, and want their settings") {
        UMBRA_NEEDS_MOUNTS();
        Ground ground;
        const fs::path shipped = fs::path(::getenv("UMBRA_SOURCE_DIR")) / "packaging" / "writers";
        const auto add = [&](const char* name, std::vector<std::string> settings) {
            std::vector<std::string> arguments{"writers", "add", ground.share(),
                                               (shipped / name).string()};
            for (const auto& setting : settings) {
                arguments.emplace_back("--set");
                arguments.push_back(setting);
            }
            return umbra(arguments);
        };
        for (const char* name : {"postgresql.toml", "sqlite.toml", "systemd-unit.toml"}) {
            CAPTURE(name);
            const auto refused = add(name, {});
            CHECK(refused.exit_code == 2);
            CHECK(refused.err.find("needs a value") != std::string::npos);
        }
        CHECK(add("postgresql.toml", {"data=pg"}).exit_code == 0);
        CHECK(add("sqlite.toml", {"database=a.db"}).exit_code == 0);
        CHECK(add("systemd-unit.toml", {"unit=x.service", "path=x"}).exit_code == 0);
        CHECK(add("sqlite.toml", {"nonsense=a.db"}).exit_code == 2);
        CHECK(ground.writers().size() == 5);
        // Their databases are not there: that is found before anything is frozen.
        const auto checked = umbra({"writers", "check", ground.share(), "--json"});
        CHECK(checked.exit_code == 1);
        for (const auto& writer : json::parse(checked.out))
            CHECK((writer.at("state") == "stable") ==
                  (writer.at("name") == "plain" || writer.at("name") == "held"));
    }
}

}  // namespace umbra::test
