// The process that serves a mounted share: opens the volume, mounts it, answers its control socket,
// and on unmounting closes everything in order.
#pragma once

#include <sys/types.h>

#include <functional>

#include "fuse/daemon_options.h"
#include "fuse/registry.h"
#include "snapstore/result.h"
#include "snapstore/volume.h"

namespace umbra {

// What a daemon says of itself until its mount answers.
struct DaemonReport {
    std::function<void(const Event&)> event;  // from any thread
    std::function<void()> ready;  // the mount exists and is about to answer, the socket listens
    bool foreground = false;      // logs to stderr
    int abandoned_fd = -1;        // a pipe's writing end: nobody waits any more once it has POLLERR
};

// Serves in this process until unmounted or told to stop by SIGTERM, SIGINT or SIGHUP. Call it
// while the process has no other thread. The error is why it could not start, or why serving ended
// early.
Result<void> run_daemon(const DaemonOptions& options, const Registry& registry,
                        const DaemonReport& report);

// The same, logging to stderr.
Result<void> run_in_foreground(const DaemonOptions& options, const Registry& registry);

// Goes on with what a predecessor has handed over (fuse/hand_over.h), as run_daemon does. It logs
// its error itself.
Result<void> go_on(int hand_over);

// Would go_on() go on with it? Changes nothing.
Result<void> check_hand_over(int hand_over);

// Forks a daemon that logs to syslog; returns its process id when its mount answers. Its error is
// ours, and then nothing of it is left. `announce` gets what happens meanwhile.
Result<pid_t> start_daemon(const DaemonOptions& options, const Registry& registry,
                           const std::function<void(const Event&)>& announce);

}  // namespace umbra
