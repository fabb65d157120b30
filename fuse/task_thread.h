// One thread that runs tasks one after the other.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>

namespace umbra {

// Every method may be called from any thread; stop() from one. The thread is started by the first
// task. Lock: a leaf lock, not held while a task runs.
class TaskThread {
   public:
    TaskThread() = default;
    TaskThread(const TaskThread&) = delete;
    TaskThread& operator=(const TaskThread&) = delete;
    ~TaskThread() { stop(); }

    // False after stop(): the task will not run.
    bool add(std::function<void()> task);

    // Nothing runs or waits to run.
    bool idle() const;

    // Runs what was added before, then ends the thread.
    void stop();

   private:
    void work();

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::deque<std::function<void()>> tasks_;
    std::thread thread_;
    bool running_ = false;
    bool stopping_ = false;
};

}  // namespace umbra
