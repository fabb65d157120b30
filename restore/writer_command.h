// Runs one command of a writer: as the user it names, in a process group of its own, with nothing
// of ours but an environment that says what it is asked.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "restore/writer_definition.h"
#include "restore/writer_report.h"
#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

// A document has at most so many bytes.
inline constexpr std::size_t kLongestWriterDocument = 8 << 10;

// Besides UMBRA_WRITER, UMBRA_STEP and UMBRA_SETTING_*.
using WriterVariables = std::vector<std::pair<std::string, std::string>>;

// How a command ended.
struct WriterOutcome {
    WriterError error = WriterError::kNone;
    std::string sentence;  // why not, with the end of what it said
    std::string output;    // its stdout, without the line "frozen"
    bool ok() const { return error == WriterError::kNone; }
};

// Killed with its group by the destructor, unless it has ended.
class WriterCommand {
   public:
    WriterCommand() = default;
    WriterCommand(WriterCommand&& other) noexcept { *this = std::move(other); }
    WriterCommand& operator=(WriterCommand&& other) noexcept;
    ~WriterCommand();

    // `input`: what it reads; one that stays reads what finish() ends.
    static Result<WriterCommand> start(const WriterDefinition& writer, WriterStep step,
                                       const WriterVariables& variables, const std::string& input,
                                       bool stays);

    bool started() const { return process_ > 0; }
    pid_t pid() const { return process_; }

    // Waits until it ends, or (`stays`) has said that it is frozen. Killed after the limit, or when
    // `stop` says so, which is asked often.
    WriterOutcome wait(std::chrono::steady_clock::time_point until,
                       const std::function<bool()>& stop);
    // Has it ended by itself? Waits for nothing.
    bool has_ended();
    // Ends its input; then as wait(), for its end.
    WriterOutcome finish(std::chrono::steady_clock::time_point until);

   private:
    WriterOutcome go_on(std::chrono::steady_clock::time_point until,
                        const std::function<bool()>& stop, bool until_frozen);
    void take_output();
    WriterOutcome ended(int status);
    void kill_group();

    std::string what_;  // "writer 'x': freeze", for messages
    pid_t process_ = 0;
    bool stays_ = false;
    bool frozen_ = false;
    bool too_long_ = false;
    UniqueFd pidfd_;
    UniqueFd input_;
    UniqueFd output_;
    UniqueFd errors_;
    std::string output_text_;
    std::string errors_text_;
};

// The command of a step from its beginning to its end; ok where the writer has none.
WriterOutcome run_writer_command(const WriterDefinition& writer, WriterStep step,
                                 const WriterVariables& variables, const std::string& input,
                                 const std::function<bool()>& stop,
                                 const std::function<void(pid_t)>& started = {});

}  // namespace umbra
