// Restore jobs: what they do, what they say of it, and how they end when they are killed anywhere.
#include <dirent.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/tree.h"
#include "tests/unit/restore_ground.h"

using namespace umbra;
using namespace umbra::test;

namespace {

// Thrown before a step: the rest of the process is as if it had been killed there.
struct Killed {};

// Something of everything: replaced, made, metadata, whole folders, links, what the snapshot lacks.
void fill(const RestoreGround& ground) {
    for (int i = 0; i < 4; ++i) {
        put_file(ground.past / "d" / ("f" + std::to_string(i)), "old " + std::to_string(i));
        put_file(ground.live / "d" / ("f" + std::to_string(i)), "new " + std::to_string(i));
    }
    put_file(ground.past / "d" / "gone", "gone");
    put_file(ground.past / "d" / "sub" / "deep" / "x", "x");
    fs::create_hard_link(ground.past / "d" / "gone", ground.past / "d" / "gone too");
    put_file(ground.past / "d" / "mode", "same");
    put_file(ground.live / "d" / "mode", "same");
    const struct timespec times[2] = {{5, 0}, {5, 0}};
    for (const auto& root : {ground.past, ground.live})
        ::utimensat(AT_FDCWD, (root / "d" / "mode").c_str(), times, 0);
    ::chmod((ground.live / "d" / "mode").c_str(), 0600);
    put_file(ground.live / "d" / "extra" / "y", "y");
}

Tree picture(const fs::path& folder) { return capture(folder); }

std::string difference(const Tree& a, const Tree& b) {
    CompareOptions compare;
    compare.ctime = false;
    return differences(a, b, compare);
}

// What is said of each file is what is on disk.
void check_truth(const RestoreGround& ground, const RestoreJob& seen) {
    std::size_t all = 0;
    for (const auto& entry : seen.components[0].entries) {
        CAPTURE(entry.path);
        const bool is_all = entry.status.status == RestoreStatus::kAll;
        all += is_all ? 1 : 0;
        if (entry.type != DT_REG || entry.action == RestoreAction::kMetadata) continue;
        const fs::path live = ground.live / entry.path;
        const bool restored =
            fs::is_regular_file(live) && contents_of(live) == contents_of(ground.past / entry.path);
        CHECK(restored == is_all);
        CHECK(entry.status.status != RestoreStatus::kUndefined);
    }
    const RestoreStatus whole = seen.components[0].status.status;
    if (whole == RestoreStatus::kAll) CHECK(all == seen.components[0].entries.size());
    if (whole == RestoreStatus::kNone) CHECK(all == 0);
}

RunOptions options_for(const std::function<void(int)>& at_step);

// Restores with a journal that can be written no further than this. True: it was enough.
bool journal_ends_after(std::size_t room, bool doubt, RestoreMethod method) {
    RestoreGround ground;
    fill(ground);
    // In the middle, what cannot be replaced: the others are told of in several records.
    if (method == RestoreMethod::kMerge) {
        fs::remove(ground.live / "d" / "f2");
        put_file(ground.live / "d" / "f2" / "in the way", "x");
    }
    const Tree original = picture(ground.live);
    JournalStore store(ground);
    (doubt ? store.doubt_after : store.refuse_after) = room;
    JobRunner runner(store, ground, options_for([](int) {}));
    const auto outcome = runner.run(spec_of(method));
    store.doubt_after.reset();
    store.refuse_after.reset();
    ground.restart();
    if (outcome) return true;
    const auto seen = runner.look(store.id);
    REQUIRE(seen);
    if (seen->spec && !seen->runs.empty()) {
        check_truth(ground, *seen);
        const auto undone = runner.undo(std::string(store.id));
        REQUIRE_MESSAGE(undone, undone.error().text());
        CHECK(undone->complete());
    }
    CHECK(difference(original, picture(ground.live)) == kNoDifferences);
    CHECK(ground.nothing_aside());
    return false;
}

RunOptions options_for(const std::function<void(int)>& at_step) {
    RunOptions options;
    options.scope.owner = ::geteuid() == 0;
    options.on_step = [at_step, count = 0](const char*) mutable { at_step(++count); };
    return options;
}

}  // namespace

