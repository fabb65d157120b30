// A directory of the live tree, read with getdents64. Positions are the underlying filesystem's, so
// that telldir and seekdir stay true while entries come and go.
#pragma once

#include <memory>

#include "fuse/directory_reader.h"
#include "fuse/mount_context.h"

namespace umbra {

Result<std::unique_ptr<DirectoryReader>> open_live_directory(MountContext& context, NodeId node);

}  // namespace umbra
