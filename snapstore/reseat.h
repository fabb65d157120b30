// Replacing a directory by another with the same files, so that a process which still has the old
// one open changes nothing in the new one: it may be a former owner of the volume that is not as
// dead as it was taken for.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "snapstore/result.h"

namespace umbra {

using PickFiles = std::function<std::vector<std::string>(const std::vector<std::string>& files)>;

// Files that `changing` picks, those that the process may be appending to, are copied; the others
// are linked. Durable on return. Interrupted it has done nothing, or all but cleaning up,
// which the next call and remove_unseated do. Errors: no space for the copies, and what the calls
// of the filesystem say; nothing has changed then.
Result<void> reseat_directory(int parent, const std::string& name, const PickFiles& changing);

// Removes what an interrupted reseat_directory left.
void remove_unseated(int parent, const std::string& name);

}  // namespace umbra
