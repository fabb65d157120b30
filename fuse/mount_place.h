// Where a share may be made and mounted: never inside another share, around one, or over a mount.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "fuse/registry.h"
#include "snapstore/result.h"

namespace umbra {

struct MountPlace {
    std::string share;       // absolute, without symbolic links
    std::string mountpoint;  // the same when in place
};

// How long a mount waits for the daemon of a former one, which closes its volume after the
// unmounting.
inline constexpr std::chrono::seconds kEndingPatience{30};

// Whether a registered share is mounted in this mount namespace: when not, its daemon is ending, or
// serves another namespace.
bool is_shown(const MountedShare& mounted);

// Checks a folder that is to be (made) a share: it exists, is a folder, is not mounted, and neither
// lies in another share nor contains one that is mounted. Waits kEndingPatience for a daemon of it
// that is ending. Returns its canonical path. kNotFound, or kRefused naming the other share.
Result<std::string> check_share_place(const Registry& registry, const std::string& share);

// The canonical path of a diff area outside its share must lie in no share at all: kUsage when it
// lies in its own, kRefused naming the other one.
Result<void> check_diff_area_place(const Registry& registry, const std::string& share,
                                   const std::string& diff_area);

// check_share_place, and the same for the mount point. Detaches mounts at both places whose daemon
// has died, calling `note` with a sentence for each.
Result<MountPlace> plan_mount(const Registry& registry, const std::string& share,
                              const std::optional<std::string>& mountpoint,
                              const std::function<void(const std::string&)>& note);

}  // namespace umbra
