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

#include "restore/aside.h"
#include "restore/job_runner.h"
#include "snapstore/job_journal.h"
#include "tests/support/process.h"
#include "tests/support/scratch.h"
#include "tests/support/tree.h"

using namespace umbra;
namespace fs = std::filesystem;

namespace {

void write_file(const fs::path& path, const std::string& text) {
    fs::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
}

std::string read_file(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

UniqueFd open_folder(const fs::path& path) {
    return UniqueFd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

// Thrown before a step: the rest of the process is as if it had been killed there.
struct Killed {};

// Snapshot, live tree and the snapshot of before are plain folders; jobs are kept in real journals.
struct Ground : RootOpener {
    test::TempDir scratch{"restore-jobs"};
    fs::path past = scratch.path() / "past";
    fs::path live = scratch.path() / "live";
    fs::path before = scratch.path() / "before";
    fs::path area = scratch.path() / "area";
    UniqueFd area_fd;
    std::unique_ptr<JobJournals> journals;

    Ground() {
        for (const auto& folder : {past, live, area}) fs::create_directories(folder);
        area_fd = open_folder(area);
        restart();
    }
    void restart() { journals = std::make_unique<JobJournals>(area_fd.get(), false); }

    Result<UniqueFd> snapshot(const std::string& token) override {
        return open_folder(token == "@before" ? before : past);
    }
    Result<UniqueFd> target(const JobSpec&) override { return open_folder(live); }
    Result<UniqueFd> target_in(const JobSpec&, const std::string& token) override {
        return token.empty() ? UniqueFd() : open_folder(before);
    }
    void keep_before() {
        fs::remove_all(before);
        fs::create_directories(before);
        test::must_run({"cp", "-a", live.string() + "/.", before.string()});
    }

    bool nothing_aside() const {
        for (const auto& entry : fs::recursive_directory_iterator(live)) {
            if (entry.path().filename().string().starts_with(".umbra-restore")) return false;
        }
        return true;
    }
};

struct Store : JobStore {
    explicit Store(Ground& of) : ground(of) {}
    Result<std::string> create() override {
        UMBRA_ASSIGN(const JobInfo job, ground.journals->create(0, 1'700'000'000));
        id = job.id;
        return job.id;
    }
    Result<std::string> begin_run(const std::string& job, bool snapshot) override {
        UMBRA_TRY(ground.journals->begin_run(job, ::getpid()));
        if (snapshot && first) ground.keep_before();
        first = false;
        return std::string(snapshot ? "@before" : "");
    }
    void end_run(const std::string& job, bool) override {
        ground.journals->end_run(job, ::getpid());
    }
    Result<void> append(const std::string& job, const std::vector<std::string>& records,
                        bool sync) override {
        for (const auto& record : records) {
            if (refuse_after && records_written >= *refuse_after)
                return errno_error(ENOSPC, "no room for the journal");
            ++records_written;
            UMBRA_TRY(ground.journals->append(job, ::getpid(), record, sync));
        }
        if (doubt_after && records_written >= *doubt_after)
            return errno_error(EIO, "cannot sync the journal");
        return {};
    }
    Result<std::vector<std::string>> read(const std::string& job) override {
        UMBRA_ASSIGN(const auto slice, ground.journals->read(job, 0));
        return slice.records;
    }
    Result<void> sync_share() override { return {}; }

    Ground& ground;
    std::string id;
    bool first = true;
    std::size_t records_written = 0;
    std::optional<std::size_t> refuse_after;
    std::optional<std::size_t> doubt_after;  // what was written from here on is there all the same
};

JobSpec spec_of(RestoreMethod method, const std::string& path = "d") {
    JobSpec spec;
    spec.token = "@past";
    ComponentSpec component;
    component.name = "files";
    component.method = method;
    component.paths = {{path, path}};
    spec.components.push_back(component);
    return spec;
}

// Something of everything: replaced, made, metadata, whole folders, links, what the snapshot lacks.
void fill(const Ground& ground) {
    for (int i = 0; i < 4; ++i) {
        write_file(ground.past / "d" / ("f" + std::to_string(i)), "old " + std::to_string(i));
        write_file(ground.live / "d" / ("f" + std::to_string(i)), "new " + std::to_string(i));
    }
    write_file(ground.past / "d" / "gone", "gone");
    write_file(ground.past / "d" / "sub" / "deep" / "x", "x");
    fs::create_hard_link(ground.past / "d" / "gone", ground.past / "d" / "gone too");
    write_file(ground.past / "d" / "mode", "same");
    write_file(ground.live / "d" / "mode", "same");
    const struct timespec times[2] = {{5, 0}, {5, 0}};
    for (const auto& root : {ground.past, ground.live})
        ::utimensat(AT_FDCWD, (root / "d" / "mode").c_str(), times, 0);
    ::chmod((ground.live / "d" / "mode").c_str(), 0600);
    write_file(ground.live / "d" / "extra" / "y", "y");
}

test::Tree picture(const fs::path& folder) { return test::capture(folder); }

std::string difference(const test::Tree& a, const test::Tree& b) {
    test::CompareOptions compare;
    compare.ctime = false;
    return test::differences(a, b, compare);
}

// What is said of each file is what is on disk.
void check_truth(const Ground& ground, const RestoreJob& seen) {
    std::size_t all = 0;
    for (const auto& entry : seen.components[0].entries) {
        CAPTURE(entry.path);
        const bool is_all = entry.status.status == RestoreStatus::kAll;
        all += is_all ? 1 : 0;
        if (entry.type != DT_REG || entry.action == RestoreAction::kMetadata) continue;
        const fs::path live = ground.live / entry.path;
        const bool restored =
            fs::is_regular_file(live) && read_file(live) == read_file(ground.past / entry.path);
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
    Ground ground;
    fill(ground);
    // In the middle, what cannot be replaced: the others are told of in several records.
    if (method == RestoreMethod::kMerge) {
        fs::remove(ground.live / "d" / "f2");
        write_file(ground.live / "d" / "f2" / "in the way", "x");
    }
    const test::Tree original = picture(ground.live);
    Store store(ground);
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
    CHECK(difference(original, picture(ground.live)) == test::kNoDifferences);
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

TEST_SUITE("restore status") {
    TEST_CASE("a failure that was reported stays one (KB 952826)") {
        ReportedStatus file;
        ReportedStatus failed, all, none;
        failed.status = RestoreStatus::kFailed;
        failed.error = EIO;
        failed.sentence = "the disk says no";
        all.status = RestoreStatus::kAll;
        none.status = RestoreStatus::kNone;
        REQUIRE(report_status(file, failed, 1));
        for (const auto& later : {all, none, failed}) {
            const auto refused = report_status(file, later, 1);
            REQUIRE_FALSE(refused);
            CHECK(refused.error().kind == ErrorKind::kRefused);
            CHECK(file.status == RestoreStatus::kFailed);
            CHECK(file.error == EIO);
            CHECK(file.sentence == "the disk says no");
        }
        CHECK_FALSE(report_component_status(file, all, 2, false));
        // A new restore of it may.
        CHECK(report_status(file, all, 2));
        CHECK(file.status == RestoreStatus::kAll);
    }

    TEST_CASE("outside of a run nothing can be reported, and undefined never") {
        ReportedStatus file, all, undefined;
        all.status = RestoreStatus::kAll;
        CHECK_FALSE(report_status(file, all, 0));
        CHECK_FALSE(report_status(file, undefined, 1));
        CHECK(file.status == RestoreStatus::kUndefined);
        CHECK(static_cast<int>(RestoreStatus::kUndefined) == 0);
        CHECK(static_cast<int>(RestoreStatus::kNone) == 1);
        CHECK(static_cast<int>(RestoreStatus::kAll) == 2);
        CHECK(static_cast<int>(RestoreStatus::kFailed) == 3);
    }

    TEST_CASE("a component with a failed file is never all, also when read back from its journal") {
        Ground ground;
        Store store(ground);
        const std::string id = *store.create();
        REQUIRE(store.begin_run(id, false));
        JobRecorder recorder(store, id, RestoreJob());
        REQUIRE(recorder.add(job_record::job(spec_of(RestoreMethod::kReplace))));
        // No status before the run has begun.
        ReportedStatus failed, all;
        failed.status = RestoreStatus::kFailed;
        failed.error = EIO;
        all.status = RestoreStatus::kAll;
        CHECK_FALSE(recorder.add(job_record::component_status(0, all)));
        REQUIRE(recorder.add(job_record::run_begun("@before")));
        REQUIRE(recorder.add(job_record::component_begun(0)));
        for (const char* name : {"a", "b"}) {
            JobEntry entry;
            entry.path = entry.source = name;
            entry.action = RestoreAction::kReplace;
            REQUIRE(recorder.add(job_record::entry(0, entry)));
        }
        REQUIRE(recorder.add(job_record::entry_status(0, 0, all)));
        REQUIRE(recorder.add(job_record::entry_status(0, 1, failed)));
        CHECK_FALSE(recorder.add(job_record::entry_status(0, 1, all)));
        // "The rest is done" does not touch what was reported.
        REQUIRE(recorder.add(job_record::entries_done(0, 0, 1)));
        CHECK_FALSE(recorder.add(job_record::component_status(0, all)));
        REQUIRE(recorder.add(job_record::component_status(0, failed)));
        REQUIRE(recorder.add(job_record::run_ended()));
        CHECK_FALSE(recorder.add(job_record::entry_status(0, 1, all)));
        REQUIRE(recorder.flush(true));
        store.end_run(id, false);
        CHECK_FALSE(store.append(id, {job_record::entry_status(0, 1, all)}, true));
        ground.restart();
        const auto records = store.read(id);
        REQUIRE(records);
        const auto job = read_job(*records);
        REQUIRE(job);
        CHECK(job->components[0].status.status == RestoreStatus::kFailed);
        CHECK(job->components[0].entries[0].status.status == RestoreStatus::kAll);
        CHECK(job->components[0].entries[1].status.status == RestoreStatus::kFailed);
        CHECK(job->components[0].entries[1].status.error == EIO);
        // Bytes that claim otherwise are refused whole.
        auto forged = *records;
        forged.push_back(job_record::entry_status(0, 1, all));
        CHECK_FALSE(read_job(forged));
    }
}

TEST_SUITE("restore jobs") {
    TEST_CASE("a job killed at any step tells the truth, goes on, and can be undone") {
        for (const RestoreMethod method :
             {RestoreMethod::kMerge, RestoreMethod::kReplace, RestoreMethod::kMirror}) {
            int steps = 0;
            {
                Ground ground;
                fill(ground);
                Store store(ground);
                REQUIRE(JobRunner(store, ground, options_for([&](int at) { steps = at; }))
                            .run(spec_of(method)));
            }
            REQUIRE(steps > 10);
            for (int at = 1; at <= steps; ++at) {
                for (const bool undo : {false, true}) {
                    Ground ground;
                    fill(ground);
                    const test::Tree original = picture(ground.live);
                    const test::Tree wanted = picture(ground.past);
                    Store store(ground);
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
                        CHECK(difference(original, picture(ground.live)) == test::kNoDifferences);
                        continue;
                    }
                    check_truth(ground, *seen);
                    if (undo) {
                        const auto outcome = again.undo(std::string(store.id));
                        REQUIRE_MESSAGE(outcome, outcome.error().text());
                        CHECK(outcome->complete());
                        CHECK(difference(original, picture(ground.live)) == test::kNoDifferences);
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
                        CHECK(difference(wanted, picture(ground.live)) == test::kNoDifferences);
                    }
                    CHECK(ground.nothing_aside());
                }
            }
        }
    }

    TEST_CASE("all or nothing: one that cannot be switched takes all back, times and all") {
        for (const RestoreMethod method : {RestoreMethod::kReplace, RestoreMethod::kMirror}) {
            Ground ground;
            fill(ground);
            const fs::path victim = ground.live / "d" / "f2", other = ground.scratch.path() / "f2";
            test::must_run({"cp", "-a", victim.string(), other.string()});
            const test::Tree original = picture(ground.live);
            Store store(ground);
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
            CHECK(difference(original, picture(ground.live)) == test::kNoDifferences);
            CHECK(ground.nothing_aside());
        }
    }

    TEST_CASE("a writer that changes a file meanwhile is noticed, and nothing is lost") {
        Ground ground;
        fill(ground);
        Store store(ground);
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
        CHECK(read_file(ground.live / "d" / "f2") == "new 2 and more");
        CHECK(read_file(ground.live / "d" / "f0") == "new 0");
        CHECK_FALSE(fs::exists(ground.live / "d" / "gone"));
        CHECK(ground.nothing_aside());
    }

    TEST_CASE("a file that a program has open for writing stops what is all or nothing") {
        for (const bool force : {false, true}) {
            Ground ground;
            fill(ground);
            const test::Tree original = picture(ground.live);
            const UniqueFd writer(::open((ground.live / "d" / "f1").c_str(), O_WRONLY | O_CLOEXEC));
            Store store(ground);
            JobSpec spec = spec_of(RestoreMethod::kReplace);
            spec.components[0].replace_open = force;
            const auto outcome = JobRunner(store, ground, options_for([](int) {})).run(spec);
            REQUIRE(outcome);
            CHECK(outcome->complete() == force);
            if (force) continue;
            CHECK(outcome->job.components[0].status.status == RestoreStatus::kNone);
            CHECK(outcome->job.components[0].status.error == EBUSY);
            CHECK(difference(original, picture(ground.live)) == test::kNoDifferences);
        }
    }

    TEST_CASE("if-can-replace asks for nobody at all having it open") {
        Ground ground;
        fill(ground);
        const UniqueFd reader(::open((ground.live / "d" / "f1").c_str(), O_RDONLY | O_CLOEXEC));
        for (const auto method : {RestoreMethod::kIfCanReplace, RestoreMethod::kReplace}) {
            Store store(ground);
            const auto outcome =
                JobRunner(store, ground, options_for([](int) {})).run(spec_of(method));
            REQUIRE(outcome);
            CHECK(outcome->complete() == (method == RestoreMethod::kReplace));
        }
    }

    TEST_CASE("if-missing restores nothing where any of it is there") {
        Ground ground;
        fill(ground);
        const test::Tree original = picture(ground.live);
        Store store(ground);
        const auto refused = JobRunner(store, ground, options_for([](int) {}))
                                 .run(spec_of(RestoreMethod::kIfMissing));
        REQUIRE(refused);
        CHECK(refused->job.components[0].status.status == RestoreStatus::kNone);
        CHECK(difference(original, picture(ground.live)) == test::kNoDifferences);
        Store other(ground);
        const auto done = JobRunner(other, ground, options_for([](int) {}))
                              .run(spec_of(RestoreMethod::kIfMissing, "d/sub"));
        REQUIRE(done);
        CHECK(done->complete());
        CHECK(read_file(ground.live / "d" / "sub" / "deep" / "x") == "x");
    }

    TEST_CASE("in place: only what differs is written, and the file stays the same one") {
        Ground ground;
        std::string text(4 << 20, 'a');
        write_file(ground.past / "d" / "big", text);
        text[1 << 20] = 'b';
        write_file(ground.live / "d" / "big", text + "longer");
        struct stat before {};
        ::stat((ground.live / "d" / "big").c_str(), &before);
        Store store(ground);
        JobSpec spec = spec_of(RestoreMethod::kReplace, "d/big");
        spec.components[0].in_place = true;
        const auto outcome = JobRunner(store, ground, options_for([](int) {})).run(spec);
        REQUIRE(outcome);
        CHECK(outcome->complete());
        CHECK(outcome->summary.bytes_written == 16 << 10);
        struct stat after {};
        ::stat((ground.live / "d" / "big").c_str(), &after);
        CHECK(after.st_ino == before.st_ino);
        CHECK(read_file(ground.live / "d" / "big") == read_file(ground.past / "d" / "big"));
    }

    TEST_CASE("in place, killed in the middle: failed until it is resumed or undone") {
        for (const bool undo : {false, true}) {
            Ground ground;
            write_file(ground.past / "d" / "a", std::string(64 << 10, 'o'));
            write_file(ground.past / "d" / "b", std::string(64 << 10, 'o'));
            write_file(ground.live / "d" / "a", std::string(64 << 10, 'n'));
            write_file(ground.live / "d" / "b", std::string(64 << 10, 'n'));
            Store store(ground);
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
                CHECK(read_file(ground.live / "d" / name) ==
                      std::string(64 << 10, undo ? 'n' : 'o'));
        }
    }

    TEST_CASE("patterns choose what is restored and what is left") {
        Ground ground;
        for (const char* name : {"a.txt", "b.log", "sub/c.txt", "sub/d.log", "logs/e.log"})
            write_file(ground.past / "d" / name, name);
        write_file(ground.live / "d" / "extra.log", "kept");
        write_file(ground.live / "d" / "extra.txt", "goes");
        Store store(ground);
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
        Ground ground;
        write_file(ground.past / "d" / "a", "a");
        for (const char* name : {"extra/keep.log", "extra/goes", "extra/sub/goes too", "b.log"})
            write_file(ground.live / "d" / name, name);
        Store store(ground);
        JobSpec spec = spec_of(RestoreMethod::kMirror);
        spec.components[0].exclude = {"*.log"};
        REQUIRE(JobRunner(store, ground, options_for([](int) {})).run(spec));
        CHECK(fs::exists(ground.live / "d" / "extra" / "keep.log"));
        CHECK(fs::exists(ground.live / "d" / "b.log"));
        CHECK_FALSE(fs::exists(ground.live / "d" / "extra" / "goes"));
        CHECK_FALSE(fs::exists(ground.live / "d" / "extra" / "sub"));
    }

    TEST_CASE("undoing leaves what others have made since") {
        Ground ground;
        fill(ground);
        Store store(ground);
        REQUIRE(JobRunner(store, ground, options_for([](int) {}))
                    .run(spec_of(RestoreMethod::kReplace)));
        const std::string id = store.id;
        write_file(ground.live / "d" / "sub" / "mine", "mine");
        const auto outcome = JobRunner(store, ground, options_for([](int) {})).undo(id);
        REQUIRE(outcome);
        CHECK(read_file(ground.live / "d" / "sub" / "mine") == "mine");
        CHECK_FALSE(fs::exists(ground.live / "d" / "sub" / "deep"));
        CHECK(read_file(ground.live / "d" / "f1") == "new 1");
    }

    TEST_CASE("two components with one path: nothing of the job is touched") {
        for (const bool patterns : {false, true}) {
            Ground ground;
            fill(ground);
            const test::Tree original = picture(ground.live);
            JobSpec spec = spec_of(RestoreMethod::kReplace);
            spec.components.push_back(spec_of(RestoreMethod::kMerge, "d/f1").components[0]);
            spec.components[1].name = "one of them";
            if (patterns) spec.components[0].exclude = {"f1"};
            Store store(ground);
            const auto outcome = JobRunner(store, ground, options_for([](int) {})).run(spec);
            REQUIRE_MESSAGE(outcome, outcome.error().text());
            CAPTURE(patterns);
            CHECK(outcome->complete() == patterns);
            if (patterns) continue;
            CHECK(difference(original, picture(ground.live)) == test::kNoDifferences);
            for (const auto& component : outcome->job.components) {
                CHECK(component.status.status == RestoreStatus::kNone);
                CHECK(component.status.sentence.find("'d/f1' is in the components") !=
                      std::string::npos);
            }
        }
    }

    TEST_CASE("in place: what is known not to differ is not looked at") {
        Ground ground;
        fill(ground);
        JobSpec spec = spec_of(RestoreMethod::kReplace, "d/big");
        spec.components[0].in_place = true;
        constexpr std::size_t kBig = 1 << 20;
        write_file(ground.past / "d" / "big", std::string(kBig, 'o'));
        std::string now(kBig, 'o');
        now[5000] = 'n';
        now[700'000] = 'n';
        write_file(ground.live / "d" / "big", now);
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
        Store store(ground);
        const auto outcome = JobRunner(store, ground, options).run(spec);
        REQUIRE_MESSAGE(outcome, outcome.error().text());
        CHECK(outcome->summary.bytes_written == 16384);
        now[5000] = 'o';
        CHECK(read_file(ground.live / "d" / "big") == now);
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

TEST_SUITE("job journal") {
    TEST_CASE("records come back, also after a restart; a torn end is cut at any byte") {
        Ground ground;
        const std::string id = ground.journals->create(0, 1'700'000'000)->id;
        CHECK(id.starts_with("20231114-221320-"));
        REQUIRE(ground.journals->begin_run(id, ::getpid()));
        for (const char* text : {"one", "two", "three"})
            REQUIRE(ground.journals->append(id, ::getpid(), text, true));
        const fs::path file = ground.area / "jobs" / (id + ".journal");
        const std::string whole = read_file(file);
        const std::size_t last = whole.size() - 5 - 16;
        for (std::size_t size = last; size < whole.size(); ++size) {
            std::ofstream(file, std::ios::binary) << whole.substr(0, size);
            ground.restart();
            const auto slice = ground.journals->read(id, 0);
            REQUIRE(slice);
            CHECK(slice->records == std::vector<std::string>{"one", "two"});
            CHECK(fs::file_size(file) == last);
        }
    }

    TEST_CASE("any flipped bit before the end is told, never read as something else") {
        Ground ground;
        const std::string id = ground.journals->create(0, 1'700'000'000)->id;
        REQUIRE(ground.journals->begin_run(id, ::getpid()));
        for (const char* text : {"one", "two", "three"})
            REQUIRE(ground.journals->append(id, ::getpid(), text, true));
        const fs::path file = ground.area / "jobs" / (id + ".journal");
        const std::string whole = read_file(file);
        for (std::size_t at = 0; at < whole.size() - 5 - 16; ++at) {
            std::string bytes = whole;
            bytes[at] = static_cast<char>(bytes[at] ^ 4);
            std::ofstream(file, std::ios::binary) << bytes;
            ground.restart();
            CAPTURE(at);
            CHECK_FALSE(ground.journals->read(id, 0));
        }
        // Under another job's name it is not that job's.
        std::ofstream(file, std::ios::binary) << whole;
        const std::string other = "20231114-221320-000000";
        fs::copy_file(file, ground.area / "jobs" / (other + ".journal"));
        ground.restart();
        CHECK_FALSE(ground.journals->read(other, 0));
        CHECK(ground.journals->read(id, 0));
    }

    TEST_CASE("ids sort by age, within a second and when the clock is set back, too") {
        Ground ground;
        std::string last;
        for (int i = 0; i < 50; ++i) {
            if (i % 10 == 9) ground.restart();
            const std::string id = ground.journals->create(0, 1'700'000'000 - i / 25)->id;
            CHECK(id > last);
            last = id;
        }
        CHECK(ground.journals->create(0, 1'700'000'007)->id.starts_with("20231114-221327-"));
    }

    TEST_CASE("only who runs a job records in it, one at a time; users have limits") {
        Ground ground;
        JobJournals::Limits limits;
        limits.user_jobs = 2;
        limits.user_job_bytes = 100;
        JobJournals journals(ground.area_fd.get(), false, limits);
        const std::string id = journals.create(1000, 1'700'000'000)->id;
        CHECK_FALSE(journals.append(id, ::getpid(), "x", true));
        REQUIRE(journals.begin_run(id, 1));  // init lives
        CHECK(journals.begin_run(id, ::getpid()).error().code == EBUSY);
        CHECK_FALSE(journals.append(id, ::getpid(), "x", true));
        CHECK_FALSE(journals.remove(id));
        journals.end_run(id, 1);
        REQUIRE(journals.begin_run(id, ::getpid()));
        CHECK(journals.append(id, ::getpid(), std::string(60, 'x'), true));
        CHECK(journals.append(id, ::getpid(), std::string(60, 'x'), true).error().code == EFBIG);
        journals.end_run(id, ::getpid());
        REQUIRE(journals.create(1000, 1'700'000'000));
        CHECK(journals.create(1000, 1'700'000'000).error().code == EDQUOT);
        CHECK(journals.create(1001, 1'700'000'000));
        CHECK(journals.list()->size() == 3);
        REQUIRE(journals.remove(id));
        CHECK(journals.find(id).error().kind == ErrorKind::kNotFound);
        for (const char* name : {"", "../x", "20231114-221320-00000g", "x"})
            CHECK(journals.find(name).error().kind == ErrorKind::kNotFound);
    }
}
