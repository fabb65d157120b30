// Answers that are given later: how writers are slowed without taking away a thread that readers
// need.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

namespace umbra {

// Every method may be called from any thread; stop() from one. The thread is started by the first
// answer that waits. Lock: a leaf lock, not held while an answer is given.
class DelayedAnswers {
   public:
    using Clock = std::chrono::steady_clock;

    DelayedAnswers() = default;
    DelayedAnswers(const DelayedAnswers&) = delete;
    DelayedAnswers& operator=(const DelayedAnswers&) = delete;
    ~DelayedAnswers() { stop(); }

    // What this thread answers next as the result of a change is to wait so long. For the request
    // that it serves: begin() takes it back.
    static void owe(std::chrono::nanoseconds wait);
    static void begin();
    static bool owing();

    // Gives the answer: at once, or when what this thread owes has passed.
    void give(std::function<void()> answer);

    // Gives all that wait at once, and from now on every one.
    void stop();

   private:
    void work();

    std::mutex mutex_;  // guards all below
    std::condition_variable changed_;
    std::multimap<Clock::time_point, std::function<void()>> waiting_;
    std::thread thread_;
    bool stopping_ = false;
};

}  // namespace umbra
