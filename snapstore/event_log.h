// The events of a volume, kept in SHARE/.umbra so that they are there when the diff area is not
// (docs/format.md, "Events"). Bounded: the older half goes when it grows too large.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "snapstore/event.h"
#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

// Thread-safe; its mutex is a leaf.
class EventLog {
   public:
    // Opens, or begins, the event log of a volume for appending. `control_directory` is
    // SHARE/.umbra.
    static Result<std::unique_ptr<EventLog>> open(int control_directory);

    // What the log holds with a sequence above `after`, oldest first. Needs no lock of the volume:
    // another process may be appending. A line that cannot be read is left out. Errors: of reading.
    static Result<std::vector<Event>> read(int control_directory, std::uint64_t after);

    // Gives the event its sequence and time and appends it. Not synced: it is told to the system's
    // log as well. A failure loses nothing but the line.
    void append(Event& event);

    // The same for an event of a share that is not open, such as that its diff area is missing.
    // Errors: there is no such share, or it cannot be written to.
    static Result<void> append_to(const std::string& share, Event& event);

   private:
    explicit EventLog(UniqueFd directory) : directory_(std::move(directory)) {}
    Result<void> open_file();
    void rotate();

    std::mutex mutex_;  // guards what follows
    UniqueFd directory_;
    UniqueFd file_;
    std::uint64_t next_ = 1;
};

}  // namespace umbra
