// Asks writers before and after a restore of their files: pre-restore, the files, post-restore with
// what truly became of each component (KB 952826).
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "restore/restore_job.h"
#include "restore/writer_definition.h"
#include "restore/writer_report.h"
#include "snapstore/result.h"

namespace umbra {

// Those that have a component overlapping what the job restores, in the order they freeze.
std::vector<WriterDefinition> writers_of_job(const std::vector<WriterDefinition>& definitions,
                                             const JobSpec& spec);

struct WriterRestoreOptions {
    std::string share;   // where the share's files are: UMBRA_SHARE
    std::string target;  // absolute path of the folder that paths are restored into
    // What the snapshot has of the writers: their documents.
    std::vector<WriterReport> recorded;
    std::function<bool()> interrupted;
    // Before every command; for tests.
    std::function<void(const char* step)> on_step;
};

// Not thread-safe.
class WriterRestore {
   public:
    // The writers that are involved, of writers_of_job().
    WriterRestore(std::vector<WriterDefinition> involved, JobSpec spec,
                  WriterRestoreOptions options)
        : involved_(std::move(involved)), spec_(std::move(spec)), options_(std::move(options)) {}

    // One after the other. At the first that fails those before it are told that nothing was
    // restored, and the error names it: nothing may be touched then.
    Result<void> pre_restore();
    // Tells every writer, in reverse order, the job's id ("": there is none) and the status of each
    // of its components as the job has it; a null job: nothing was restored. An error names the
    // writers that failed.
    Result<void> post_restore(const std::string& id, const RestoreJob* job);

    // As far as they were asked.
    const std::vector<WriterReport>& reports() const { return reports_; }

   private:
    void tell(const WriterDefinition& writer, const std::string& id, const RestoreJob* job);
    WriterReport ask(const WriterDefinition& writer, WriterStep step,
                     std::vector<std::pair<std::string, std::string>> variables);

    std::vector<WriterDefinition> involved_;
    JobSpec spec_;
    WriterRestoreOptions options_;
    std::size_t asked_ = 0;  // how many had their pre-restore
    std::vector<WriterReport> reports_;
};

// Of what a job restores of a writer, in one word: ALL or NONE where that is true of every
// component of the job that overlaps the writer's; UNDEFINED where none of them was begun; FAILED
// otherwise. A null job has restored nothing.
RestoreStatus status_of_writer(const WriterDefinition& writer, const RestoreJob* job);

}  // namespace umbra
