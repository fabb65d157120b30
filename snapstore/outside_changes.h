// What was changed in the live tree while no Umbra was there to see it: its snapshots show these
// changes, since nobody preserved what was there before. That cannot be undone, but it is found and
// said. An object that was changed, or a directory in which a name was, has a change time between
// the end of one mount and the beginning of the next, and no call can set that.
#pragma once

#include <sys/stat.h>

#include <atomic>
#include <cstdint>
#include <ctime>
#include <functional>
#include <mutex>
#include <roaring/roaring64map.hh>
#include <string>
#include <thread>
#include <vector>

#include "snapstore/live_mount.h"

namespace umbra {

// Thread-safe. Its lock is a leaf.
class OutsideChanges {
   public:
    struct Found {
        std::uint64_t count = 0;
        std::vector<std::string> examples;  // some of them: paths in the share
        bool complete = false;              // everything has been looked at
    };

    // What changed after `from` and before `until` was changed by others.
    OutsideChanges(const struct timespec& from, const struct timespec& until)
        : from_(from), until_(until) {}
    ~OutsideChanges();  // ends the search
    OutsideChanges(const OutsideChanges&) = delete;
    OutsideChanges& operator=(const OutsideChanges&) = delete;

    // Looks at the whole tree on a thread of its own that gives way to everybody, and calls
    // `finished` there at the end; not if it is ended before.
    void search(const LiveMount& mount, std::function<void(const Found&)> finished);

    // For an object that is about to be changed, and will tell nothing any more then.
    void look(const struct stat& status);

    Found found() const;

   private:
    bool by_others(const struct stat& status) const;
    void note(const struct stat& status, const std::string& path);
    void walk(const LiveMount& mount);

    const struct timespec from_, until_;
    std::atomic<bool> ending_{false};
    mutable std::mutex mutex_;  // guards what follows
    Found found_;
    Roaring64Map inodes_;  // of what was found: the search may come by again
    std::thread thread_;
};

}  // namespace umbra
