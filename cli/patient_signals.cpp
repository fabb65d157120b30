#include "cli/patient_signals.h"

#include <ctime>
#include <initializer_list>

namespace umbra {

PatientSignals::PatientSignals() {
    ::sigemptyset(&watched_);
    for (const int number : {SIGINT, SIGTERM, SIGHUP}) ::sigaddset(&watched_, number);
    ::pthread_sigmask(SIG_BLOCK, &watched_, &before_);
}

PatientSignals::~PatientSignals() {
    // Those that came have had their effect.
    const struct timespec now {};
    while (::sigtimedwait(&watched_, nullptr, &now) > 0) {
    }
    ::pthread_sigmask(SIG_SETMASK, &before_, nullptr);
}

bool PatientSignals::asked_to_stop() {
    sigset_t pending;
    ::sigpending(&pending);
    return ::sigismember(&pending, SIGINT) == 1 || ::sigismember(&pending, SIGTERM) == 1 ||
           ::sigismember(&pending, SIGHUP) == 1;
}

}  // namespace umbra
