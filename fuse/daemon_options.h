// How a share is to be mounted.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "snapstore/ownership.h"
#include "snapstore/result.h"

namespace umbra {

inline constexpr std::int64_t kLongestWaitSeconds = 7 * 24 * 3600;

struct DaemonOptions {
    std::string share;  // absolute, without symbolic links, as plan_mount returns them
    std::string mountpoint;
    bool initialise = false;       // make the folder a share with defaults when it is none
    bool end_with_parent = false;  // get SIGTERM when the process that started the daemon ends
    bool read_only = false;
    bool writeback = false;
    bool take_over = false;  // from another host, which cannot write any more
    std::chrono::seconds lease = Ownership::kDefaultLease;
    bool debug = false;
    std::chrono::seconds wait{0};  // for a diff area that is missing
    std::uint64_t memory_bytes = 128ull << 20;
    std::vector<std::string> extra_options;  // for the kernel, one option each

    // The options in the form of -o, for people to read.
    std::string text() const;

    // Without what is for the first opening of the volume only.
    DaemonOptions for_later_life() const;
};

// Adds what a comma separated list as given to -o asks for. kUsage naming the first option that is
// unknown or has a bad value; nothing is changed then.
Result<void> add_mount_options(DaemonOptions& options, std::string_view list);

}  // namespace umbra
