// The keeper of a session's writers (restore/writer_session.h): the process that runs their
// commands, and thaws what it has frozen whatever becomes of who asked for it.
//
// Both speak over a socket pair of packets. A request is a letter and, for post-snapshot, the
// token; the answer is 'R' and the reports. In between 'P' and a number: the process group of the
// command that is being run, so that nothing goes on freezing should the keeper die.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "restore/writer_command.h"
#include "restore/writer_definition.h"
#include "restore/writer_report.h"
#include "restore/writer_session.h"

namespace umbra {

namespace keeper_request {
inline constexpr char kPrepare = 'p';
inline constexpr char kFreeze = 'f';
inline constexpr char kThaw = 't';
inline constexpr char kPostSnapshot = 's';
inline constexpr char kAbort = 'a';  // while one of the above is worked on; has no answer
inline constexpr char kQuit = 'q';
}  // namespace keeper_request

class WriterKeeper {
   public:
    // `socket` is borrowed; `definitions` in the order they freeze.
    WriterKeeper(int socket, const std::vector<WriterDefinition>& definitions,
                 const WriterSessionOptions& options);

    // Until it is told to quit, or the other side is gone.
    void serve();

   private:
    using Moment = std::chrono::steady_clock::time_point;
    struct Asked {
        const WriterDefinition* writer = nullptr;
        WriterReport report;
        bool frozen = false;  // or being frozen: it needs a thaw
        Moment thaw_by{};     // while frozen
        WriterCommand held;
    };

    void answer(const std::string& request);
    void prepare();
    void freeze();
    void freeze_one(Asked& asked);
    void thaw_all();
    void thaw_one(Asked& asked);
    void thaw_late();
    void post_snapshot(const std::string& token);
    void orphaned();

    bool run(Asked& asked, WriterStep step);
    static void fail(Asked& asked, WriterStep step, const WriterOutcome& outcome);
    void keep_document(Asked& asked, const std::string& output);
    bool should_stop();
    std::optional<Moment> deadline() const;
    void tell_process(pid_t process) const;

    int socket_;
    const WriterSessionOptions& options_;
    WriterVariables variables_;
    std::vector<Asked> asked_;
    Moment cut_by_ = Moment::max();
    bool gone_ = false;     // the other side
    bool aborted_ = false;  // as it asked
};

// What a process that has been forked for this does; ends it.
[[noreturn]] void become_writer_keeper(int socket, const std::vector<WriterDefinition>& definitions,
                                       const WriterSessionOptions& options);

}  // namespace umbra
