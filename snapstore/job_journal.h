// The journals of restore jobs: DIFF_AREA/jobs/JOB.journal, one append-only file a job
// (docs/format.md, "Restore jobs"). What a record says is the business of who restores; here is
// whose it is, that it is durable, and that nobody else's bytes are taken for one.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

struct JobInfo {
    std::string id;  // YYYYMMDD-HHMMSS-xxxxxx: ids sort by age
    uid_t uid = 0;   // whose it is
    std::int64_t created = 0;
    std::uint64_t bytes = 0;
    bool running = false;
};

// Thread-safe.
class JobJournals {
   public:
    struct Limits {
        std::uint64_t job_bytes = 4ull << 30;  // of root's
        std::uint64_t user_job_bytes = 64ull << 20;
        std::size_t user_jobs = 32;
        std::size_t record_bytes = 1 << 20;
    };

    // diff_area: descriptor of the folder, borrowed; -1: there is none, and no job.
    JobJournals(int diff_area, bool read_only) : JobJournals(diff_area, read_only, Limits{}) {}
    JobJournals(int diff_area, bool read_only, const Limits& limits)
        : diff_area_(diff_area), read_only_(read_only), limits_(limits) {}

    // A new job of this user, durable on return.
    Result<JobInfo> create(uid_t uid, std::int64_t now);
    // kNotFound where there is no such job (also where `id` is no id).
    Result<JobInfo> find(const std::string& id);
    // Oldest first. A journal whose beginning cannot be read is left out.
    Result<std::vector<JobInfo>> list();

    // One process at a time runs a job: kRefused with EBUSY while another one that lives does.
    Result<void> begin_run(const std::string& id, pid_t runner);
    // False: this process did not run it.
    bool end_run(const std::string& id, pid_t runner);
    // Appends a record; kRefused unless `runner` runs the job. Durable on return where `sync`.
    Result<void> append(const std::string& id, pid_t runner, std::string_view record, bool sync);

    Result<void> sync(const std::string& id, pid_t runner);

    struct Slice {
        std::vector<std::string> records;
        std::uint64_t next = 0;  // where to go on; 0: that was all
    };
    // The records from a position on (0: the first), some of them at a time. kDiffArea where a
    // record that was durable is damaged.
    Result<Slice> read(const std::string& id, std::uint64_t position);

    // Deletes the journal. kRefused while the job is run.
    Result<void> remove(const std::string& id);

    // Of all journals, as last measured plus what has been written since.
    std::uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
    // What they take on disk, measured now.
    Result<std::uint64_t> measure_bytes();

   private:
    struct Journal {
        UniqueFd file;
        JobInfo info;
        std::uint64_t end = 0;  // of the last whole record
        pid_t runner = 0;
        UniqueFd runner_process;
    };
    Result<int> directory(bool make);
    Result<std::vector<std::string>> ids();  // oldest first
    Result<Journal*> open_journal(const std::string& id);
    static Result<void> load(Journal& journal, const std::string& id, bool read_only);
    static bool runs(const Journal& journal);

    int diff_area_;
    bool read_only_;
    Limits limits_;
    std::atomic<std::uint64_t> bytes_{0};
    std::mutex mutex_;  // guards all below
    UniqueFd directory_;
    std::map<std::string, std::unique_ptr<Journal>> open_;
};

}  // namespace umbra
