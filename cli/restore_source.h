// Where a restore reads from and writes to: the share's mount, or a private one while it is not
// mounted.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fuse/private_mount.h"
#include "fuse/share_path.h"
#include "restore/restore_job.h"
#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

// Closed in the right order by its destructor: descriptors before the mount.
struct RestoreSource {
    std::unique_ptr<PrivateMount> mount;
    UniqueFd snapshot_root;
    UniqueFd target_root;    // invalid in a dry run into a folder that does not exist
    std::string shown_root;  // how people call the target root
    std::string token;
    std::vector<RestorePath> paths;
    SharePath share;  // as it is seen now
    JobSpec spec;     // snapshot and target root; no components
    bool read_only = false;
};

// Finds the share that all paths lie in and the snapshot (token or label), checks that the snapshot
// has them, and opens both roots; `to` is made if it is missing, unless in a dry run. kNotFound and
// kUsage as they apply.
Result<RestoreSource> open_restore(const std::vector<std::string>& paths, const std::string& from,
                                   const std::optional<std::string>& to, bool dry_run);

// The share, mounted for this process alone where it is not mounted, which only root can do.
struct SeenShare {
    std::unique_ptr<PrivateMount> mount;
    SharePath share;
};
Result<SeenShare> see_share(const SharePath& share);

// Token of a snapshot of the share by token or label.
Result<std::string> find_snapshot_token(const SharePath& share, const std::string& name);

}  // namespace umbra
