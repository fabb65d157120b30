// Leaving a test out, loudly, where the machine cannot run it.
#pragma once

#include <optional>
#include <string>

#include "tests/support/ram_image.h"

namespace umbra::test {

// What this machine lacks for mounting shares on images (root, /dev/fuse, loop devices, mkfs of the
// type, the umbra program), or nothing.
std::optional<std::string> missing_for_mounts();
std::optional<std::string> missing_for_image(FilesystemType type);

// Prints "SKIPPED: reason" to stderr. Where the environment says CI=true nothing may be left out:
// throws std::runtime_error instead, which fails the test.
void report_skip(const std::string& reason);

// How often report_skip() was called in this process.
int skip_count();

}  // namespace umbra::test

// Leaves the test case when there is a reason.
#define UMBRA_SKIP_IF(reason)                          \
    do {                                               \
        if (const auto skip_reason_ = (reason)) {      \
            ::umbra::test::report_skip(*skip_reason_); \
            return;                                    \
        }                                              \
    } while (false)

// The first line of a test case that mounts a share.
#define UMBRA_NEEDS_MOUNTS() UMBRA_SKIP_IF(::umbra::test::missing_for_mounts())
