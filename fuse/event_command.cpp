#include "fuse/event_command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <system_error>
#include <vector>

#include "snapstore/unique_fd.h"

namespace umbra {

namespace {

using Clock = std::chrono::steady_clock;
constexpr int kMostWaiting = 64;
constexpr std::chrono::seconds kPatience{60};
constexpr std::chrono::seconds kPatienceAtTheEnd{5};
constexpr int kPollMilliseconds = 200;

std::vector<std::string> environment_of(const std::string& share, const Event& event) {
    return {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL=C.UTF-8",
            "UMBRA_SHARE=" + share,
            fmt::format("UMBRA_EVENT_NUMBER={}", event.number()),
            fmt::format("UMBRA_EVENT_NAME={}", event.name()),
            fmt::format("UMBRA_EVENT_SEVERITY={}", severity_name(event.severity())),
            fmt::format("UMBRA_EVENT_TIME={}", event.time),
            fmt::format("UMBRA_EVENT_SEQUENCE={}", event.sequence),
            "UMBRA_EVENT_MESSAGE=" + event.message};
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    for (auto& text : texts) pointers.push_back(text.data());
    pointers.push_back(nullptr);
    return pointers;
}

// A process group of its own with the signals of a fresh process; -1 and errno.
pid_t spawn(const std::string& command, std::vector<std::string> environment) {
    std::vector<std::string> arguments{"sh", "-c", command};
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t files;
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_init(&files);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setpgroup(&attributes, 0);
    posix_spawnattr_setflags(
        &attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        posix_spawn_file_actions_addopen(&files, fd, "/dev/null", O_RDWR, 0);
    pid_t child = -1;
    const int code = posix_spawn(&child, "/bin/sh", &files, &attributes,
                                 pointers_to(arguments).data(), pointers_to(environment).data());
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&attributes);
    if (code == 0) return child;
    errno = code;
    return -1;
}

}  // namespace

EventCommand::~EventCommand() {
    ending_ = true;
    thread_.stop();
}

void EventCommand::run(const std::string& command, const Event& event) {
    // A command that fails must not be run for its own failure.
    if (command.empty() || event.id == EventId::kEventCommandFailed) return;
    if (waiting_.fetch_add(1) >= kMostWaiting) {
        --waiting_;
        failed_(fmt::format("the command for events is too slow: it is not run for event {} {}",
                            event.sequence, event.name()));
        return;
    }
    thread_.add([this, command, event] {
        run_now(command, event);
        --waiting_;
    });
}

void EventCommand::run_now(const std::string& command, const Event& event) const {
    const auto began = Clock::now();
    const pid_t child = spawn(command, environment_of(share_, event));
    if (child < 0) {
        failed_(fmt::format("cannot run the command for events '{}': {}", command,
                            std::generic_category().message(errno)));
        return;
    }
    const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
    bool ended = false;
    for (;;) {
        struct pollfd waited {
            process.get(), POLLIN, 0
        };
        ended = ::poll(&waited, 1, kPollMilliseconds) > 0;
        const auto patience = ending_ ? kPatienceAtTheEnd : kPatience;
        if (ended || Clock::now() - began > patience) break;
    }
    if (!ended) ::kill(-child, SIGKILL);
    int status = 0;
    ::waitpid(child, &status, 0);
    if (!ended) {
        failed_(fmt::format("the command for events '{}' took too long for event {} and was killed",
                            command, event.name()));
    } else if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        failed_(fmt::format("the command for events '{}' failed for event {} ({} {})", command,
                            event.name(), WIFEXITED(status) ? "exit status" : "signal",
                            WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status)));
    }
}

}  // namespace umbra
