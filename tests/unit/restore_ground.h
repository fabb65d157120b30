// For tests of restores without a mount: the snapshot, the live tree and the snapshot of before
// are plain folders; jobs are kept in real journals.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "restore/aside.h"
#include "restore/job_runner.h"
#include "snapstore/job_journal.h"
#include "tests/support/process.h"
#include "tests/support/scratch.h"
#include "tests/support/share.h"

namespace umbra::test {

namespace fs = std::filesystem;

// Makes the folders on the way, too.
void put_file(const std::filesystem::path& path, const std::string& text);
UniqueFd open_folder(const std::filesystem::path& path);

struct RestoreGround : RootOpener {
    TempDir scratch{"restore-jobs"};
    fs::path past = scratch.path() / "past";
    fs::path live = scratch.path() / "live";
    fs::path before = scratch.path() / "before";
    fs::path area = scratch.path() / "area";
    UniqueFd area_fd;
    std::unique_ptr<JobJournals> journals;

    RestoreGround() {
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
        must_run({"cp", "-a", live.string() + "/.", before.string()});
    }

    bool nothing_aside() const {
        for (const auto& entry : fs::recursive_directory_iterator(live)) {
            if (entry.path().filename().string().starts_with(".umbra-restore")) return false;
        }
        return true;
    }
};

struct JournalStore : JobStore {
    explicit JournalStore(RestoreGround& of) : ground(of) {}
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
    Result<std::vector<std::string>> jobs() override {
        UMBRA_ASSIGN(const auto listed, ground.journals->list());
        std::vector<std::string> ids;
        for (const auto& job : listed) ids.push_back(job.id);
        return ids;
    }
    Result<void> sync_share() override { return {}; }

    RestoreGround& ground;
    std::string id;
    bool first = true;
    std::size_t records_written = 0;
    std::optional<std::size_t> refuse_after;
    std::optional<std::size_t> doubt_after;  // what was written from here on is there all the same
};

// What restores `path` to where it was.
JobSpec spec_of(RestoreMethod method, const std::string& path = "d");

}  // namespace umbra::test
