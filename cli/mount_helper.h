// The program under the names that mount(8) and umount(8) look for: mount.umbra, mount.fuse.umbra,
// umount.umbra, umount.fuse.umbra.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "snapstore/result.h"

namespace umbra {

struct HelperCall {
    // What umbra is to be called with; empty: nothing is to be done (mount -f).
    std::vector<std::string> arguments;
};

// What such a call means. No value where the program is not called by one of these names. kUsage
// for what umbra cannot do.
Result<std::optional<HelperCall>> helper_call(const std::vector<std::string>& argv);

// The exit codes of mount(8).
inline constexpr int kMountDone = 0;
inline constexpr int kMountUsage = 1;
inline constexpr int kMountFailed = 32;

}  // namespace umbra
