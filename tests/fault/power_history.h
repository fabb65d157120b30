// What must be found after a power cut, depending on when it came. Times are numbers of disk
// operations (RecordingDisks::position).
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "tests/support/tree.h"

namespace umbra::test {

constexpr size_t kNever = SIZE_MAX;

struct KeptSnapshot {
    std::string token;
    Tree expected;
    size_t creation_began = 0;
    size_t created = 0;  // the creation had returned
    size_t deletion_began = kNever;
    size_t deleted = kNever;

    bool must_be_there(size_t point) const { return created <= point && point <= deletion_began; }
    bool may_be_there(size_t point) const { return creation_began <= point && point < deleted; }
};

struct SyncedFile {
    std::string path;
    int object = 0;
    mode_t mode = 0;
    std::string contents;
    size_t synced = 0;  // fsync had returned
    size_t changed = kNever;

    bool must_be_there(size_t point) const { return synced <= point && point <= changed; }
};

struct PowerHistory {
    size_t begin = 0;  // the share was there, synced
    std::vector<KeptSnapshot> snapshots;
    std::vector<SyncedFile> synced;
    // Moments from which on something must hold, by what that is.
    std::map<std::string, std::vector<size_t>> marks;
    // What was done, and when it began.
    std::vector<std::pair<size_t, std::string>> notes;

    // The last things done before a point, for messages.
    std::string recent(size_t point, size_t most = 12) const;
};

}  // namespace umbra::test
