// What a caller of the control endpoint may do.
#pragma once

#include <string>

#include "fuse/control_server.h"
#include "fuse/volume_methods.h"
#include "snapstore/result.h"

namespace umbra {

// kRefused, saying who may, when this caller may not. `owner`: of the share's root folder.
Result<void> check_method_access(const std::string& method, const PeerIdentity& peer, uid_t owner);

// True for root and the owner, who may see every name.
bool sees_everything(const PeerIdentity& peer, uid_t owner);

// True when the caller himself could look up MOUNTPOINT/.snapshots/TOKEN/PATH, with his user,
// groups and no capabilities. Asks the mount, so it must not be called by a thread that serves it.
bool caller_can_look_up(const PeerIdentity& peer, const std::string& mountpoint,
                        const std::string& token, const std::string& path);

}  // namespace umbra
