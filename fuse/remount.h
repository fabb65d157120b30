// What mount(8)'s option "remount" changes of a share that is mounted: everything that is open
// stays so.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "fuse/registry.h"
#include "snapstore/result.h"

namespace umbra {

struct RemountOptions {
    std::optional<bool> read_only;
    std::optional<std::uint64_t> memory_bytes;
    std::optional<std::int64_t> lease_seconds;
    // Of the kernel's mount, as fsconfig(2) and mount_setattr(2) have them. What is not named
    // stays.
    std::vector<std::string> superblock_flags;  // besides "ro" and "rw"
    std::uint64_t set_attributes = 0;
    std::uint64_t clear_attributes = 0;
    // What a mount has or has not from its beginning.
    bool writeback = false;
    bool debug = false;
};

// Is "remount" among the options of these lists, as given to -o?
bool asks_to_remount(const std::vector<std::string>& lists);

// The lists' options, of which the last one counts. What mount(8) adds from /proc/self/mountinfo is
// passed over. kUsage naming the first that is unknown or has a bad value.
Result<RemountOptions> parse_remount(const std::vector<std::string>& lists);

// Changes a mounted share, given by its folder or mount point; only root may. A share becomes
// read-only before its volume is opened anew as such, and writable after: nothing is ever written
// to a mount whose volume would not preserve it. Where it fails, the mount stays as it was. Errors:
// kNotFound when it is not mounted; EBUSY when files are open for writing, a restore runs, or
// something else is mounted over it; kRefused for what only a new mount can have; those of opening
// a volume.
Result<void> remount_share(const Registry& registry, const std::string& path,
                           const RemountOptions& options);

}  // namespace umbra
