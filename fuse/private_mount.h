// A share mounted for this process alone: in a mount namespace of its own, seen by nobody else.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <string>

#include "snapstore/result.h"
#include "snapstore/volume.h"

namespace umbra {

class PrivateMount {
   public:
    // Moves this process into its own mount namespace and mounts the share at a temporary place;
    // from then on the registry that this process sees has that share alone. Call it while the
    // process has one thread only, so before it has opened any volume. Needs root.
    static Result<std::unique_ptr<PrivateMount>> make(
        const std::string& share, const std::function<void(const Event&)>& announce);

    // Unmounts and waits until the volume is closed.
    ~PrivateMount();

    const std::string& path() const { return path_; }

   private:
    PrivateMount(std::string path, pid_t daemon) : path_(std::move(path)), daemon_(daemon) {}

    std::string path_;
    pid_t daemon_;
};

}  // namespace umbra
