// What the control socket of a mounted share answers: who may ask, what needs the mount, and the
// rest from the volume.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <shared_mutex>
#include <string>

#include "fuse/control_protocol.h"
#include "fuse/control_server.h"
#include "fuse/daemon_options.h"
#include "fuse/registry.h"
#include "snapstore/result.h"
#include "snapstore/volume.h"

namespace umbra {

class MountSession;

// Our own mount, so that nobody else's at the same place is ever unmounted.
class MountPoint {
   public:
    // Of the mount that is on top there now.
    static Result<MountPoint> of(const std::string& path);

    const std::string& path() const { return path_; }
    // EBUSY while something in it is in use, or another mount lies over it.
    Result<void> unmount() const;

   private:
    MountPoint(std::string path, std::string device)
        : path_(std::move(path)), device_(std::move(device)) {}
    std::string path_;
    std::string device_;
};

// Thread-safe.
class DaemonMethods {
   public:
    // `remount_failure`: of the remount that this life of the daemon began with.
    DaemonMethods(Volume& volume, MountSession& session, MountedShare mounted, MountPoint place,
                  DaemonOptions options, std::uint64_t restarts,
                  std::optional<Error> remount_failure)
        : volume_(volume),
          session_(&session),
          mounted_(std::move(mounted)),
          place_(std::move(place)),
          options_(std::move(options)),
          restarts_(restarts),
          remount_failure_(std::move(remount_failure)) {}

    // Tells how many are connected to the control socket.
    void count_clients(std::function<std::size_t()> clients);

    Result<nlohmann::json> call(const ControlRequest& request, const PeerIdentity& peer);

    // From here on the session is not touched.
    void session_ends();
    // After that: with which options the volume is to be opened anew, by this process. No value
    // where that was not asked for.
    std::optional<DaemonOptions> remount() const { return remount_; }

   private:
    Result<nlohmann::json> status();
    Result<nlohmann::json> shutdown();
    Result<nlohmann::json> restart();
    Result<nlohmann::json> remount(const nlohmann::json& parameters);
    Result<void> check_no_job_runs();
    Result<void> leave(std::optional<DaemonOptions> remount);
    Result<uid_t> owner() const;

    Volume& volume_;
    std::shared_mutex mutex_;
    MountSession* session_;  // guarded by mutex_
    const MountedShare mounted_;
    const MountPoint place_;
    const DaemonOptions options_;
    const std::uint64_t restarts_;
    const std::optional<Error> remount_failure_;
    std::function<std::size_t()> clients_;  // guarded by mutex_
    bool leaves_ = false;                   // guarded by mutex_
    std::optional<DaemonOptions> remount_;  // guarded by mutex_, until the session ends
};

}  // namespace umbra
