// The generation of an inode on XFS, which its file handles cannot do without.
#pragma once

#include <cstdint>

#include "snapstore/result.h"

namespace umbra {

// `filesystem_fd`: any open descriptor on the filesystem. ESTALE when no file has this inode number
// now. Needs CAP_SYS_ADMIN.
Result<std::uint32_t> xfs_generation(int filesystem_fd, std::uint64_t inode);

}  // namespace umbra
