// How a mounted share is made known to an NFS server: the text to put into its configuration.
#pragma once

#include <string>
#include <vector>

#include "snapstore/result.h"

namespace umbra {

struct NfsExport {
    std::string path;  // where the share is mounted; absolute
    std::string uuid;  // of the volume: what makes the export the same one after a restart
    std::vector<std::string> clients;  // addresses, networks, names; none: everybody
    bool read_only = false;
};

// An EXPORT block for nfs-ganesha (FSAL_VFS). kUsage for a path or client that cannot be written in
// its configuration.
Result<std::string> ganesha_export(const NfsExport& share);

// Lines for exports(5), the kernel's server.
Result<std::string> kernel_export(const NfsExport& share);

}  // namespace umbra
