// A share with snapshots of which everything is known, to see whether a fault took anything away.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "tests/support/random.h"
#include "tests/support/tree.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {

class KnownHistory {
   public:
    KnownHistory(UmbraMount& mount, Random& random) : mount_(mount), random_(random) {}

    // Changes the share in every way that leaves undo records, and makes a snapshot, `count` times.
    void grow(int count);

    // What differs between what the snapshots show and what they must show; empty when nothing
    // does.
    std::string flaws();

    // As flaws(), but what answers EIO counts as damaged, not as wrong. `damaged` becomes the
    // number of names that do.
    std::string wrong(size_t& damaged);

    const std::map<std::string, Tree>& expected() const { return expected_; }
    size_t names() const;

   private:
    void change();

    UmbraMount& mount_;
    Random& random_;
    std::map<std::string, Tree> expected_;
    int round_ = 0;
};

}  // namespace umbra::test
