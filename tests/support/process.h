// Running other programs from tests.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <optional>
#include <string>
#include <vector>

namespace umbra::test {

struct ProcessOptions {
    std::string stdin_text;
    std::vector<std::string> environment;  // "NAME=value", added to or replacing ours
    std::chrono::milliseconds timeout{120'000};
    std::optional<uid_t> uid;
    std::optional<gid_t> gid;
    std::vector<gid_t> groups;  // supplementary groups, used when uid or gid is set
    std::string working_directory;
};

struct ProcessResult {
    int exit_code = -1;  // 128 + signal when a signal ended it, 127 when it could not be started
    bool timed_out = false;
    std::string out;
    std::string err;
};

// Runs argv (found through PATH) and waits for it. A timeout kills it. Output written by children
// that outlive it (a daemon) is not waited for.
ProcessResult run(const std::vector<std::string>& argv, const ProcessOptions& options = {});

// As run(), but throws std::runtime_error with the command and its stderr unless it exits with 0.
// Returns its stdout.
std::string must_run(const std::vector<std::string>& argv, const ProcessOptions& options = {});

// "argv0 argv1 ..." for messages.
std::string join_command(const std::vector<std::string>& argv);

// The text without spaces and newlines at its end.
std::string trim_end(std::string text);

// A program running beside the test; killed and reaped by the destructor. Its stdin is /dev/null,
// its stdout and stderr are ours.
class BackgroundProcess {
   public:
    explicit BackgroundProcess(const std::vector<std::string>& argv,
                               const ProcessOptions& options = {});
    BackgroundProcess(const BackgroundProcess&) = delete;
    BackgroundProcess& operator=(const BackgroundProcess&) = delete;
    ~BackgroundProcess();

    pid_t pid() const { return pid_; }
    bool running();
    void send(int signal_number);
    // Waits until it has stopped itself (SIGSTOP); false where it has ended instead,
    // or neither in a minute.
    bool stops();
    // Waits for its end; returns the exit code as in ProcessResult.
    int wait();

   private:
    pid_t pid_ = -1;
    std::optional<int> exit_code_;
};

// Of /proc/PID/stat: 'T' stopped, 'S' asleep ...; 'X' where there is none.
char process_state(pid_t pid);

// A zombie is gone as far as files and mounts are concerned, but not while threads of it are still
// ending.
bool process_alive(pid_t pid);

// Whether it has ended in time; it need not be a child.
bool wait_for_end(pid_t pid, std::chrono::milliseconds limit);

}  // namespace umbra::test
