// The methods of the control endpoint that need nothing but the volume. The daemon answers its
// socket with them, and the command line calls them itself while a share is not mounted: one code
// path.
#pragma once

#include <unistd.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "snapstore/result.h"
#include "snapstore/volume.h"

namespace umbra {

// Who may call a method.
enum class MethodAccess {
    kAnyone,  // says nothing about names inside the share
    kReader,  // anyone, but only what he could look up himself is answered
    kOwner,   // root, or the owner of the share's root folder
    kRoot,
};

// No value when there is no such method.
std::optional<MethodAccess> method_access(const std::string& method);

// True for methods that change something: a read-only opened volume will not do.
bool method_changes(const std::string& method);

// Tells whether a version found in the snapshot with this token may be shown to the caller.
using VersionFilter = std::function<bool(const std::string& token, const std::string& path)>;

// Who calls; unless said otherwise root, in this process.
struct MethodCaller {
    uid_t uid = 0;
    pid_t pid = ::getpid();
    bool owner = true;      // root, or the owner of the share
    VersionFilter may_see;  // empty: everything
};

// Calls a method on an open volume and returns its result in its one JSON shape. Thread-safe as
// Volume is. kUsage for bad parameters.
Result<nlohmann::json> call_volume_method(Volume& volume, const std::string& method,
                                          const nlohmann::json& parameters,
                                          const MethodCaller& caller = {});

}  // namespace umbra
