#include "cli/script_program.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string_view>

#include "cli/output.h"
#include "cli/patient_signals.h"
#include "snapstore/unique_fd.h"

namespace umbra {

namespace {

constexpr int kPollMilliseconds = 100;

std::string path_of(const std::string& file) {
    return file.find('/') == std::string::npos ? "./" + file : file;
}

// This process's environment, with those of `added` in the place of others of their names.
std::vector<std::string> environment_with(const std::vector<std::string>& added) {
    std::vector<std::string> all = added;
    for (char** variable = ::environ; *variable != nullptr; ++variable) {
        const std::string_view text(*variable);
        const std::string_view name = text.substr(0, text.find('='));
        bool replaced = false;
        for (const auto& one : added)
            replaced = replaced || std::string_view(one).substr(0, one.find('=')) == name;
        if (!replaced) all.emplace_back(text);
    }
    return all;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    for (auto& text : texts) pointers.push_back(text.data());
    pointers.push_back(nullptr);
    return pointers;
}

// With the signals of a fresh process, in this process's group: Ctrl-C reaches it, too.
Result<pid_t> spawn(std::vector<std::string> command, std::vector<std::string> environment) {
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    pid_t child = -1;
    const std::string file = path_of(command[0]);
    const int code = ::posix_spawn(&child, file.c_str(), nullptr, &attributes,
                                   pointers_to(command).data(), pointers_to(environment).data());
    posix_spawnattr_destroy(&attributes);
    if (code == 0) return child;
    if (code == ENOEXEC)
        return error_of(ErrorKind::kSystem, code,
                        fmt::format("cannot execute '{}': it is no program, and its first line "
                                    "names none (#!/bin/sh)",
                                    file));
    return errno_error(code, fmt::format("cannot execute '{}'", file));
}

void wait_for_end(pid_t child) {
    const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
    bool told = false;
    for (;;) {
        struct pollfd waited {
            process.get(), POLLIN, 0
        };
        if (!process.valid() || ::poll(&waited, 1, kPollMilliseconds) > 0) return;
        if (told || !PatientSignals::asked_to_stop()) continue;
        ::kill(child, SIGTERM);
        told = true;
    }
}

}  // namespace

Result<void> check_program(const std::string& file) {
    const std::string path = path_of(file);
    struct stat status {};
    if (file.empty() || ::stat(path.c_str(), &status) != 0) {
        if (file.empty() || errno == ENOENT)
            return error_of(
                ErrorKind::kNotFound, ENOENT,
                fmt::format("there is no file '{}' to execute: name it with its path", file));
        return errno_error(errno, fmt::format("cannot look up '{}'", path));
    }
    if (!S_ISREG(status.st_mode))
        return error_of(ErrorKind::kUsage, EACCES,
                        fmt::format("'{}' is no file that can be executed", path));
    if (::access(path.c_str(), X_OK) != 0)
        return errno_error(errno,
                           fmt::format("'{}' cannot be executed: 'chmod +x' allows it", path));
    return {};
}

Result<void> run_program(const std::vector<std::string>& command,
                         const std::vector<std::string>& environment) {
    flush_output();  // what was said before it comes before what it says
    UMBRA_ASSIGN(const pid_t child, spawn(command, environment_with(environment)));
    wait_for_end(child);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
    return error_of(ErrorKind::kSystem, ECANCELED,
                    fmt::format("'{}' failed ({} {}): see what it said; the lines after it were "
                                "not run",
                                command[0], WIFEXITED(status) ? "exit status" : "signal",
                                WIFEXITED(status) ? WEXITSTATUS(status) : WTERMSIG(status)));
}

}  // namespace umbra
