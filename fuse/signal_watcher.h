// SIGTERM, SIGINT and SIGHUP as an ordinary call in an ordinary thread.
#pragma once

#include <functional>
#include <thread>

#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

class SignalWatcher {
   public:
    // Blocks the signals in this thread and those it starts later: call it before any other thread
    // exists.
    static Result<SignalWatcher> block();

    SignalWatcher(SignalWatcher&&) noexcept = default;
    SignalWatcher& operator=(SignalWatcher&&) = delete;
    ~SignalWatcher();

    // Readable while a signal waits that nobody has taken.
    int descriptor() const { return signals_.get(); }

    // Calls `asked` from a thread of its own for every signal that has come or comes.
    void watch(std::function<void(int signal_number)> asked);
    // Returns when no call is under way; none follows. Harmless without watch().
    void stop();

   private:
    SignalWatcher(UniqueFd signals, UniqueFd end)
        : signals_(std::move(signals)), end_(std::move(end)) {}

    UniqueFd signals_;
    UniqueFd end_;
    std::thread thread_;
};

}  // namespace umbra
