// Writers without a volume: definitions, the order of steps, limits, states, and who thaws when
// somebody dies.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "restore/writer_definition.h"
#include "restore/writer_report.h"
#include "restore/writer_restore.h"
#include "restore/writer_session.h"
#include "snapstore/writer_files.h"
#include "tests/support/scratch.h"

using namespace umbra;
using umbra::test::TempDir;
namespace fs = std::filesystem;

namespace {

std::string contents(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

bool appears(const fs::path& path, const std::string& text) {
    for (int i = 0; i < 2000; ++i) {
        if (contents(path).find(text) != std::string::npos) return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
}

WriterDefinition parsed(const std::string& text) {
    auto made = parse_writer_definition(text, "here");
    INFO((made ? std::string() : made.error().text()));
    REQUIRE(made.has_value());
    return *made;
}

std::string why_not(const std::string& text) {
    const auto made = parse_writer_definition(text, "here");
    REQUIRE(!made.has_value());
    return made.error().text();
}

// Writers that write what they are asked into a log.
class Ground {
   public:
    fs::path log() const { return dir_.path() / "log"; }
    std::string text() const { return contents(log()); }
    std::string path() const { return dir_.path().string(); }

    // Every step logs "NAME STEP"; `changed` replaces the commands of some.
    WriterDefinition writer(const std::string& name, const std::string& changed = "",
                            const std::string& more = "") const {
        std::string commands;
        for (const char* step : {"identify", "prepare", "freeze", "thaw", "post-snapshot",
                                 "pre-restore", "post-restore"}) {
            if (changed.find(std::string(step) + " =") == std::string::npos)
                commands += std::string(step) + " = '" + say() + "'\n";
        }
        return parsed("format = 1\nname = \"" + name + "\"\n" + more + "[environment]\nLOG = \"" +
                      log().string() + "\"\n[commands]\n" + commands + changed);
    }
    static std::string say() { return "echo $UMBRA_WRITER $UMBRA_STEP >> $LOG"; }

    std::unique_ptr<WriterSession> session(std::vector<WriterDefinition> writers,
                                           WriterSessionOptions options = {}) const {
        options.share = path();
        auto session = WriterSession::start(std::move(writers), std::move(options));
        REQUIRE(session.has_value());
        return std::move(*session);
    }

   private:
    TempDir dir_;
};

struct Taken {
    std::vector<WriterReport> at_cut;
    std::vector<WriterReport> recorded;
    bool cut = false;
    bool taken_back = false;
    Result<WriterSnapshot> result = WriterSnapshot();
};

Taken take(WriterSession& session, const std::function<void()>& while_cut = {}) {
    Taken taken;
    taken.result = snapshot_with_writers(
        session,
        [&](const auto& reports) -> Result<std::string> {
            taken.cut = true;
            taken.at_cut = reports;
            if (while_cut) while_cut();
            return std::string("@GMT-2026.01.01-00.00.00");
        },
        [&](const std::string&, const auto& reports) -> Result<void> {
            taken.recorded = reports;
            return {};
        },
        [&](const std::string&) -> Result<void> {
            taken.taken_back = true;
            return {};
        });
    return taken;
}

RestoreJob job_with(const JobSpec& spec, const std::vector<RestoreStatus>& statuses) {
    RestoreJob job;
    job.spec = spec;
    for (std::size_t i = 0; i < statuses.size(); ++i) {
        JobComponent component;
        component.spec = spec.components[i];
        component.run = 1;
        component.status.run = 1;
        component.status.status = statuses[i];
        job.components.push_back(component);
    }
    return job;
}

JobSpec spec_of(const std::vector<std::string>& paths) {
    JobSpec spec;
    spec.token = "@GMT-2026.01.01-00.00.00";
    for (const auto& path : paths) {
        ComponentSpec component;
        component.name = "c-" + path;
        component.paths = {{path, path}};
        spec.components.push_back(component);
    }
    return spec;
}

constexpr const char* kHeld =
    "freeze = 'echo $UMBRA_WRITER $UMBRA_STEP >> $LOG; echo frozen; cat; "
    "echo $UMBRA_WRITER released >> $LOG; echo label of $UMBRA_WRITER'\nfreeze-stays = true\n";

}  // namespace

TEST_SUITE("writers") {
    TEST_CASE("a definition is read as it is written") {
        const auto writer = parsed(R"(
format = 1
name = "db-1"
description = "a database"
user = "${who}"
order = -5
[settings]
who = "nobody"
data = "a/b"
[environment]
HOME = "/x"
[commands]
identify = ["/bin/true", "with space"]
freeze = "stop it"
thaw = '''start it
now'''
[limits]
freeze = 7
cut = 3
[[component]]
name = "data"
paths = ["${data}/", "c"]
include = ["*.db"]
exclude = ["*.tmp"]
)");
        CHECK(writer.name == "db-1");
        CHECK(writer.user == "nobody");
        CHECK(writer.order == -5);
        CHECK(writer.command(WriterStep::kIdentify) ==
              std::vector<std::string>{"/bin/true", "with space"});
        CHECK(writer.command(WriterStep::kThaw) ==
              std::vector<std::string>{"/bin/sh", "-c", "start it\nnow"});
        CHECK(writer.command(WriterStep::kPrepare).empty());
        CHECK(writer.limit(WriterStep::kFreeze).count() == 7);
        CHECK(writer.limit(WriterStep::kThaw).count() == 60);
        CHECK(writer.cut_limit.count() == 3);
        REQUIRE(writer.components.size() == 1);
        CHECK(writer.components[0].paths == std::vector<std::string>{"a/b", "c"});
        CHECK(writer.components[0].include == std::vector<std::string>{"*.db"});
    }

    TEST_CASE("the old system's limits are the defaults") {
        const auto writer = parsed("format = 1\nname = \"x\"\n[commands]\n");
        CHECK(writer.limit(WriterStep::kFreeze).count() == 60);
        CHECK(writer.cut_limit.count() == 10);
    }

    TEST_CASE("a bad definition is refused, and says what is wrong") {
        const std::string head = "format = 1\nname = \"x\"\n";
        struct Bad {
            const char* text;
            const char* why;
        };
        for (const Bad& bad : std::vector<Bad>{
                 {"[commands]\nfreez = 'x'\n", "no key 'freez'"},
                 {"typo = 1\n[commands]\n", "no key 'typo'"},
                 {"", "no [commands]"},
                 {"[commands]\nfreeze = 'x'\n", "no thaw"},
                 {"[commands]\nfreeze-stays = true\n", "without a freeze"},
                 {"[commands]\nfreeze = 5\nthaw = 'x'\n", "must be a string"},
                 {"[commands]\nfreeze = []\nthaw = 'x'\n", "is empty"},
                 {"[commands]\nidentify = \"a\\u0000b\"\n", "must be a string"},
                 {"order = 1.5\n[commands]\n", "whole number"},
                 {"[commands]\n[limits]\nfreeze = 1.5\n", "whole number"},
                 {"[commands]\n[limits]\nfreeze = 0\n", "whole number"},
                 {"[commands]\n[limits]\nfreeze = 1e30\n", "whole number"},
                 {"user = \"${who}\"\n[commands]\n", "which is not there"},
                 {"user = \"${who}\"\n[commands]\n[settings]\nwho = \"\"\n", "needs a value"},
                 {"[commands]\n[[component]]\nname = \"c\"\npaths = [\"../etc\"]\n", "has '..'"},
                 {"[commands]\n[[component]]\nname = \"c\"\npaths = [\"/etc\"]\n", "relative"},
                 {"[commands]\n[[component]]\nname = \"c\"\n", "no paths"},
                 {"[commands]\n[[component]]\nname = \"c/d\"\npaths = [\"a\"]\n", "name"},
                 {"[commands\n", "line 3"},
             }) {
            CAPTURE(bad.text);
            CHECK(why_not(head + bad.text).find(bad.why) != std::string::npos);
        }
        CHECK(why_not("format = 1\nname = \"../x\"\n[commands]\n").find("name") !=
              std::string::npos);
        CHECK(why_not("name = \"x\"\n[commands]\n").find("format") != std::string::npos);
        const auto newer = parse_writer_definition("format = 2\nname = \"x\"\n", "here");
        REQUIRE(!newer.has_value());
        CHECK(newer.error().kind == ErrorKind::kRefused);
        CHECK(!parse_writer_definition(std::string("\0\xff[[[[", 6), "here").has_value());
        CHECK(!parse_writer_definition(std::string(10'000, '['), "here").has_value());
    }

    TEST_CASE("settings are changed by name, and only those there are") {
        const std::string text =
            "format = 1\nname = \"x\"\n[settings]\na = \"1\"\n[commands]\nidentify = 'x'\n";
        const auto changed =
            set_in_writer_definition(text, {{"a", "two 'and' \"a half\""}}, "here");
        REQUIRE(changed.has_value());
        CHECK(parsed(*changed).settings.at("a") == "two 'and' \"a half\"");
        CHECK(parsed(*changed).command(WriterStep::kIdentify).back() == "x");
        CHECK(!set_in_writer_definition(text, {{"b", "1"}}, "here").has_value());
    }

    TEST_CASE("writers are asked in order, thawed in the reverse, and end stable") {
        const Ground ground;
        const auto session =
            ground.session({ground.writer("b"), ground.writer("a", "", "order = 1\n")});
        const Taken taken =
            take(*session, [&] { std::ofstream(ground.log(), std::ios::app) << "cut\n"; });
        REQUIRE(taken.result.has_value());
        CHECK(ground.text() ==
              "b identify\na identify\nb prepare\na prepare\nb freeze\na freeze\ncut\n"
              "a thaw\nb thaw\nb post-snapshot\na post-snapshot\n");
        for (const auto& report : taken.at_cut) CHECK(report.state == WriterState::kFrozen);
        REQUIRE(taken.recorded.size() == 2);
        for (const auto& report : taken.recorded) CHECK(report.state == WriterState::kStable);
    }

    TEST_CASE("a freeze that stays holds until the thaw, and what it prints is kept") {
        const Ground ground;
        const auto session = ground.session({ground.writer("w", kHeld)});
        const Taken taken =
            take(*session, [&] { std::ofstream(ground.log(), std::ios::app) << "cut\n"; });
        REQUIRE(taken.result.has_value());
        CHECK(ground.text().find("w freeze\ncut\nw released\n") != std::string::npos);
        CHECK(taken.result->reports[0].document == "label of w\n");
        CHECK(taken.result->reports[0].state == WriterState::kStable);
    }

    TEST_CASE("a step that fails ends it, nothing is cut, and what was frozen is thawed") {
        for (const char* step : {"identify", "prepare", "freeze"}) {
            CAPTURE(step);
            const Ground ground;
            const auto session = ground.session(
                {ground.writer("a"),
                 ground.writer("b", std::string(step) + " = 'echo no way >&2; exit 3'\n")});
            const Taken taken = take(*session);
            REQUIRE(!taken.result.has_value());
            CHECK(!taken.cut);
            const std::string message = taken.result.error().text();
            CHECK(message.find("writer 'b' failed_at_" + std::string(step)) != std::string::npos);
            CHECK(message.find("no way") != std::string::npos);
            CHECK(session->reports()[1].error == WriterError::kRetryable);
            const bool froze = ground.text().find("a freeze") != std::string::npos;
            CHECK(froze == (std::string(step) == "freeze"));
            CHECK((ground.text().find("a thaw") != std::string::npos) == froze);
            // The freeze that failed may have been half done.
            CHECK((ground.text().find("b thaw") != std::string::npos) == froze);
        }
    }

    TEST_CASE("a thaw or post-snapshot that fails takes the snapshot back") {
        for (const char* step : {"thaw", "post-snapshot"}) {
            CAPTURE(step);
            const Ground ground;
            const auto session = ground.session(
                {ground.writer("a", std::string(step) + " = 'exit 1'\n"), ground.writer("b")});
            const Taken taken = take(*session);
            CHECK(!taken.result.has_value());
            CHECK(taken.cut);
            CHECK(taken.taken_back);
            REQUIRE(taken.recorded.size() == 2);
            CHECK(taken.recorded[0].failed());
            CHECK(ground.text().find("b thaw") != std::string::npos);
        }
    }

    TEST_CASE("a writer that fails may be allowed to: the others go on, and it is recorded") {
        const Ground ground;
        WriterSessionOptions options;
        options.allow_failed = true;
        const auto session = ground.session(
            {ground.writer("a", "freeze = 'exit 1'\n"), ground.writer("b")}, options);
        const Taken taken = take(*session);
        REQUIRE(taken.result.has_value());
        CHECK(taken.recorded[0].state == WriterState::kFailedAtFreeze);
        CHECK(taken.recorded[1].state == WriterState::kStable);
        CHECK(ground.text().find("b post-snapshot") != std::string::npos);
    }

    TEST_CASE("no program, no user, a signal, not UTF-8, too much: each is told") {
        const Ground ground;
        const auto ends_with = [&](const WriterDefinition& writer) {
            const auto session = ground.session({writer});
            CHECK(!take(*session).result.has_value());
            return session->reports()[0];
        };
        CHECK(ends_with(ground.writer("a", "identify = ['/no/such/program']\n")).error ==
              WriterError::kNonRetryable);
        WriterReport report = ends_with(ground.writer("a", "", "user = \"no-such-user\"\n"));
        CHECK(report.error == WriterError::kNonRetryable);
        CHECK(report.sentence.find("no-such-user") != std::string::npos);
        CHECK(ends_with(ground.writer("a", "prepare = 'kill -9 $$'\n")).error ==
              WriterError::kUnexpected);
        CHECK(ends_with(ground.writer("a", "thaw = 'printf \"\\377\"'\n")).state ==
              WriterState::kFailedAtThaw);
        CHECK(ends_with(ground.writer("a", "thaw = 'head -c 100000 /dev/zero'\n")).state ==
              WriterState::kFailedAtThaw);
    }

    TEST_CASE("a freeze that hangs is killed at its limit, and thawed") {
        const Ground ground;
        const auto session = ground.session({ground.writer(
            "a", "freeze = 'echo a freeze >> $LOG; sleep 600'\n[limits]\nfreeze = 1\n")});
        const Taken taken = take(*session);
        CHECK(!taken.cut);
        CHECK(session->reports()[0].state == WriterState::kFailedAtFreeze);
        CHECK(session->reports()[0].error == WriterError::kTimedOut);
        CHECK(ground.text().find("a freeze\na thaw\n") != std::string::npos);
    }

    TEST_CASE(
        "a cut that takes longer than its limit finds everything thawed, and does not count") {
        const Ground ground;
        std::string limit;
        SUBCASE("cut") { limit = "[limits]\ncut = 1\n"; }
        SUBCASE("freeze") { limit = "[limits]\nfreeze = 1\n"; }
        const auto session = ground.session({ground.writer("a", limit), ground.writer("b", kHeld)});
        const Taken taken = take(*session, [&] {
            CHECK(appears(ground.log(), "a thaw"));
            CHECK(appears(ground.log(), "b released"));
        });
        CHECK(!taken.result.has_value());
        CHECK(taken.cut);
        CHECK(taken.taken_back);
        for (const auto& report : session->reports()) {
            CHECK(report.state == WriterState::kFailedAtFreeze);
            CHECK(report.error == WriterError::kTimedOut);
        }
    }

    TEST_CASE("a freeze that stays and ends too early does not count") {
        const Ground ground;
        std::string command;
        SUBCASE("before it says so") { command = "freeze = 'exit 0'\nfreeze-stays = true\n"; }
        SUBCASE("afterwards") {
            command = "freeze = 'echo frozen; sleep 0.2; echo over >> $LOG'\nfreeze-stays = true\n";
        }
        const auto session = ground.session({ground.writer("a", command)});
        const Taken taken = take(*session, [&] {
            CHECK(appears(ground.log(), "over"));
            std::this_thread::sleep_for(std::chrono::milliseconds(300));
        });
        CHECK(!taken.result.has_value());
        CHECK(session->reports()[0].state == WriterState::kFailedAtFreeze);
    }

    TEST_CASE("who is interrupted while a freeze hangs is not kept waiting, and it is thawed") {
        const Ground ground;
        WriterSessionOptions options;
        options.interrupted = [&] { return ground.text().find("b freeze") != std::string::npos; };
        const auto session =
            ground.session({ground.writer("a"),
                            ground.writer("b", "freeze = 'echo b freeze >> $LOG; sleep 600'\n")},
                           options);
        const Taken taken = take(*session);
        REQUIRE(!taken.result.has_value());
        CHECK(taken.result.error().code == EINTR);
        CHECK(!taken.cut);
        CHECK(ground.text().find("b thaw\na thaw\n") != std::string::npos);
    }

    TEST_CASE("when who asked is killed the keeper thaws, and says how it ended") {
        for (const bool while_freezing : {true, false}) {
            CAPTURE(while_freezing);
            const Ground ground;
            const std::string hangs = "freeze = 'echo b freeze >> $LOG; sleep 600'\n";
            const pid_t child = ::fork();
            REQUIRE(child >= 0);
            if (child == 0) {
                WriterSessionOptions options;
                options.on_orphaned = [&](const auto& reports) {
                    std::ofstream(ground.log(), std::ios::app)
                        << "orphaned " << failed_writers_text(reports) << "\n";
                };
                const auto session = ground.session(
                    {ground.writer("a", kHeld), ground.writer("b", while_freezing ? hangs : "")},
                    options);
                take(*session, [] { ::pause(); });
                ::_exit(0);
            }
            CHECK(appears(ground.log(), "b freeze"));
            if (!while_freezing) std::this_thread::sleep_for(std::chrono::milliseconds(100));
            ::kill(child, SIGKILL);
            ::waitpid(child, nullptr, 0);
            CHECK(appears(ground.log(), "b thaw"));
            CHECK(appears(ground.log(), "a released"));
            CHECK(appears(ground.log(), "orphaned"));
            CHECK(ground.text().find(while_freezing ? "failed_at_freeze" : "failed_at_shutdown") !=
                  std::string::npos);
        }
    }

    TEST_CASE("when the keeper is killed, who asked thaws") {
        for (const bool while_freezing : {true, false}) {
            CAPTURE(while_freezing);
            const Ground ground;
            // It names the keeper, whose child it is.
            const std::string freeze =
                std::string("freeze = 'echo $PPID > $LOG.keeper; ") +
                (while_freezing ? "kill -9 $PPID; sleep 600; echo late >> $LOG" : ":") + "'\n";
            const auto session = ground.session({ground.writer("a"), ground.writer("b", freeze)});
            const Taken taken = take(*session, [&] {
                const pid_t keeper = std::stoi(contents(ground.log().string() + ".keeper"));
                ::kill(keeper, SIGKILL);
            });
            CHECK(!taken.result.has_value());
            CHECK(taken.cut != while_freezing);
            CHECK(taken.taken_back == taken.cut);
            CHECK(ground.text().find("b thaw\na thaw\n") != std::string::npos);
            for (const auto& report : session->reports())
                CHECK(report.state == WriterState::kFailedAtFreeze);
        }
    }

    TEST_CASE("reports survive being text") {
        std::vector<WriterReport> reports{
            {"a", WriterState::kStable, WriterError::kNone, "", "label \"1\"\n\xC3\xA9"},
            {"b", WriterState::kFailedAtThaw, WriterError::kTimedOut, "why", ""}};
        const auto again = decode_writer_reports(encode_writer_reports(reports));
        REQUIRE(again.has_value());
        REQUIRE(again->size() == 2);
        CHECK((*again)[0].document == reports[0].document);
        CHECK((*again)[1].state == WriterState::kFailedAtThaw);
        CHECK((*again)[1].error == WriterError::kTimedOut);
        CHECK(decode_writer_reports("")->empty());
        CHECK(!decode_writer_reports("{").has_value());
        CHECK((*decode_writer_reports(R"([{"name":1,"state":[]},7])"))[0].state ==
              WriterState::kUnknown);
    }

    TEST_CASE("who has files in what is restored is asked, and nobody else") {
        WriterDefinition writer;
        writer.name = "w";
        writer.components.push_back({"data", {"srv/db"}, {}, {}});
        for (const char* path : {"", "srv", "srv/db", "srv/db/base/1"})
            CHECK(writers_of_job({writer}, spec_of({path})).size() == 1);
        for (const char* path : {"srv/db2", "sr", "srv/d", "other"})
            CHECK(writers_of_job({writer}, spec_of({path})).empty());
    }

    TEST_CASE("post-restore is told what truly became of the files (KB 952826)") {
        const Ground ground;
        auto writer =
            ground.writer("w",
                          "post-restore = 'echo $UMBRA_RESTORE_STATUS $UMBRA_RESTORE_STATUS_NUMBER "
                          "$UMBRA_RESTORE_COMPONENTS $(cat) >> $LOG'\n");
        writer.components.push_back({"data", {"a", "b"}, {}, {}});
        const JobSpec spec = spec_of({"a", "b", "elsewhere"});
        using enum RestoreStatus;
        struct Case {
            std::vector<RestoreStatus> statuses;
            const char* told;
        };
        for (const auto& [statuses, told] : std::vector<Case>{
                 {{kAll, kAll, kFailed}, "all 2 c-a=all c-b=all doc\n"},
                 {{kNone, kNone, kAll}, "none 1 c-a=none c-b=none doc\n"},
                 {{kAll, kFailed, kAll}, "failed 3 c-a=all c-b=failed doc\n"},
                 {{kAll, kNone, kAll}, "failed 3 c-a=all c-b=none doc\n"},
                 {{kAll, kUndefined, kAll}, "failed 3 c-a=all c-b=undefined doc\n"},
                 {{kUndefined, kUndefined, kAll}, "undefined 0 c-a=undefined c-b=undefined doc\n"},
             }) {
            fs::remove(ground.log());
            WriterRestoreOptions options;
            options.share = ground.path();
            options.recorded = {{"w", WriterState::kStable, WriterError::kNone, "", "doc"}};
            WriterRestore restore({writer}, spec, options);
            REQUIRE(restore.pre_restore().has_value());
            const RestoreJob job = job_with(spec, statuses);
            CHECK(restore.post_restore("job", &job).has_value());
            CHECK(ground.text() == std::string("w pre-restore\n") + told);
        }
    }

    TEST_CASE(
        "a component that a later run has begun with is not ALL because an earlier one said so") {
        WriterDefinition writer;
        writer.components.push_back({"data", {"a"}, {}, {}});
        RestoreJob job = job_with(spec_of({"a"}), {RestoreStatus::kAll});
        CHECK(status_of_writer(writer, &job) == RestoreStatus::kAll);
        job.components[0].run = 2;
        CHECK(status_of_writer(writer, &job) == RestoreStatus::kFailed);
    }

    TEST_CASE(
        "a pre-restore that fails ends it, and who was asked before hears that nothing was done") {
        const Ground ground;
        const auto first =
            ground.writer("a", "post-restore = 'echo a told $UMBRA_RESTORE_STATUS >> $LOG'\n");
        const auto second =
            ground.writer("b",
                          "pre-restore = 'echo busy >&2; exit 1'\n"
                          "post-restore = 'echo b told $UMBRA_RESTORE_STATUS >> $LOG'\n");
        const auto third = ground.writer("c");
        WriterRestore restore({first, second, third}, spec_of({""}), {});
        const auto ready = restore.pre_restore();
        REQUIRE(!ready.has_value());
        CHECK(ready.error().text().find("busy") != std::string::npos);
        CHECK(ground.text() == "a pre-restore\nb told none\na told none\n");
        CHECK(restore.reports().back().state == WriterState::kFailedAtPreRestore);
    }

    TEST_CASE("definitions are root's alone") {
        const TempDir dir;
        const int control = ::open(dir.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        REQUIRE(control >= 0);
        const UniqueFd guard(control);
        if (::geteuid() != 0) return;
        WriterFiles files(control);
        CHECK(files.definitions()->empty());
        CHECK(files.last_reports()->empty());
        REQUIRE(files.put({"w", "text"}).has_value());
        REQUIRE(files.put({"v", "more"}).has_value());
        CHECK(files.definitions()->size() == 2);
        CHECK(files.definitions()->at(1).text == "text");
        const fs::path file = dir.path() / "writers.d" / "w.toml";
        struct stat status {};
        REQUIRE(::stat(file.c_str(), &status) == 0);
        CHECK((status.st_mode & 07777) == 0600);
        for (const mode_t mode : {0644, 0620, 0602, 0666}) {
            REQUIRE(::chmod(file.c_str(), mode) == 0);
            const auto refused = files.definitions();
            REQUIRE(!refused.has_value());
            CHECK(refused.error().kind == ErrorKind::kRefused);
            CHECK(refused.error().text().find("w.toml") != std::string::npos);
        }
        ::chmod(file.c_str(), 0600);
        REQUIRE(::chown(file.c_str(), 65534, 65534) == 0);
        CHECK(!files.definitions().has_value());
        fs::remove(file);
        fs::create_symlink(dir.path() / "writers.d" / "v.toml", file);
        CHECK(!files.definitions().has_value());
        fs::remove(file);
        CHECK(files.definitions()->size() == 1);
        REQUIRE(::chmod(file.parent_path().c_str(), 0777) == 0);
        CHECK(!files.definitions().has_value());
        ::chmod(file.parent_path().c_str(), 0700);
        CHECK(files.remove("w").error().kind == ErrorKind::kNotFound);
        CHECK(files.remove("../v").error().kind == ErrorKind::kUsage);
        CHECK(!files.put({"../v", ""}).has_value());
        CHECK(files.remove("v").has_value());
        CHECK(files.definitions()->empty());
    }
}
