// Whether the kernel's page cache may hold pages of an open file.
//
// Linux drops a FUSE file's pages before a direct write (O_DIRECT), and after it where the writer
// waits for it, but not after an asynchronous one (6.18: generic_file_direct_write leaves that to
// the filesystem, and FUSE's completion does nothing). What was read into the cache between the two
// would stay there, outdated, over closing and opening. So the daemon drops it before it answers.
#pragma once

#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>

#include <atomic>

namespace umbra {

// Does a read or a write of the kernel go past its page cache? O_DIRECT alone does not tell: pages
// of a mapping are asked for with the flags of the descriptor that was mapped. Only what a process
// transfers itself names a lock owner.
inline bool passes_page_cache(const fuse_file_info& info) {
    return (info.flags & O_DIRECT) != 0 && info.lock_owner != 0 && !info.writepage;
}

// Every method may be called from any thread.
class CachedPages {
   public:
    CachedPages() = default;
    CachedPages(CachedPages&& other) noexcept : possible_(other.possible()) {}
    CachedPages& operator=(CachedPages&&) = delete;

    // To be called before what is to be cached is read: a writer looks after it has written, so
    // that either he sees this or the new contents are read.
    void note() {
        if (!possible()) possible_ = true;
    }
    bool possible() const { return possible_; }

   private:
    std::atomic<bool> possible_ = false;
};

}  // namespace umbra
