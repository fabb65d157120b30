// Writers around what scripts do: around a set of snapshots, and around a row of restores.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "cli/share_writers.h"
#include "restore/script_host.h"
#include "restore/writer_restore.h"

namespace umbra {

// Those of the share that take part. kRefused where it has some and this is not root.
Result<std::vector<WriterDefinition>> script_writers(ShareCaller& share,
                                                     const ScriptWriters& selection);

// A snapshot of each share, all between freeze and thaw of all their writers, or none: what
// snapshot.create answers, in the order of the shares.
Result<std::vector<nlohmann::json>> create_set(const std::vector<ScriptShare>& shares,
                                               const ScriptWriters& selection);

// A restore that is going to be run.
struct AnnouncedRestore {
    SharePath share;
    JobSpec spec;
    std::string target;  // absolute path of the folder that is restored into
};

// Pre-restore of all writers that a row of restores concerns, and post-restore with what became of
// each. Not thread-safe.
class ScriptRestores {
   public:
    // Where it fails, nothing may be touched, and those that had been asked have been told so.
    static Result<std::unique_ptr<ScriptRestores>> begin(
        const std::vector<AnnouncedRestore>& restores, const ScriptWriters& selection);
    // Names of the writers that begin() would ask.
    static Result<std::vector<std::string>> involved(const std::vector<AnnouncedRestore>& restores,
                                                     const ScriptWriters& selection);

    // What became of one of them. One that is never reported was not begun.
    void report(const AnnouncedRestore& restore, const JobOutcome& outcome);
    // Tells everybody, whatever fails; the first error.
    Result<void> end();

   private:
    // Restores of one snapshot into one folder: what a writer is told of at once.
    struct Group {
        SharePath share;
        JobSpec spec;
        std::string target;
        RestoreJob job;
        std::string ids;
        std::unique_ptr<WriterRestore> writers;  // null: none is concerned
    };

    static std::vector<Group> group(const std::vector<AnnouncedRestore>& restores);
    static Result<std::vector<WriterDefinition>> writers_of(const Group& group,
                                                            const ScriptWriters& selection);
    static Result<void> ask(Group& group, const ScriptWriters& selection);

    std::vector<Group> groups_;
};

}  // namespace umbra
