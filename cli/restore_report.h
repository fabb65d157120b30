// What a restore says while it runs and when it is done: the same for restore, revert, resume,
// undo.
#pragma once

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/exit_code.h"
#include "cli/progress_bar.h"
#include "restore/job_runner.h"

namespace umbra {

// "DIR/path" as people call it.
std::string shown_path(const std::string& root, const std::string& path);

class RestoreReport {
   public:
    struct Options {
        std::string shown_root;
        bool as_json = false;   // an array at the end
        bool as_lines = false;  // a JSON object a line, as things happen
        bool dry_run = false;
    };
    explicit RestoreReport(Options options) : options_(std::move(options)) {}

    // Hooks of a run that tell this report.
    RunOptions run_options();

    void object(const JobEntry& entry, const std::optional<Error>& error);
    void progress(const RestoreProgress& progress);
    // Prints what is left to be printed; how the command ends.
    ExitCode finish(const JobOutcome& outcome);
    void finish_dry_run(std::uint64_t bytes);
    bool anything_failed() const { return failed_ > 0; }

   private:
    nlohmann::json to_json(const JobEntry& entry, const std::optional<Error>& error) const;

    Options options_;
    ProgressBar bar_;
    std::chrono::steady_clock::time_point told_ = std::chrono::steady_clock::now();
    std::uint64_t failed_ = 0;
    std::vector<std::pair<std::string, nlohmann::json>> objects_;  // by path
    std::vector<std::pair<std::string, std::string>> lines_;
};

// A job as `restore status` shows it.
nlohmann::json job_json(const std::string& id, const RestoreJob& job,
                        const std::string& shown_root);
// "running", "interrupted", "undone", "empty", or the least of its components: "failed", "none",
// "all".
std::string job_state(const RestoreJob& job, bool running);

}  // namespace umbra
