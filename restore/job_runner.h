// Runs restore jobs: a new one, one that was interrupted, the undoing of one. Everything is
// recorded before and after it is done; see restore/component_run.h for the order.
#pragma once

#include <string>

#include "restore/component_run.h"
#include "restore/job_store.h"
#include "restore/restore_job.h"
#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

// Opens the folders that a job works between.
class RootOpener {
   public:
    virtual ~RootOpener() = default;
    virtual Result<UniqueFd> snapshot(const std::string& token) = 0;
    virtual Result<UniqueFd> target(const JobSpec& spec) = 0;
    // The target root as it is in this snapshot. Invalid where it is not in it.
    virtual Result<UniqueFd> target_in(const JobSpec& spec, const std::string& token) = 0;
};

// Of a share by the path where it is seen.
class ShareRoots : public RootOpener {
   public:
    explicit ShareRoots(std::string share_root) : root_(std::move(share_root)) {}
    Result<UniqueFd> snapshot(const std::string& token) override;
    Result<UniqueFd> target(const JobSpec& spec) override;
    Result<UniqueFd> target_in(const JobSpec& spec, const std::string& token) override;

   private:
    std::string root_;
};

struct JobOutcome {
    std::string id;
    RestoreJob job;
    RestoreSummary summary;

    // Completely restored, all of it.
    bool complete() const;
};

class JobRunner {
   public:
    JobRunner(JobStore& store, RootOpener& roots, RunOptions options)
        : store_(store), roots_(roots), options_(std::move(options)) {}

    Result<JobOutcome> run(const JobSpec& spec);
    // Goes on with what is not completely restored yet.
    Result<JobOutcome> resume(const std::string& id);
    // Puts back what the job has changed, as the snapshot from before its first run has it: a job
    // of its own, whose outcome this is. kRefused where there is nothing to go back to.
    Result<JobOutcome> undo(const std::string& id);
    // The job as it is on disk: what a crash left open is looked for.
    Result<RestoreJob> look(const std::string& id);

   private:
    Result<JobOutcome> run_components(JobRecorder& recorder);
    // Of undoing this job before, interrupted: nothing of that stands aside any more.
    Result<void> settle_earlier_undo(const std::string& id);
    Result<void> settle(const std::string& id, const RestoreJob& job);
    void tell_obstacle(const ComponentSpec& component, const Error& why) const;
    void step(const char* name) const {
        if (options_.on_step) options_.on_step(name);
    }

    JobStore& store_;
    RootOpener& roots_;
    RunOptions options_;
};

}  // namespace umbra
