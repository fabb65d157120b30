// Whether the live filesystem treats ordinary users' requests for room otherwise than root's, who
// is what the daemon runs as: it has room left that is kept for root (ext4), or limits what users,
// groups, projects or subvolumes may take (quotas).
#pragma once

#include <atomic>
#include <cstdint>

namespace umbra {

// Looks at most once a second, and takes a filesystem that is nowhere near full for one with room
// for everybody. `fd` is anything open on it, always the same one. From any thread.
class RootReserve {
   public:
    // True where a change must be made as its author, since it may be refused to him alone, and
    // where nobody can tell.
    bool matters(int fd);
    // True where there are limits at all: room that is free may be refused.
    bool has_quotas(int fd);

   private:
    void look(int fd);

    std::atomic<std::int64_t> looked_{-1};  // second of the monotonic clock
    std::atomic<bool> nearly_full_{true};
    std::atomic<bool> quotas_{true};
};

}  // namespace umbra
