// What smb.conf has to say for Samba to serve a share with its previous versions.
#pragma once

#include <string>
#include <string_view>

#include "snapstore/result.h"

namespace umbra {

struct SambaShare {
    std::string name;        // as clients see it
    std::string path;        // what is served: the mount point or a folder in it
    std::string mountpoint;  // of the share, where its .snapshots is
    bool snapdir_everywhere = false;
    // The umbra program, absolute: clients may create and delete snapshots with it
    // (vfs_shell_snap). Empty: they may not.
    std::string remote_snapshots_program;
};

// kUsage, saying what is wrong, for a name of a share that smb.conf or clients would misread.
Result<void> check_samba_share_name(std::string_view name);

// The whole section, ready to be put into smb.conf. kUsage for a name or a path that smb.conf would
// misread.
Result<std::string> samba_section(const SambaShare& share);

}  // namespace umbra
