// The modification time of a file that is open while the kernel's writeback cache is on.
//
// The kernel owns the modification time then: it sets it when write(2) is called and sends it
// later, with setattr, unless it is what it was. Writes of its dirty pages, which arrive even
// later, must leave it alone, or the file would show one time through the mount and another one
// below and in snapshots.
#pragma once

#include <sys/stat.h>

#include <ctime>
#include <mutex>

namespace umbra {

// Shared by all open files of a node. Every method may be called from any thread. Lock: a leaf
// lock, held for one system call.
class KeptTimes {
   public:
    explicit KeptTimes(struct timespec modification) : modification_(modification) {}

    // What the kernel has said it is. To be called before it is set below.
    void set(struct timespec modification) {
        const std::lock_guard lock(mutex_);
        modification_ = modification;
    }

    // After a write through `fd`: back to what the kernel has said.
    void restore(int fd) {
        const std::lock_guard lock(mutex_);
        const struct timespec times[2] = {{0, UTIME_OMIT}, modification_};
        ::futimens(fd, times);  // cannot fail on a file just written, but for a damaged filesystem
    }

    struct timespec modification() const {
        const std::lock_guard lock(mutex_);
        return modification_;
    }

   private:
    mutable std::mutex mutex_;
    struct timespec modification_;
};

}  // namespace umbra
