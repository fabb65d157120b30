// Where restore jobs are kept: behind this the daemon of a mounted share, or memory.
#pragma once

#include <string>
#include <vector>

#include "restore/restore_job.h"
#include "snapstore/result.h"

namespace umbra {

class JobStore {
   public:
    virtual ~JobStore() = default;

    // A new job; its id.
    virtual Result<std::string> create() = 0;
    // From here on this process alone may record in the job. With `snapshot` first takes a held
    // snapshot of the share; its token, else "".
    virtual Result<std::string> begin_run(const std::string& job, bool snapshot) = 0;
    // `complete`: all of it is restored.
    virtual void end_run(const std::string& job, bool complete) = 0;
    // Durable on return where `sync`.
    virtual Result<void> append(const std::string& job, const std::vector<std::string>& records,
                                bool sync) = 0;
    virtual Result<std::vector<std::string>> read(const std::string& job) = 0;
    // Ids of all jobs that the caller may read, oldest first.
    virtual Result<std::vector<std::string>> jobs() = 0;
    // What was changed in the share until now survives a power cut when it returns.
    virtual Result<void> sync_share() = 0;
};

// For what cannot be kept: it is gone with the process.
class MemoryJobStore : public JobStore {
   public:
    Result<std::string> create() override;
    Result<std::string> begin_run(const std::string& job, bool snapshot) override;
    void end_run(const std::string& job, bool complete) override;
    Result<void> append(const std::string& job, const std::vector<std::string>& records,
                        bool sync) override;
    Result<std::vector<std::string>> read(const std::string& job) override;
    Result<std::vector<std::string>> jobs() override { return std::vector<std::string>{}; }
    Result<void> sync_share() override { return {}; }

   private:
    std::vector<std::string> records_;
    bool running_ = false;
};

// A job that is being run: every record is checked against the job as it stands, then written.
class JobRecorder {
   public:
    JobRecorder(JobStore& store, std::string id, RestoreJob job)
        : store_(store), id_(std::move(id)), job_(std::move(job)) {}

    const std::string& id() const { return id_; }
    const RestoreJob& job() const { return job_; }

    // Written with the next flush, or before it where there are many.
    Result<void> add(std::string record);
    Result<void> flush(bool sync);

   private:
    JobStore& store_;
    std::string id_;
    RestoreJob job_;
    std::vector<std::string> waiting_;
    std::size_t waiting_bytes_ = 0;
};

}  // namespace umbra
