// The files that scripts execute.
#pragma once

#include <string>
#include <vector>

#include "snapstore/result.h"

namespace umbra {

// Whether this user can execute the file; a name without a slash is one of this folder.
Result<void> check_program(const std::string& file);

// Executes it with its arguments, this process's environment and rights, and `environment` (each
// NAME=VALUE) besides; waits until it ends. An error where that is not with 0. Asked to stop, this
// process asks the program to.
Result<void> run_program(const std::vector<std::string>& command,
                         const std::vector<std::string>& environment);

}  // namespace umbra
