// One way to ask a share for something, mounted or not: through its daemon's socket while it is
// mounted, by opening its volume while it is not.
#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "fuse/registry.h"
#include "fuse/share_path.h"
#include "snapstore/result.h"
#include "snapstore/volume.h"

namespace umbra {

class ShareAccess {
   public:
    virtual ~ShareAccess() = default;

    // A method of the control endpoint (docs/control.md): the same result either way.
    virtual Result<nlohmann::json> call(
        const std::string& method, const nlohmann::json& parameters = nlohmann::json::object()) = 0;
};

// `announce` gets what opening the volume tells. Errors of connecting, or of Volume::open.
Result<std::unique_ptr<ShareAccess>> open_share(const Registry& registry, const SharePath& share,
                                                std::function<void(const Event&)> announce);

// Makes the index of a share that is not mounted anew from its log. kRefused while it is mounted.
Result<void> rebuild_index(const SharePath& share, std::function<void(const Event&)> announce);

// Unmounts and waits until the daemon's process is gone, its volume closed. kNotFound when the
// share is not mounted; EBUSY while it is in use, and then nothing has changed; EBUSY also when it
// is unmounted, but some seconds later still served to another mount namespace.
Result<void> unmount_share(const Registry& registry, const std::string& path);

// Makes the daemon of a mounted share go on as the program that is installed now; returns when that
// answers. kNotFound when the share is not mounted; kRefused, with nothing changed, when a restore
// runs or the program would not do.
Result<void> restart_daemon(const Registry& registry, const std::string& path);

// Makes the daemon open the volume anew with what `wanted` names, parameters of the control
// socket's "remount"; returns when it answers with them, at once where they are in force. Where the
// volume cannot be opened so, it is open as before, and its error is returned.
Result<void> reopen_volume(const Registry& registry, const MountedShare& mounted,
                           const nlohmann::json& wanted);

}  // namespace umbra
