// Descriptors that a process keeps over exec(2), by their numbers.
#pragma once

#include "snapstore/unique_fd.h"

namespace umbra {

// The number of a descriptor that from now on stays open over exec(2), and is released from `fd`;
// -1 where there is none.
int inherited(UniqueFd& fd);

// The other side: owns what inherited() returned, and keeps it from further programs. None for -1.
UniqueFd taken_over(int number);

}  // namespace umbra
