// What a starting daemon tells the command that waits for it, through a pipe: a JSON object a line.
#pragma once

#include <functional>
#include <mutex>

#include "snapstore/result.h"
#include "snapstore/unique_fd.h"
#include "snapstore/volume.h"

namespace umbra {

// The daemon's end. Thread-safe. After ready or error it is closed and says no more.
class DaemonChannel {
   public:
    explicit DaemonChannel(UniqueFd pipe) : pipe_(std::move(pipe)) {}

    int descriptor() const { return pipe_.get(); }
    void send_event(const Event& event);
    void send_ready();
    void send_error(const Error& error);

   private:
    std::mutex mutex_;
    UniqueFd pipe_;  // guarded by mutex_
};

// The command's end: waits until the daemon is ready, or returns its error; events are passed on.
Result<void> await_daemon(UniqueFd pipe, const std::function<void(const Event&)>& announce);

}  // namespace umbra
