// Restore jobs kept by the daemon of a share, told through its control socket.
#pragma once

#include <string>
#include <vector>

#include "fuse/share_path.h"
#include "restore/job_store.h"
#include "restore/planner.h"

namespace umbra {

class DaemonJobStore : public JobStore {
   public:
    // The share is mounted, for everybody or for this process.
    explicit DaemonJobStore(SharePath share) : share_(std::move(share)) {}

    Result<std::string> create() override;
    Result<std::string> begin_run(const std::string& job, bool snapshot) override;
    void end_run(const std::string& job, bool complete) override;
    Result<void> append(const std::string& job, const std::vector<std::string>& records,
                        bool sync) override;
    Result<std::vector<std::string>> read(const std::string& job) override;
    Result<std::vector<std::string>> jobs() override;
    Result<void> sync_share() override;

   private:
    SharePath share_;
};

// Reads a job's records through whatever answers for the share.
Result<std::vector<std::string>> read_job_records(const SharePath& share, const std::string& job);

// Asks the index which files of a snapshot nobody has written to since.
UntouchedQuestion ask_untouched(const SharePath& share);
ChangedQuestion ask_changed(const SharePath& share);

}  // namespace umbra
