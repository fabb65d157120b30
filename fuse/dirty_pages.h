// Before a cut: what the kernel still holds dirty comes to the store.
#pragma once

#include <fuse3/fuse_lowlevel.h>

#include "fuse/mount_context.h"

namespace umbra {

// Makes the kernel send, and waits for, every write that it has not sent yet: pages dirtied through
// shared mappings and, with the writeback cache, by write(2), and then the modification times that
// belong to them. Needs free worker threads, so it must not run on one. One call at a time.
//
// Two ways lead there. Telling the kernel to drop an inode's pages writes the dirty ones first;
// that is one system call, but the pages are gone. fsync through the mount keeps them and writes
// the times too, for three requests. So the first is for small files, the second for large ones and
// for the writeback cache.
void hand_over_dirty_pages(MountContext& context, fuse_session* session);

}  // namespace umbra