TEST_SUITE("restore jobs") {
    TEST_CASE("a job killed at any step tells the truth, goes on, and can be undone") {
        for (const RestoreMethod method :
             {RestoreMethod::kMerge, RestoreMethod::kReplace, RestoreMethod::kMirror}) {
            int steps = 0;
            {
                RestoreGround ground;
                fill(ground);
                JournalStore store(ground);
                REQUIRE(JobRunner(store, ground, options_for([&](int at) { steps = at; }))
                            .run(spec_of(method)));
            }
            REQUIRE(steps > 10);
            for (int at = 1; at <= steps; ++at) {
                for (const bool undo : {false, true}) {
                    RestoreGround ground;
                    fill(ground);
                    const Tree original = picture(ground.live);
                    const Tree wanted = picture(ground.past);
                    JournalStore store(ground);
                    const auto die = [&](int now) {
                        if (now == at) throw Killed{};
                    };
                    CAPTURE(restore_method_name(method));
                    CAPTURE(at);
                    CAPTURE(undo);
                    try {
                        static_cast<void>(
                            JobRunner(store, ground, options_for(die)).run(spec_of(method)));
                    } catch (const Killed&) {
                    }
                    ground.restart();
                    if (store.id.empty()) continue;
                    JobRunner again(store, ground, options_for([](int) {}));
                    const auto seen = again.look(store.id);
                    REQUIRE(seen);
                    if (!seen->spec) {
                        CHECK(difference(original, picture(ground.live)) == kNoDifferences);
                        continue;
                    }
                    check_truth(ground, *seen);
                    if (undo) {
                        const auto outcome = again.undo(std::string(store.id));
                        REQUIRE_MESSAGE(outcome, outcome.error().text());
                        CHECK(outcome->complete());
                        CHECK(difference(original, picture(ground.live)) == kNoDifferences);
                    } else {
                        const auto outcome = again.resume(std::string(store.id));
                        REQUIRE_MESSAGE(outcome, outcome.error().text());
                        CHECK(outcome->complete());
                        if (method != RestoreMethod::kMirror)
                            fs::remove_all(ground.live / "d" / "extra");
                        const struct stat then = [&] {
                            struct stat status {};
                            ::stat((ground.past / "d").c_str(), &status);
                            return status;
                        }();
                        const struct timespec times[2] = {then.st_atim, then.st_mtim};
                        ::utimensat(AT_FDCWD, (ground.live / "d").c_str(), times, 0);
                        ::stat(ground.past.c_str(), const_cast<struct stat*>(&then));
                        const struct timespec root[2] = {then.st_atim, then.st_mtim};
                        ::utimensat(AT_FDCWD, ground.live.c_str(), root, 0);
                        CHECK(difference(wanted, picture(ground.live)) == kNoDifferences);
                    }
                    CHECK(ground.nothing_aside());
                }
            }
        }
    }

    TEST_CASE("undoing killed at any step can be undone again, and leaves nothing aside") {
        for (const RestoreMethod method : {RestoreMethod::kMerge, RestoreMethod::kReplace}) {
            bool killed = true;
            for (int at = 1; killed; ++at) {
                RestoreGround ground;
                fill(ground);
                const Tree original = picture(ground.live);
                JournalStore store(ground);
                REQUIRE(JobRunner(store, ground, options_for([](int) {})).run(spec_of(method)));
                const std::string job = store.id;
                CAPTURE(at);
                killed = false;
                try {
                    const auto outcome = JobRunner(store, ground, options_for([&](int now) {
                                                       if (now == at) throw Killed{};
                                                   }))
                                             .undo(job);
                    REQUIRE_MESSAGE(outcome, outcome.error().text());
                } catch (const Killed&) {
                    killed = true;
                }
                ground.restart();
                if (killed) {
                    const auto outcome =
                        JobRunner(store, ground, options_for([](int) {})).undo(job);
                    REQUIRE_MESSAGE(outcome, outcome.error().text());
                    CHECK(outcome->complete());
                }
                CHECK(difference(original, picture(ground.live)) == kNoDifferences);
                CHECK(ground.nothing_aside());
                CHECK((killed || at > 10));
            }
        }
    }

    TEST_CASE("all or nothing: one that cannot be switched takes all back, times and all") {
        for (const RestoreMethod method : {RestoreMethod::kReplace, RestoreMethod::kMirror}) {
            RestoreGround ground;
            fill(ground);
            const fs::path victim = ground.live / "d" / "f2", other = ground.scratch.path() / "f2";
            must_run({"cp", "-a", victim.string(), other.string()});
            const Tree original = picture(ground.live);
            JournalStore store(ground);
            RunOptions options;
            options.scope.owner = ::geteuid() == 0;
            int switched = 0;
            options.on_step = [&](const char* step) {
                // Somebody replaces it between the plan and its turn.
                if (std::string(step) == "switch" && ++switched == 3) fs::rename(other, victim);
            };
            const auto outcome = JobRunner(store, ground, options).run(spec_of(method));
            REQUIRE(outcome);
            CHECK(switched >= 3);
            const JobComponent& component = outcome->job.components[0];
            CHECK(component.status.status == RestoreStatus::kNone);
            CHECK(component.status.error == EBUSY);
            for (const auto& entry : component.entries)
                CHECK(entry.status.status == RestoreStatus::kNone);
            CHECK(difference(original, picture(ground.live)) == kNoDifferences);
            CHECK(ground.nothing_aside());
        }
    }

    TEST_CASE("a writer that changes a file meanwhile is noticed, and nothing is lost") {
        RestoreGround ground;
        fill(ground);
        JournalStore store(ground);
        RunOptions options;
        options.scope.owner = ::geteuid() == 0;
        bool done = false;
        options.on_step = [&](const char* step) {
            if (std::string(step) != "switch" || done) return;
            done = true;
            std::ofstream(ground.live / "d" / "f2", std::ios::app) << " and more";
        };
        const auto outcome =
            JobRunner(store, ground, options).run(spec_of(RestoreMethod::kReplace));
        REQUIRE(outcome);
        CHECK(outcome->job.components[0].status.status == RestoreStatus::kNone);
        CHECK(outcome->job.components[0].status.error == EBUSY);
        CHECK(contents_of(ground.live / "d" / "f2") == "new 2 and more");
        CHECK(contents_of(ground.live / "d" / "f0") == "new 0");
        CHECK_FALSE(fs::exists(ground.live / "d" / "gone"));
        CHECK(ground.nothing_aside());
    }

    TEST_CASE("a file that a program has open for writing stops what is all or nothing") {
        for (const bool force : {false, true}) {
            RestoreGround ground;
            fill(ground);
            const Tree original = picture(ground.live);
            const UniqueFd writer(::open((ground.live / "d" / "f1").c_str(), O_WRONLY | O_CLOEXEC));
            JournalStore store(ground);
            JobSpec spec = spec_of(RestoreMethod::kReplace);
            spec.components[0].replace_open = force;
            const auto outcome = JobRunner(store, ground, options_for([](int) {})).run(spec);
            REQUIRE(outcome);
            CHECK(outcome->complete() == force);
            if (force) continue;
            CHECK(outcome->job.components[0].status.status == RestoreStatus::kNone);
            CHECK(outcome->job.components[0].status.error == EBUSY);
            CHECK(difference(original, picture(ground.live)) == kNoDifferences);
        }
    }

    TEST_CASE("if-can-replace asks for nobody at all having it open") {
        RestoreGround ground;
        fill(ground);
        const UniqueFd reader(::open((ground.live / "d" / "f1").c_str(), O_RDONLY | O_CLOEXEC));
        for (const auto method : {RestoreMethod::kIfCanReplace, RestoreMethod::kReplace}) {
            JournalStore store(ground);
            const auto outcome =
                JobRunner(store, ground, options_for([](int) {})).run(spec_of(method));
            REQUIRE(outcome);
            CHECK(outcome->complete() == (method == RestoreMethod::kReplace));
        }
    }

    TEST_CASE("if-missing restores nothing where any of it is there") {
        RestoreGround ground;
        fill(ground);
        const Tree original = picture(ground.live);
        JournalStore store(ground);
        const auto refused = JobRunner(store, ground, options_for([](int) {}))
                                 .run(spec_of(RestoreMethod::kIfMissing));
        REQUIRE(refused);
        CHECK(refused->job.components[0].status.status == RestoreStatus::kNone);
        CHECK(difference(original, picture(ground.live)) == kNoDifferences);
        JournalStore other(ground);
        const auto done = JobRunner(other, ground, options_for([](int) {}))
                              .run(spec_of(RestoreMethod::kIfMissing, "d/sub"));
        REQUIRE(done);
        CHECK(done->complete());
        CHECK(contents_of(ground.live / "d" / "sub" / "deep" / "x") == "x");
    }

    TEST_CASE("in place: only what differs is written, and the file stays the same one") {
        RestoreGround ground;
        std::string text(4 << 20, 'a');
        put_file(ground.past / "d" / "big", text);
        text[1 << 20] = 'b';
        put_file(ground.live / "d" / "big", text + "longer");
        struct stat before {};
        ::stat((ground.live / "d" / "big").c_str(), &before);
        JournalStore store(ground);
        JobSpec spec = spec_of(RestoreMethod::kReplace, "d/big");
        spec.components[0].in_place = true;
        const auto outcome = JobRunner(store, ground, options_for([](int) {})).run(spec);
        REQUIRE(outcome);
        CHECK(outcome->complete());
        CHECK(outcome->summary.bytes_written == 16 << 10);
        struct stat after {};
        ::stat((ground.live / "d" / "big").c_str(), &after);
        CHECK(after.st_ino == before.st_ino);
        CHECK(contents_of(ground.live / "d" / "big") == contents_of(ground.past / "d" / "big"));
    }

    TEST_CASE("in place, killed in the middle: failed until it is resumed or undone") {
        for (const bool undo : {false, true}) {
            RestoreGround ground;
            put_file(ground.past / "d" / "a", std::string(64 << 10, 'o'));
            put_file(ground.past / "d" / "b", std::string(64 << 10, 'o'));
            put_file(ground.live / "d" / "a", std::string(64 << 10, 'n'));
            put_file(ground.live / "d" / "b", std::string(64 << 10, 'n'));
            JournalStore store(ground);
            RunOptions options;
            options.scope.owner = ::geteuid() == 0;
            int switches = 0;
            options.on_step = [&](const char* step) {
                if (std::string(step) == "switch" && ++switches == 2) throw Killed{};
            };
            JobSpec spec = spec_of(RestoreMethod::kReplace);
            spec.components[0].in_place = true;
            CHECK_THROWS_AS(static_cast<void>(JobRunner(store, ground, options).run(spec)), Killed);
            ground.restart();
            JobRunner again(store, ground, options_for([](int) {}));
            const auto seen = again.look(store.id);
            REQUIRE(seen);
            CHECK(seen->components[0].status.status == RestoreStatus::kFailed);
            for (const auto& entry : seen->components[0].entries) {
                if (entry.in_place) CHECK(entry.status.status == RestoreStatus::kFailed);
            }
            const auto outcome =
                undo ? again.undo(std::string(store.id)) : again.resume(std::string(store.id));
            REQUIRE_MESSAGE(outcome, outcome.error().text());
            CHECK(outcome->complete());
            for (const char* name : {"a", "b"})
                CHECK(contents_of(ground.live / "d" / name) ==
                      std::string(64 << 10, undo ? 'n' : 'o'));
        }
    }

    TEST_CASE("patterns choose what is restored and what is left") {
        RestoreGround ground;
        for (const char* name : {"a.txt", "b.log", "sub/c.txt", "sub/d.log", "logs/e.log"})
            put_file(ground.past / "d" / name, name);
        put_file(ground.live / "d" / "extra.log", "kept");
        put_file(ground.live / "d" / "extra.txt", "goes");
        JournalStore store(ground);
        JobSpec spec = spec_of(RestoreMethod::kMirror);
        spec.components[0].include = {"*.txt"};
        spec.components[0].exclude = {"d/sub/*"};
        REQUIRE(JobRunner(store, ground, options_for([](int) {})).run(spec));
        CHECK(fs::exists(ground.live / "d" / "a.txt"));
        CHECK_FALSE(fs::exists(ground.live / "d" / "b.log"));
        CHECK_FALSE(fs::exists(ground.live / "d" / "sub"));
        CHECK_FALSE(fs::exists(ground.live / "d" / "logs"));
        CHECK(fs::exists(ground.live / "d" / "extra.log"));
        CHECK_FALSE(fs::exists(ground.live / "d" / "extra.txt"));
    }

    TEST_CASE("a mirror leaves what is excluded, also in a folder that would go") {
        RestoreGround ground;
        put_file(ground.past / "d" / "a", "a");
        for (const char* name : {"extra/keep.log", "extra/goes", "extra/sub/goes too", "b.log"})
            put_file(ground.live / "d" / name, name);
        JournalStore store(ground);
        JobSpec spec = spec_of(RestoreMethod::kMirror);
        spec.components[0].exclude = {"*.log"};
        REQUIRE(JobRunner(store, ground, options_for([](int) {})).run(spec));
        CHECK(fs::exists(ground.live / "d" / "extra" / "keep.log"));
        CHECK(fs::exists(ground.live / "d" / "b.log"));
        CHECK_FALSE(fs::exists(ground.live / "d" / "extra" / "goes"));
        CHECK_FALSE(fs::exists(ground.live / "d" / "extra" / "sub"));
    }

    TEST_CASE("undoing leaves what others have made since") {
        RestoreGround ground;
        fill(ground);
        JournalStore store(ground);
        REQUIRE(JobRunner(store, ground, options_for([](int) {}))
                    .run(spec_of(RestoreMethod::kReplace)));
        const std::string id = store.id;
        put_file(ground.live / "d" / "sub" / "mine", "mine");
        const auto outcome = JobRunner(store, ground, options_for([](int) {})).undo(id);
        REQUIRE(outcome);
        CHECK(contents_of(ground.live / "d" / "sub" / "mine") == "mine");
        CHECK_FALSE(fs::exists(ground.live / "d" / "sub" / "deep"));
        CHECK(contents_of(ground.live / "d" / "f1") == "new 1");
    }

    TEST_CASE("two components with one path: nothing of the job is touched") {
        for (const bool patterns : {false, true}) {
            RestoreGround ground;
            fill(ground);
            const Tree original = picture(ground.live);
            JobSpec spec = spec_of(RestoreMethod::kReplace);
            spec.components.push_back(spec_of(RestoreMethod::kMerge, "d/f1").components[0]);
            spec.components[1].name = "one of them";
            if (patterns) spec.components[0].exclude = {"f1"};
            JournalStore store(ground);
            const auto outcome = JobRunner(store, ground, options_for([](int) {})).run(spec);
            REQUIRE_MESSAGE(outcome, outcome.error().text());
            CAPTURE(patterns);
            CHECK(outcome->complete() == patterns);
            if (patterns) continue;
            CHECK(difference(original, picture(ground.live)) == kNoDifferences);
            for (const auto& component : outcome->job.components) {
                CHECK(component.status.status == RestoreStatus::kNone);
                CHECK(component.status.sentence.find("'d/f1' is in the components") !=
                      std::string::npos);
            }
        }
    }

    TEST_CASE("in place: what is known not to differ is not looked at") {
        RestoreGround ground;
        fill(ground);
        JobSpec spec = spec_of(RestoreMethod::kReplace, "d/big");
        spec.components[0].in_place = true;
        constexpr std::size_t kBig = 1 << 20;
        put_file(ground.past / "d" / "big", std::string(kBig, 'o'));
        std::string now(kBig, 'o');
        now[5000] = 'n';
        now[700'000] = 'n';
        put_file(ground.live / "d" / "big", now);
        RunOptions options = options_for([](int) {});
        options.changed = [&](const std::string& token, const std::string& path,
                              std::uint64_t inode) -> KnownRanges {
            CHECK(token == "@past");
            CHECK(path == "d/big");
            struct stat status {};
            CHECK(::stat((ground.live / "d" / "big").c_str(), &status) == 0);
            CHECK(inode == status.st_ino);
            return std::vector<ByteRange>{{0, 16384}};
        };
        JournalStore store(ground);
        const auto outcome = JobRunner(store, ground, options).run(spec);
        REQUIRE_MESSAGE(outcome, outcome.error().text());
        CHECK(outcome->summary.bytes_written == 16384);
        now[5000] = 'o';
        CHECK(contents_of(ground.live / "d" / "big") == now);
    }

    TEST_CASE("a journal that cannot be written at any record: what is said is true") {
        for (const RestoreMethod method : {RestoreMethod::kMerge, RestoreMethod::kReplace}) {
            for (const bool doubt : {false, true}) {
                bool whole = false;
                for (std::size_t room = 0; !whole; ++room) {
                    REQUIRE(room < 100);
                    CAPTURE(restore_method_name(method));
                    CAPTURE(doubt);
                    CAPTURE(room);
                    whole = journal_ends_after(room, doubt, method);
                }
            }
        }
    }
}
