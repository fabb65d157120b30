#include "fuse/signal_watcher.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>

#include <cstdint>

namespace umbra {

Result<SignalWatcher> SignalWatcher::block() {
    sigset_t wanted;
    ::sigemptyset(&wanted);
    for (const int number : {SIGTERM, SIGINT, SIGHUP}) ::sigaddset(&wanted, number);
    if (const int code = ::pthread_sigmask(SIG_BLOCK, &wanted, nullptr); code != 0) {
        return errno_error(code, "cannot block signals");
    }
    // A reader that goes away must not end the daemon.
    ::signal(SIGPIPE, SIG_IGN);
    UniqueFd signals(::signalfd(-1, &wanted, SFD_CLOEXEC | SFD_NONBLOCK));
    UniqueFd end(::eventfd(0, EFD_CLOEXEC));
    if (!signals.valid() || !end.valid()) return errno_error(errno, "cannot watch for signals");
    return SignalWatcher(std::move(signals), std::move(end));
}

SignalWatcher::~SignalWatcher() { stop(); }

void SignalWatcher::watch(std::function<void(int)> asked) {
    thread_ = std::thread([signals = signals_.get(), end = end_.get(), asked = std::move(asked)] {
        struct pollfd waited[2] = {{signals, POLLIN, 0}, {end, POLLIN, 0}};
        for (;;) {
            if (::poll(waited, 2, -1) < 0) {
                if (errno == EINTR) continue;
                return;
            }
            if (waited[1].revents != 0) return;
            struct signalfd_siginfo info {};
            if (::read(signals, &info, sizeof info) == sizeof info)
                asked(static_cast<int>(info.ssi_signo));
        }
    });
}

void SignalWatcher::stop() {
    if (!thread_.joinable()) return;
    const std::uint64_t one = 1;
    (void)!::write(end_.get(), &one, sizeof one);
    thread_.join();
}

}  // namespace umbra
