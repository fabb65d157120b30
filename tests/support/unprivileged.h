// Calls made as somebody else, in a forked child, so that the test process itself stays root.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

namespace umbra::test {

struct Caller {
    uid_t uid = 0;
    gid_t gid = 0;
    std::vector<gid_t> groups;  // supplementary
    mode_t umask = 022;
};

// What a system call returned; error is 0 when result is not -1.
struct CallResult {
    long result = 0;
    int error = 0;
    bool operator==(const CallResult&) const = default;
};

// Runs `call` in a forked child as `caller` and returns its result and, if that is -1, errno. An
// exception in the child is thrown again here as std::runtime_error; so is its death by a signal.
CallResult call_as(const Caller& caller, const std::function<long()>& call);

// The same for a function that answers with text.
std::string text_as(const Caller& caller, const std::function<std::string()>& function);

// What a function answered, or why it could not.
struct Answer {
    bool failed = false;
    std::string text;
};

// Runs many functions in order, as few forks as possible: a new child only after one has died. Each
// starts with the caller's umask and without the descriptors the one before left open, but in its
// working directory.
std::vector<Answer> answers_as(const Caller& caller,
                               const std::vector<std::function<std::string()>>& functions);

}  // namespace umbra::test
