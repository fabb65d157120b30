// Where an object is in the live tree, as the underlying filesystem's dentry cache knows it.
#pragma once

#include "snapstore/attributes.h"
#include "snapstore/live_mount.h"

namespace umbra {

// A name of the object behind `fd` (O_PATH is enough), checked against the tree. For directories it
// is always found, for other objects it is a hint that may be missing: then the location is
// unknown. The root has none.
Location locate(const LiveMount& mount, ObjectId object, int fd);

}  // namespace umbra
