// FUSE_STATX: getattr with the time of birth. The kernel sends it (Linux 6.6 and later) when
// somebody asks for that time; libfuse before 3.18 does not know it and would answer ENOSYS, so it
// is taken before libfuse sees it.
#pragma once

#include <cstddef>

#include "fuse/mount_context.h"

namespace umbra::statx_request {

// If the request in `buffer` is a FUSE_STATX, answers it to `device`, the descriptor it was read
// from, and returns true.
bool answered(MountContext& context, int device, const char* buffer, std::size_t size) noexcept;

}  // namespace umbra::statx_request
