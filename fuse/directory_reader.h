// An open directory of the mount, read entry by entry: the live tree, a snapshot's or .snapshots.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <mutex>

#include "fuse/node_id.h"
#include "fuse/reply.h"
#include "snapstore/result.h"

namespace umbra {

struct DirectoryItem {
    const char* name = "";   // valid until the reader moves on
    ino_t inode = 0;         // as stat shows it
    unsigned char type = 0;  // DT_*
    off_t next = 0;          // where reading goes on behind this entry
    bool is_dots() const;    // "." or ".."
};

// Not thread-safe by itself: whoever reads holds mutex() from seek() to the last advance(), also
// while the store looks at the entries. It is the outermost lock: the store never calls back into
// fuse/.
class DirectoryReader {
   public:
    virtual ~DirectoryReader() = default;

    // 0, or the `next` of an item seen before.
    virtual Result<void> seek(off_t position) = 0;
    // The item at the position; null at the end.
    virtual Result<const DirectoryItem*> current() = 0;
    virtual void advance() = 0;
    // What the kernel is to know of an item other than "." and "..". ENOENT: it has gone meanwhile.
    virtual Result<NodeEntry> entry_of(const DirectoryItem& item) = 0;
    // Does the kernel know the item's node? False where only looking at it would tell.
    virtual bool known_to_kernel(const DirectoryItem& /*item*/) const { return false; }
    // fsync(2) of the directory.
    virtual Result<void> synchronize() { return {}; }
    // May the kernel keep the listing? True where every change passes through the kernel.
    virtual bool cacheable() const { return true; }

    std::mutex& mutex() { return mutex_; }

    // Has the kernel been told of the entries so lately that a name is enough for those it knows?
    // Guarded by mutex().
    bool told_lately = false;

   private:
    std::mutex mutex_;
};

}  // namespace umbra
