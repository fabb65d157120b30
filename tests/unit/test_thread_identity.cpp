// Which capabilities a thread has while it acts for others.
#include <doctest/doctest.h>
#include <linux/capability.h>
#include <sched.h>
#include <signal.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <fstream>
#include <optional>
#include <string>

#include "snapstore/thread_identity.h"
#include "tests/support/skip.h"

namespace umbra {
namespace {

bool has(int capability) {
    struct __user_cap_header_struct header {
        _LINUX_CAPABILITY_VERSION_3, 0
    };
    struct __user_cap_data_struct data[2] = {};
    syscall(SYS_capget, &header, data);
    return (data[capability / 32].effective >> (capability % 32) & 1) != 0;
}

bool overrides_limits() { return has(CAP_SYS_RESOURCE); }
bool overrides_permissions() { return has(CAP_DAC_OVERRIDE) && has(CAP_FOWNER) && has(CAP_CHOWN); }
uid_t acting_user() { return static_cast<uid_t>(setfsuid(static_cast<uid_t>(-1))); }

// The number of the first thing that is not as it should be, or 0.
int first_wrong() {
    const Caller user{1000, 1000, 022};
    if (!overrides_limits() || !overrides_permissions()) return 1;
    {
        const CallerScope scope(user);
        if (overrides_limits()) return 2;
        if (!overrides_permissions()) return 3;
        if (acting_user() != 1000) return 4;
    }
    if (!overrides_limits() || !overrides_permissions() || acting_user() != 0) return 5;
    {
        const OrdinaryRoomScope scope(true, user);
        if (overrides_limits()) return 6;
        if (!overrides_permissions()) return 7;
        if (acting_user() != 1000) return 8;
        {
            const OtherGroupScope inner(true, 2000);
            if (overrides_limits() || has(CAP_FSETID)) return 9;
        }
        if (overrides_limits() || !has(CAP_FSETID)) return 10;
    }
    if (!overrides_limits() || !overrides_permissions() || acting_user() != 0) return 11;
    {
        const OrdinaryRoomScope of_root(true, Caller{}), switched_off(false, user);
        if (!overrides_limits() || acting_user() != 0) return 12;
    }
    {
        const BoundScope scope(true);
        if (overrides_limits() || acting_user() != 0) return 13;
    }
    return overrides_limits() ? 0 : 14;
}

void put(const std::string& path, const char* text) { std::ofstream(path) << text; }

// In a user namespace of its own a process has every capability, also those that this machine does
// not give to root. No value where there can be none. Not by fork(2) and unshare(2), which a
// process with more threads is refused: sanitizers have one of their own.
std::optional<int> in_namespace(int (*function)()) {
    int ready[2];
    if (pipe(ready) != 0) return std::nullopt;
    const auto child = static_cast<pid_t>(
        syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, nullptr, nullptr, nullptr, nullptr));
    if (child == 0) {
        char byte = 0;
        static_cast<void>(!read(ready[0], &byte, 1));
        _exit(function());
    }
    int status = -1;
    if (child > 0) {
        const std::string process = "/proc/" + std::to_string(child);
        put(process + "/uid_map", "0 0 10000");
        put(process + "/gid_map", "0 0 10000");
        static_cast<void>(!write(ready[1], "y", 1));
        waitpid(child, &status, 0);
    }
    for (const int end : ready) close(end);
    if (child < 0) return std::nullopt;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

TEST_SUITE("thread identity") {
    TEST_CASE("who acts for an ordinary caller overrides permissions, but no limits") {
        const auto wrong = in_namespace(first_wrong);
        if (!wrong) {
            test::report_skip("user namespaces cannot be made");
            return;
        }
        CHECK(*wrong == 0);
    }
}

}  // namespace umbra
