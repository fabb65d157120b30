#include "fuse/delayed_answers.h"

#include <utility>

namespace umbra {

namespace {

thread_local std::chrono::nanoseconds owed{0};

}  // namespace

void DelayedAnswers::owe(std::chrono::nanoseconds wait) { owed += wait; }

void DelayedAnswers::begin() { owed = {}; }

bool DelayedAnswers::owing() { return owed.count() > 0; }

void DelayedAnswers::give(std::function<void()> answer) {
    const auto wait = std::exchange(owed, {});
    if (wait.count() > 0) {
        const std::lock_guard lock(mutex_);
        if (!stopping_) {
            waiting_.emplace(Clock::now() + wait, std::move(answer));
            if (!thread_.joinable()) thread_ = std::thread([this] { work(); });
            changed_.notify_one();
            return;
        }
    }
    answer();
}

void DelayedAnswers::stop() {
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        changed_.notify_one();
    }
    if (thread_.joinable()) thread_.join();
}

void DelayedAnswers::work() {
    std::unique_lock lock(mutex_);
    while (!stopping_ || !waiting_.empty()) {
        if (waiting_.empty()) {
            changed_.wait(lock);
            continue;
        }
        const auto first = waiting_.begin();
        if (!stopping_ && Clock::now() < first->first) {
            const auto until = first->first;
            changed_.wait_until(lock, until);
            continue;
        }
        const std::function<void()> answer = std::move(first->second);
        waiting_.erase(first);
        lock.unlock();
        answer();
        lock.lock();
    }
}

}  // namespace umbra
