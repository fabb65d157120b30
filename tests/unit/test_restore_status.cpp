// Which status may follow which (KB 952826: a failure stays one).
#include <doctest/doctest.h>

#include <string>

#include "tests/unit/restore_ground.h"

using namespace umbra;
using namespace umbra::test;

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
        RestoreGround ground;
        JournalStore store(ground);
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
