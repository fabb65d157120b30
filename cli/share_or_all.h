// Commands that do something to one share, or to all that are mounted.
#pragma once

#include <functional>
#include <string>

#include "cli/command.h"

namespace umbra {

struct ShareOrAll {
    std::string share;
    bool all = false;
};

// SHARE or --all, one of them.
void add_share_or_all(Command command, ShareOrAll& options);

// With --all each failure is said, the others go on, and the exit code is the last failure's.
Result<ExitCode> for_each_share(const ShareOrAll& options,
                                const std::function<Result<void>(const std::string&)>& act);

}  // namespace umbra
