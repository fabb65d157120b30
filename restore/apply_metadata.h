// Giving an object the mode, owner, extended attributes and times it had.
#pragma once

#include "snapstore/attributes.h"
#include "snapstore/result.h"

namespace umbra {

// What could not be set because the user may not, or the filesystem cannot; the rest was.
struct MetadataOutcome {
    bool owner_left = false;
    bool extended_left = false;
};

// `object` is any descriptor of it (O_PATH is enough), `present` what it has now. When the owner
// cannot be given, set-user-ID and set-group-ID bits are not given either. Other failures: the
// errno.
Result<MetadataOutcome> apply_metadata(int object, const Attributes& wanted,
                                       const Attributes& present);

}  // namespace umbra
