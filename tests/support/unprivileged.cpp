#include "tests/support/unprivileged.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <stdexcept>

namespace umbra::test {

namespace {

// Before each answer in the pipe.
struct Header {
    uint64_t failed;
    uint64_t size;
};

void become(const Caller& caller) {
    ::umask(caller.umask);
    if (::setgroups(caller.groups.size(), caller.groups.data()) != 0 ||
        ::setresgid(caller.gid, caller.gid, caller.gid) != 0 ||
        ::setresuid(caller.uid, caller.uid, caller.uid) != 0) {
        std::perror("cannot become the caller");
        ::_exit(125);
    }
    // Changing identity hides /proc/self from ourselves, which linkat of a descriptor needs.
    ::prctl(PR_SET_DUMPABLE, 1);
}

void write_all(int fd, const void* data, size_t size) {
    for (size_t offset = 0; offset < size;) {
        const ssize_t count = ::write(fd, static_cast<const char*>(data) + offset, size - offset);
        if (count < 0 && errno != EINTR) ::_exit(1);
        if (count > 0) offset += static_cast<size_t>(count);
    }
}

// False at the end of the pipe, which a dead child leaves anywhere.
bool read_all(int fd, void* data, size_t size) {
    for (size_t offset = 0; offset < size;) {
        const ssize_t count = ::read(fd, static_cast<char*>(data) + offset, size - offset);
        if (count == 0 || (count < 0 && errno != EINTR)) return false;
        if (count > 0) offset += static_cast<size_t>(count);
    }
    return true;
}

using Functions = std::vector<std::function<std::string()>>;

Answer answer_of(const std::function<std::string()>& function) {
    try {
        return {false, function()};
    } catch (const std::exception& error) {
        return {true, error.what()};
    }
}

void close_descriptors_but(int kept) {
    ::close_range(STDERR_FILENO + 1, static_cast<unsigned>(kept) - 1, 0);
    ::close_range(static_cast<unsigned>(kept) + 1, ~0u, 0);
}

[[noreturn]] void answer_in_child(int fd, const Caller& caller, const Functions& functions,
                                  size_t first) {
    // A crash must not reach a handler of the test framework: the report is the parent's.
    for (const int number : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTERM, SIGINT}) {
        ::signal(number, SIG_DFL);
    }
    // Crashes that are meant must not leave a core in the directory under test.
    const rlimit no_core{0, 0};
    ::setrlimit(RLIMIT_CORE, &no_core);
    become(caller);
    for (size_t i = first; i < functions.size(); ++i) {
        // Should a call hang in the kernel, the whole run must not.
        ::alarm(60);
        ::umask(caller.umask);
        const Answer answer = answer_of(functions[i]);
        const Header header{answer.failed ? 1u : 0u, answer.text.size()};
        write_all(fd, &header, sizeof header);
        write_all(fd, answer.text.data(), answer.text.size());
        close_descriptors_but(fd);
    }
    ::_exit(0);
}

// Appends the answers that arrive; ends with the child.
void collect(int fd, std::vector<Answer>& answers) {
    Header header{};
    while (read_all(fd, &header, sizeof header)) {
        Answer answer{header.failed != 0, std::string(header.size, '\0')};
        if (!read_all(fd, answer.text.data(), answer.text.size())) return;
        answers.push_back(std::move(answer));
    }
}

std::string describe_end(int status) {
    if (WIFSIGNALED(status)) {
        return std::string("the caller's process died: ") + ::strsignal(WTERMSIG(status));
    }
    return "the caller's process ended with " + std::to_string(WEXITSTATUS(status));
}

}  // namespace

std::vector<Answer> answers_as(const Caller& caller, const Functions& functions) {
    std::vector<Answer> answers;
    while (answers.size() < functions.size()) {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) throw std::runtime_error("pipe2 failed");
        std::fflush(nullptr);
        const pid_t child = ::fork();
        if (child < 0) throw std::runtime_error("fork failed");
        if (child == 0) {
            ::close(ends[0]);
            answer_in_child(ends[1], caller, functions, answers.size());
        }
        ::close(ends[1]);
        collect(ends[0], answers);
        ::close(ends[0]);
        int status = 0;
        while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
        }
        if (answers.size() < functions.size()) answers.push_back({true, describe_end(status)});
    }
    return answers;
}

std::string text_as(const Caller& caller, const std::function<std::string()>& function) {
    const Answer answer = answers_as(caller, {function}).front();
    if (answer.failed) throw std::runtime_error(answer.text);
    return answer.text;
}

CallResult call_as(const Caller& caller, const std::function<long()>& call) {
    const std::string text = text_as(caller, [&] {
        errno = 0;
        CallResult result{call(), 0};
        result.error = result.result == -1 ? errno : 0;
        return std::to_string(result.result) + " " + std::to_string(result.error);
    });
    CallResult result;
    if (std::sscanf(text.c_str(), "%ld %d", &result.result, &result.error) != 2) {
        throw std::runtime_error("unreadable answer: " + text);
    }
    return result;
}

}  // namespace umbra::test
