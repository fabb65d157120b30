// statfs
#include "fuse/operations.h"

namespace umbra::operations {

// Also inside snapshots: they share the space of the live tree.
void statfs(Request& request, fuse_ino_t /*node*/) {
    const auto status = request.context().live().filesystem_status();
    if (!status) return request.error(status.error());
    request.statistics(*status);
}

}  // namespace umbra::operations
