// What /proc/self/mountinfo says.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "snapstore/result.h"

namespace umbra {

struct MountTableEntry {
    std::string device;      // "major:minor": the mounted filesystem's own
    std::string mountpoint;  // absolute, unescaped
    std::string type;        // for example "fuse.umbra"
    std::string root{};      // what of the filesystem is seen there: "/" all of it
};

// In the order of mounting as the kernel lists it: of two entries at one place the later one is on
// top.
Result<std::vector<MountTableEntry>> read_mount_table();

// What `text`, in the form of /proc/self/mountinfo, says; lines of another form are left out.
std::vector<MountTableEntry> parse_mount_table(std::string_view text);

// The topmost mount exactly at this path.
std::optional<MountTableEntry> mount_at(const std::vector<MountTableEntry>& table,
                                        std::string_view mountpoint);

}  // namespace umbra
