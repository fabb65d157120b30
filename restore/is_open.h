// Whether somebody has a file open.
#pragma once

namespace umbra {

// Does somebody have the regular file behind `object` (O_PATH is enough) open: for writing, or
// (`at_all`) in any way? The kernel knows, and tells by giving a lease or not. It tells only the
// owner and root; and of a share only what was opened through its mount. False where it cannot be
// known.
bool is_open_elsewhere(int object, bool at_all);

}  // namespace umbra
