// The writers of a share, as commands meet them: which are asked, how a snapshot is taken with
// them, how a restore runs between them.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/arguments.h"
#include "fuse/share_access.h"
#include "fuse/share_path.h"
#include "restore/job_runner.h"
#include "restore/writer_definition.h"
#include "restore/writer_report.h"
#include "restore/writer_session.h"
#include "snapstore/result.h"

namespace umbra {

// Calls methods of a share; opens the volume of one that is not mounted only once. Not thread-safe.
class ShareCaller {
   public:
    explicit ShareCaller(SharePath share) : share_(std::move(share)) {}
    const SharePath& share() const { return share_; }
    Result<nlohmann::json> call(const std::string& method,
                                const nlohmann::json& parameters = nlohmann::json::object());

   private:
    SharePath share_;
    std::unique_ptr<ShareAccess> open_;
};

struct WriterChoice {
    bool none = false;
    bool allow_failed = false;
    std::vector<std::string> only;     // "": all
    std::vector<std::string> without;  // not these

    void add_snapshot_options(Command command);
    void add_restore_options(Command command);
};

// The writers that are to be asked, none where the share has none. kRefused for who is not root,
// where it has some: their commands run as root. kNotFound for a chosen one that there is not.
Result<std::vector<WriterDefinition>> chosen_writers(ShareCaller& share,
                                                     const WriterChoice& choice);

// Puts reports where `umbra writers list` finds them. What fails is left out.
void keep_reports(ShareCaller& share, const std::vector<WriterReport>& reports,
                  const std::string& token);

// snapshot.create with these parameters, between freeze and thaw of the writers. The snapshot as it
// is then.
Result<nlohmann::json> create_with_writers(ShareCaller& share,
                                           std::vector<WriterDefinition> definitions,
                                           bool allow_failed, const nlohmann::json& parameters);

// Runs a restore between pre-restore and post-restore of the writers whose files it restores.
// `target` is the absolute path of the folder that is restored into. A post-restore that fails is
// said, and makes `failed_after` true. Whoever is not root restores without writers; a share that
// has some is then mentioned.
Result<JobOutcome> restore_with_writers(const SharePath& share, const JobSpec& spec,
                                        const std::string& target, const WriterChoice& choice,
                                        const std::function<Result<JobOutcome>()>& run,
                                        bool& failed_after);

}  // namespace umbra
