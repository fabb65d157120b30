// Snapshots seen at folders of their own: read-only binds of what .snapshots shows. Nothing is kept
// about them: the kernel's table of mounts says where they are, so that umount(8) does as well.
#pragma once

#include <string>
#include <vector>

#include "snapstore/result.h"

namespace umbra {

struct Exposure {
    std::string token;
    std::string mountpoint;
};

// Those of the share that is mounted at `share_root`, in the order of mounting.
Result<std::vector<Exposure>> find_exposures(const std::string& share_root);

// Whether a snapshot could be exposed there by this process: root only, and at an empty folder
// which is reached through no symbolic link and lies in no share.
Result<void> check_exposure_place(const std::string& path);

// Read-only, without set-user-id and devices.
Result<void> expose_snapshot(const std::string& share_root, const std::string& token,
                             const std::string& path);
// Unmounts the exposure that find_exposures() has there. EBUSY while programs use it.
Result<void> unexpose_snapshot(const std::string& mountpoint);

}  // namespace umbra
