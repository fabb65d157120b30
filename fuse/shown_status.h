// What getattr and its relatives answer with (fuse/attributes.cpp).
#pragma once

#include <sys/stat.h>

#include "fuse/mount_context.h"

namespace umbra {

// A node's attributes as the mount shows them. `handle`: the open file that the kernel names, or
// null. Errors as LiveTree::status().
Result<struct stat> shown_status(MountContext& context, NodeId node, FileHandle* handle);

}  // namespace umbra
