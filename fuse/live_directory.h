// A directory of the live tree, read with getdents64. Positions are the underlying filesystem's, so
// that telldir and seekdir stay true while entries come and go.
#pragma once

#include <memory>

#include "fuse/directory_reader.h"
#include "fuse/mount_context.h"

namespace umbra {

// with_snapshots: lists .snapshots too, for the kernel that looks for its name (reconnections.h).
Result<std::unique_ptr<DirectoryReader>> open_live_directory(MountContext& context, NodeId node,
                                                             bool with_snapshots);

}  // namespace umbra
