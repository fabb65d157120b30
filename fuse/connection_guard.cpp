#include "fuse/connection_guard.h"

#include <linux/close_range.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

namespace umbra {

namespace {

// Runs in the forked process, where other threads' locks may be held for ever: system calls only.
[[noreturn]] void watch(int abort_switch, pid_t parent) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_BLOCK, &all, nullptr);
    prctl(PR_SET_NAME, "umbra-guard");
    prctl(PR_SET_PDEATHSIG, SIGUSR1);
    const int kept = 0;
    if (dup2(abort_switch, kept) < 0) _exit(1);
    syscall(SYS_close_range, kept + 1, ~0U, 0);
    sigset_t death;
    sigemptyset(&death);
    sigaddset(&death, SIGUSR1);
    int signal_number = 0;
    if (getppid() == parent) sigwait(&death, &signal_number);
    // Fails where the connection has ended already, as after a clean unmount.
    _exit(write(kept, "1", 1) == 1 ? 0 : 1);
}

}  // namespace

Result<ConnectionGuard> ConnectionGuard::start(UniqueFd abort_switch) {
    const pid_t parent = getpid();
    const pid_t process = fork();
    if (process < 0) return errno_error(errno, "cannot start the guard of the mount");
    if (process == 0) watch(abort_switch.get(), parent);
    return ConnectionGuard(process);
}

ConnectionGuard::~ConnectionGuard() {
    if (process_ < 0) return;
    kill(process_, SIGKILL);
    while (waitpid(process_, nullptr, 0) < 0 && errno == EINTR) {
    }
}

}  // namespace umbra
