// Ends the mount's connection when the daemon dies in the middle of handing over dirty pages. A
// daemon that is killed there keeps one thread in the kernel, waiting for an answer that only the
// daemon could give; that thread keeps /dev/fuse open, so the kernel never notices, and everybody
// who touches the mount waits for ever.
#pragma once

#include <sys/types.h>

#include <utility>

#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

class ConnectionGuard {
   public:
    // Starts a small process that writes to `abort_switch` (KernelMount::abort_switch) once the
    // calling thread has ended: call it from the daemon's main thread, after the mount.
    static Result<ConnectionGuard> start(UniqueFd abort_switch);
    // One that this process started before exec(2), by release()'s number.
    static ConnectionGuard adopt(pid_t process) { return ConnectionGuard(process); }
    // It goes on; nobody ends it.
    pid_t release() { return std::exchange(process_, -1); }
    ConnectionGuard(ConnectionGuard&& other) noexcept
        : process_(std::exchange(other.process_, -1)) {}
    ConnectionGuard& operator=(ConnectionGuard&&) = delete;
    ~ConnectionGuard();

   private:
    explicit ConnectionGuard(pid_t process) : process_(process) {}
    pid_t process_;
};

}  // namespace umbra
