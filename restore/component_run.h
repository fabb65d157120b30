// One component of a running job, from its plan to its status: stage next to the target, sync,
// record who is who, switch by rename with the originals kept, sync, record, and only then let the
// originals go. Whatever fails before that is taken back.
#pragma once

#include <dirent.h>
#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "restore/job_store.h"
#include "restore/planner.h"
#include "restore/restore_job.h"
#include "snapstore/result.h"

namespace umbra {

struct RestoreSummary {
    std::uint64_t changed = 0;  // created, replaced, removed or given their metadata
    std::uint64_t unchanged = 0;
    std::uint64_t failed = 0;
    std::uint64_t owners_left = 0;    // restored, but their owner could not be set
    std::uint64_t extended_left = 0;  // restored, but not all their extended attributes
    std::uint64_t bytes_written = 0;
    bool interrupted = false;
};

struct RestoreProgress {
    std::uint64_t done_bytes = 0;
    std::uint64_t total_bytes = 0;
    std::uint64_t done_files = 0;
    std::uint64_t total_files = 0;
};

struct RunOptions {
    MetadataScope scope;
    UntouchedQuestion untouched;
    ChangedQuestion changed;
    std::function<bool()> interrupted;
    // A path is done with; `error`: it is not restored.
    std::function<void(const JobEntry&, const std::optional<Error>& error)> on_object;
    std::function<void(const RestoreProgress&)> on_progress;
    // Before every step; for tests, which end the process there.
    std::function<void(const char* step)> on_step;
};

// How the components of a job are planned, in a run and in a dry run alike.
PlanOptions plan_options(const JobSpec& job, const RunOptions& options);

// The roots that a job works between; descriptors of folders, borrowed.
struct RestoreRoots {
    int source = -1;
    int target = -1;
    int before = -1;  // the target root in the snapshot of before the run; -1: there is none
    bool in_share = true;
};

// Records, durably, that nothing of a component was touched in this run, and why.
Result<void> record_untouched(JobRecorder& recorder, std::uint32_t component, const Error& why);

class ComponentRun {
   public:
    ComponentRun(JobRecorder& recorder, JobStore& store, const RestoreRoots& roots,
                 const RunOptions& options, std::uint32_t component, RestoreSummary& summary)
        : recorder_(recorder),
          store_(store),
          roots_(roots),
          options_(options),
          number_(component),
          spec_(recorder.job().components[component].spec),
          summary_(summary) {}

    // What went wrong with single paths is in the statuses; an error is one of the job itself: the
    // journal cannot be written. What was about to be switched then is as it was; what had been
    // switched stays, with the originals aside, for `resume` or `undo` to settle.
    Result<void> run();

   private:
    struct Unit {
        std::string aside;  // path in the target root, where it is staged; "": it is not
        bool staged = false;
        bool switched = false;
        ObjectIdentity spare;  // stands aside, and nobody needs it
        std::optional<Error> error;
        struct stat present {};            // as planned
        std::optional<Attributes> before;  // of what is changed in place
        std::optional<Error> not_put_back;
    };

    Result<void> record_plan();
    Result<void> refuse(const Error& why);
    Result<void> run_batch(std::size_t first, std::size_t end);
    std::size_t batch_end(std::size_t first) const;

    void stage_all(std::size_t first, std::size_t end);
    Result<void> stage(std::size_t i);
    Result<void> stage_object(std::size_t i, int folder, const std::string& name);
    Result<bool> stage_as_link(std::size_t i, int folder, const std::string& name);
    Result<void> finish_staged_folders(std::size_t first, std::size_t end);
    Result<void> record_staged(std::size_t first, std::size_t end);

    void switch_all(std::size_t first, std::size_t end);
    Result<void> switch_unit(std::size_t i);
    Result<void> switch_name(std::size_t i, int folder);
    Result<void> check_kept(std::size_t i, int folder);
    Result<void> change_in_place(std::size_t i, int folder);
    KnownRanges changed(std::size_t i, int file);
    Result<void> finish_folders();
    Result<void> finish_folder(std::size_t i);

    void put_back(std::size_t first, std::size_t end);
    Result<void> put_back_unit(std::size_t i);
    Result<void> put_back_in_place(std::size_t i, int folder);
    void put_back_folder_times();
    void clean(std::size_t first, std::size_t end);

    Result<void> report(std::size_t i, RestoreStatus status, const std::optional<Error>& error);
    std::size_t top_of(std::size_t i);
    Result<bool> report_path(std::size_t i);
    Result<void> report_batch(std::size_t first, std::size_t end);
    Result<void> report_component();

    Result<void> sync_targets();
    bool interrupted();
    void step(const char* name) const {
        if (options_.on_step) options_.on_step(name);
    }
    JobEntry& entry(std::size_t i) { return plan_.entries[i].entry; }
    bool is_unit(std::size_t i) {
        return entry(i).within == 0 && entry(i).action != RestoreAction::kUnchanged;
    }
    bool is_existing_folder(std::size_t i) {
        return entry(i).type == DT_DIR && (entry(i).action == RestoreAction::kUnchanged ||
                                           entry(i).action == RestoreAction::kMetadata);
    }
    Result<UniqueFd> open_parent(const std::string& path) const;
    std::string where(std::size_t i);  // the entry's object is there now
    void remember_folder(const std::string& path, int folder);
    void progress();

    JobRecorder& recorder_;
    JobStore& store_;
    const RestoreRoots& roots_;
    const RunOptions& options_;
    std::uint32_t number_;
    const ComponentSpec spec_;
    RestoreSummary& summary_;
    ComponentPlan plan_;
    std::vector<Unit> units_;                    // as the plan's entries
    std::vector<std::uint32_t> recorded_;        // number in the journal of an entry, + 1
    std::map<std::string, Attributes> folders_;  // that names change in, as they were
    RestoreProgress progress_;
    std::optional<Error> failure_;  // the first, of a component that is all or nothing
};

}  // namespace umbra
