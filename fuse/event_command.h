// Runs the administrator's command for every event of a volume (setting on-event).
#pragma once

#include <atomic>
#include <functional>
#include <string>

#include "fuse/task_thread.h"
#include "snapstore/event.h"

namespace umbra {

// One command at a time, in the order of the events, on a thread of its own: nobody waits for it.
// Thread-safe.
class EventCommand {
   public:
    // `failed` is called on that thread with a sentence when a command could not be run, took
    // longer than a minute (it is killed then), or left another status than 0.
    EventCommand(std::string share, std::function<void(std::string)> failed)
        : share_(std::move(share)), failed_(std::move(failed)) {}
    // Runs what is waiting, with little patience.
    ~EventCommand();

    // Runs `/bin/sh -c COMMAND` with the event in UMBRA_EVENT_NUMBER, _NAME, _SEVERITY, _MESSAGE,
    // _TIME, _SEQUENCE and the share in UMBRA_SHARE. Beyond 64 waiting events it is left out, which
    // is said.
    void run(const std::string& command, const Event& event);

   private:
    void run_now(const std::string& command, const Event& event) const;

    const std::string share_;
    const std::function<void(std::string)> failed_;
    std::atomic<int> waiting_{0};
    std::atomic<bool> ending_{false};
    TaskThread thread_;  // last: its tasks use what is above
};

}  // namespace umbra
