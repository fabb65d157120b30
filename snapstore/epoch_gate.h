// The change gate: every change to the live tree holds it shared, the cut of a snapshot holds it
// exclusively for the instant in which the epoch is raised. A waiting cut is let in before further
// changes (a plain std::shared_mutex would starve it).
//
// First in the lock order; see docs/architecture.md, "Locks". Never taken twice by one thread.
#pragma once

#include <pthread.h>

namespace umbra {

class EpochGate {
   public:
    EpochGate() {
        pthread_rwlockattr_t attributes;
        pthread_rwlockattr_init(&attributes);
        pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
        pthread_rwlock_init(&lock_, &attributes);
        pthread_rwlockattr_destroy(&attributes);
    }
    ~EpochGate() { pthread_rwlock_destroy(&lock_); }
    EpochGate(const EpochGate&) = delete;
    EpochGate& operator=(const EpochGate&) = delete;

    void lock_shared() { pthread_rwlock_rdlock(&lock_); }
    void unlock_shared() { pthread_rwlock_unlock(&lock_); }
    void lock() { pthread_rwlock_wrlock(&lock_); }
    void unlock() { pthread_rwlock_unlock(&lock_); }

   private:
    pthread_rwlock_t lock_;
};

}  // namespace umbra
