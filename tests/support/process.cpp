#include "tests/support/process.h"

#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <thread>

namespace umbra::test {

namespace {

using Clock = std::chrono::steady_clock;

int decode_status(int status) {
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

[[noreturn]] void exec_child(const std::vector<std::string>& argv, const ProcessOptions& options) {
    for (const auto& setting : options.environment) ::putenv(const_cast<char*>(setting.c_str()));
    if (!options.working_directory.empty() && ::chdir(options.working_directory.c_str()) != 0) {
        ::_exit(127);
    }
    if (options.uid || options.gid) {
        if (::setgroups(options.groups.size(), options.groups.data()) != 0) ::_exit(127);
        if (options.gid && ::setresgid(*options.gid, *options.gid, *options.gid) != 0) ::_exit(127);
        if (options.uid && ::setresuid(*options.uid, *options.uid, *options.uid) != 0) ::_exit(127);
    }
    std::vector<char*> arguments;
    for (const auto& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    ::execvp(arguments[0], arguments.data());
    ::dprintf(STDERR_FILENO, "cannot run %s: %s\n", arguments[0], std::strerror(errno));
    ::_exit(127);
}

struct Pipe {
    int reader = -1;
    int writer = -1;
    Pipe() {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
        reader = ends[0];
        writer = ends[1];
    }
    ~Pipe() {
        close_end(reader);
        close_end(writer);
    }
    static void close_end(int& fd) {
        if (fd >= 0) ::close(fd);
        fd = -1;
    }
};

// Moves what is ready; false at end of file.
bool drain(int fd, std::string& text) {
    char buffer[65536];
    const ssize_t count = ::read(fd, buffer, sizeof buffer);
    if (count > 0) text.append(buffer, static_cast<size_t>(count));
    return count > 0 || (count < 0 && (errno == EAGAIN || errno == EINTR));
}

void feed(int& fd, const std::string& text, size_t& offset) {
    const ssize_t count = ::write(fd, text.data() + offset, text.size() - offset);
    if (count > 0) offset += static_cast<size_t>(count);
    const bool broken = count < 0 && errno != EAGAIN && errno != EINTR;
    if (broken || offset == text.size()) Pipe::close_end(fd);
}

struct Exchange {
    Pipe in, out, err;
    size_t fed = 0;
};

// One turn of moving data between us and the child.
void pump(Exchange& exchange, const std::string& stdin_text, ProcessResult& result, int wait_ms) {
    pollfd fds[3] = {{exchange.out.reader, POLLIN, 0},
                     {exchange.err.reader, POLLIN, 0},
                     {exchange.in.writer, POLLOUT, 0}};
    if (::poll(fds, 3, wait_ms) <= 0) return;
    if (fds[0].revents != 0 && !drain(exchange.out.reader, result.out)) {
        Pipe::close_end(exchange.out.reader);
    }
    if (fds[1].revents != 0 && !drain(exchange.err.reader, result.err)) {
        Pipe::close_end(exchange.err.reader);
    }
    if (fds[2].revents != 0) feed(exchange.in.writer, stdin_text, exchange.fed);
}

void set_nonblocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }

}  // namespace

ProcessResult run(const std::vector<std::string>& argv, const ProcessOptions& options) {
    Exchange exchange;
    const pid_t pid = ::fork();
    if (pid < 0) throw std::runtime_error("fork failed");
    if (pid == 0) {
        ::dup2(exchange.in.reader, STDIN_FILENO);
        ::dup2(exchange.out.writer, STDOUT_FILENO);
        ::dup2(exchange.err.writer, STDERR_FILENO);
        exec_child(argv, options);
    }
    Pipe::close_end(exchange.in.reader);
    Pipe::close_end(exchange.out.writer);
    Pipe::close_end(exchange.err.writer);
    for (const int fd : {exchange.in.writer, exchange.out.reader, exchange.err.reader}) {
        set_nonblocking(fd);
    }
    if (options.stdin_text.empty()) Pipe::close_end(exchange.in.writer);

    ProcessResult result;
    const auto deadline = Clock::now() + options.timeout;
    auto* old_handler = ::signal(SIGPIPE, SIG_IGN);
    int status = 0;
    while (true) {
        const bool all_closed = exchange.out.reader < 0 && exchange.err.reader < 0;
        // With both outputs closed only the end is left to wait for.
        pump(exchange, options.stdin_text, result, all_closed ? 1 : 5);
        if (::waitpid(pid, &status, WNOHANG) == pid) break;
        if (!result.timed_out && Clock::now() > deadline) {
            result.timed_out = true;
            ::kill(pid, SIGKILL);
        }
    }
    // What it wrote before its end is in the pipes; a daemon may keep them open for ever.
    for (int turn = 0; turn < 1000; ++turn) {
        const size_t before = result.out.size() + result.err.size();
        pump(exchange, options.stdin_text, result, 0);
        if (result.out.size() + result.err.size() == before) break;
    }
    ::signal(SIGPIPE, old_handler);
    result.exit_code = decode_status(status);
    return result;
}

std::string must_run(const std::vector<std::string>& argv, const ProcessOptions& options) {
    const ProcessResult result = run(argv, options);
    if (result.exit_code != 0 || result.timed_out) {
        throw std::runtime_error(
            join_command(argv) +
            (result.timed_out ? ": timed out" : ": exit code " + std::to_string(result.exit_code)) +
            ": " + trim_end(result.err));
    }
    return result.out;
}

std::string join_command(const std::vector<std::string>& argv) {
    std::string text;
    for (const auto& argument : argv) text += (text.empty() ? "" : " ") + argument;
    return text;
}

std::string trim_end(std::string text) {
    while (!text.empty() && std::strchr(" \t\r\n", text.back()) != nullptr) text.pop_back();
    return text;
}

BackgroundProcess::BackgroundProcess(const std::vector<std::string>& argv,
                                     const ProcessOptions& options) {
    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error("fork failed");
    if (pid_ == 0) {
        const int null = ::open("/dev/null", O_RDONLY);
        ::dup2(null, STDIN_FILENO);
        exec_child(argv, options);
    }
}

BackgroundProcess::~BackgroundProcess() {
    if (!running()) return;
    ::kill(pid_, SIGKILL);
    wait();
}

bool BackgroundProcess::running() {
    if (exit_code_) return false;
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == pid_) exit_code_ = decode_status(status);
    return !exit_code_.has_value();
}

void BackgroundProcess::send(int signal_number) {
    if (running()) ::kill(pid_, signal_number);
}

int BackgroundProcess::wait() {
    if (exit_code_) return *exit_code_;
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    exit_code_ = decode_status(status);
    return *exit_code_;
}

char process_state(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
    const std::string text((std::istreambuf_iterator<char>(file)), {});
    const std::size_t end = text.rfind(')');
    return end == std::string::npos || end + 2 >= text.size() ? 'X' : text[end + 2];
}

bool BackgroundProcess::stops() {
    for (int i = 0; i < 30'000 && running(); ++i) {
        if (process_state(pid_) == 'T') return true;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return false;
}

bool process_alive(pid_t pid) {
    const std::filesystem::path process = "/proc/" + std::to_string(pid);
    std::ifstream file(process / "stat");
    std::string text;
    if (!std::getline(file, text)) return false;
    const size_t end_of_name = text.rfind(')');
    if (end_of_name == std::string::npos) return false;
    if (text.compare(end_of_name + 2, 1, "Z") != 0) return true;
    std::error_code error;
    const std::filesystem::directory_iterator tasks(process / "task", error);
    return !error && std::distance(begin(tasks), end(tasks)) > 1;
}

bool wait_for_end(pid_t pid, std::chrono::milliseconds limit) {
    const auto deadline = std::chrono::steady_clock::now() + limit;
    while (process_alive(pid)) {
        if (std::chrono::steady_clock::now() > deadline) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(2));
    }
    return true;
}

}  // namespace umbra::test
