// What `difference` and `versions` must say, found out by comparing pictures of whole trees.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "snapstore/history.h"
#include "tests/unit/picture.h"

namespace umbra::test {

// "" when `found` tells the difference of the two trees, otherwise what is wrong with it. Objects
// with several names are left out: which of their names is told is not laid down.
std::string check_difference(const Picture& from, const Picture& to,
                             const std::vector<Difference>& found);

// "" when `found` covers each snapshot that has `path` once, and one version is the same
// throughout.
std::string check_versions(const std::map<Epoch, Picture>& snapshots, const Picture& now,
                           const std::string& path, const std::vector<Version>& found);

std::string describe(const Difference& difference);

}  // namespace umbra::test
