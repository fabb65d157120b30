// Test cases of the .snapshots view, one for each filesystem type.
#pragma once

#include <doctest/doctest.h>

#include "tests/support/ram_image.h"
#include "tests/support/skip.h"

#define UMBRA_ON_ONE_FILESYSTEM(title, function, name, type)                    \
    TEST_CASE(title " on " name* doctest::test_suite("snapshots-view-" name)) { \
        UMBRA_NEEDS_MOUNTS();                                                   \
        function(::umbra::test::FilesystemType::type);                          \
    }

// `function` takes the FilesystemType.
#define UMBRA_ON_EACH_FILESYSTEM(title, function)          \
    UMBRA_ON_ONE_FILESYSTEM(title, function, "ext4", Ext4) \
    UMBRA_ON_ONE_FILESYSTEM(title, function, "xfs", Xfs)   \
    UMBRA_ON_ONE_FILESYSTEM(title, function, "btrfs", Btrfs)
