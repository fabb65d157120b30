// Where a volume's events go beside its event log: to the system's log, and to the administrator's
// command.
#pragma once

#include <shared_mutex>
#include <string>

#include "fuse/event_command.h"
#include "snapstore/event.h"
#include "snapstore/volume.h"

namespace umbra {

// Thread-safe. Its lock is a leaf but for the volume's settings and event log.
class EventSink {
   public:
    // Until a volume is followed the command is the one that SHARE/.umbra/volume.toml has now.
    explicit EventSink(const std::string& share);

    void take(const Event& event);

    // From now on the command is what this volume's setting says, and the command's failures go
    // into its event log. Null: back to the command as last known; call it before the volume goes.
    void follow(Volume* volume);

   private:
    void command_failed(std::string message);

    std::shared_mutex mutex_;
    Volume* volume_ = nullptr;  // guarded by mutex_
    std::string command_;       // guarded by mutex_; used while there is no volume
    EventCommand runner_;       // last: its thread uses what is above
};

}  // namespace umbra
