// A daemon that goes on as another program, without anybody who uses the mount noticing more than a
// pause: it answers what is under way, closes its volume, and calls exec(2) with everything that is
// open. The kernel's requests wait meanwhile. The process stays the same one.
//
// docs/architecture.md, "Life of a restart of the daemon".
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "fuse/daemon_options.h"
#include "fuse/mount_session.h"
#include "fuse/registry.h"
#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

struct HandOver {
    DaemonOptions options;
    MountedShare mounted;
    std::string registry_directory;
    bool foreground = false;  // logs to stderr
    pid_t guard = -1;
    std::uint64_t restarts = 0;  // including the one under way
    // Why the volume is not open with the options of a remount. Not told to another program.
    std::optional<Error> remount_failure;
    UniqueFd folder;  // of the share, below the mount
    UniqueFd registry_entry;
    UniqueFd socket;  // of the control endpoint
    MountState mount;
};

MountOptions mount_options(const DaemonOptions& options);

// The program that this process was started from, as it is installed now.
Result<std::string> successor_program();

// Asks that program whether it would go on with this mount. kRefused when it would not.
Result<void> check_successor(const DaemonOptions& options, const std::string& init_request,
                             const std::string& init_reply);

// Becomes that program. Returns only when that is not possible; then with what was to be handed
// over, and why not. To be called by the process's first thread, as the only one that does
// anything.
struct NotHandedOver {
    HandOver state;
    Error reason;
};
NotHandedOver become_successor(HandOver state);

// The other side: what descriptor `number` holds.
Result<HandOver> take_hand_over(int number);

}  // namespace umbra
