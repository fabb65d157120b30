// Threads that look for the name of .snapshots in the root.
//
// To open a file handle of a directory inside a snapshot (an NFS client's, after the server was
// restarted) the kernel connects it with the root: it asks for the parent by "..", up to the root,
// and then lists each parent to find its child's name. .snapshots is not listed, but for the thread
// that has just asked for its parent.
#pragma once

#include <sys/types.h>

#include <mutex>
#include <unordered_set>

namespace umbra {

// Every method may be called from any thread. Lock: a leaf.
class Reconnections {
   public:
    // The thread has asked for the parent of .snapshots.
    void begin(pid_t thread) {
        const std::lock_guard lock(mutex_);
        if (threads_.size() >= kMost) threads_.clear();
        threads_.insert(thread);
    }

    // Has it? Then it is about to look for the name: once.
    bool take(pid_t thread) {
        const std::lock_guard lock(mutex_);
        return threads_.erase(thread) != 0;
    }

   private:
    static constexpr std::size_t kMost = 1024;  // an interrupted one never comes back

    std::mutex mutex_;
    std::unordered_set<pid_t> threads_;
};

}  // namespace umbra
