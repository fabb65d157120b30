// Runs the writers of a share around a snapshot: identify, prepare, freeze, the cut, thaw,
// post-snapshot.
//
// All commands are run by a keeper: a process of its own, forked before the first of them, in a
// session of its own. It thaws what it has frozen when it is told to, when a limit is over, and
// when whoever told it to freeze is gone. Should the keeper be gone instead, this process thaws.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "restore/writer_definition.h"
#include "restore/writer_report.h"
#include "snapstore/result.h"

namespace umbra {

struct WriterSessionOptions {
    std::string share;          // where the share's files are: UMBRA_SHARE
    bool allow_failed = false;  // a writer that fails does not end it for the others
    // Asked often while a command runs; true stops it, and what is frozen is thawed.
    std::function<bool()> interrupted;
    // In the keeper, after it has thawed because whoever began is gone.
    std::function<void(const std::vector<WriterReport>&)> on_orphaned;
    // Before every step; for tests, which end the process there.
    std::function<void(const char* step)> on_step;
};

// Not thread-safe. Each of the steps asks every writer that has not failed yet; a writer that fails
// is in reports(), not in the Result, which is about the session itself (EINTR: interrupted).
// Whatever fails, what is frozen is thawed, at the latest by the destructor.
class WriterSession {
   public:
    // Forks: before threads are started, if possible.
    static Result<std::unique_ptr<WriterSession>> start(std::vector<WriterDefinition> definitions,
                                                        WriterSessionOptions options);
    ~WriterSession();
    WriterSession(const WriterSession&) = delete;
    WriterSession& operator=(const WriterSession&) = delete;

    Result<void> prepare();  // identify and prepare
    Result<void> freeze();
    // A writer whose limit had been over before this, or before the cut was done, is
    // failed_at_freeze, timed out.
    Result<void> thaw();
    Result<void> post_snapshot(const std::string& token);

    const std::vector<WriterReport>& reports() const;
    const WriterSessionOptions& options() const;

   private:
    class Shared;
    explicit WriterSession(std::unique_ptr<Shared> shared);
    std::unique_ptr<Shared> shared_;
};

// Makes the snapshot (with the reports as they stand: frozen, or failed) and gives its token.
using WriterCut = std::function<Result<std::string>(const std::vector<WriterReport>&)>;
// Records how the writers ended with the snapshot.
using WriterRecord =
    std::function<Result<void>(const std::string& token, const std::vector<WriterReport>&)>;
// Takes the snapshot back.
using WriterTakeBack = std::function<Result<void>(const std::string& token)>;

struct WriterSnapshot {
    std::string token;
    std::vector<WriterReport> reports;
};

// The whole of it. An error: there is no snapshot (or it says which could not be taken back), and
// everything is thawed. With `allow_failed` a writer that fails is only reported.
Result<WriterSnapshot> snapshot_with_writers(WriterSession& session, const WriterCut& cut,
                                             const WriterRecord& record,
                                             const WriterTakeBack& take_back);

}  // namespace umbra
