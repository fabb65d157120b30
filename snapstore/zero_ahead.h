// Writes zeros ahead of the end of the active log file, in the background. An append into zeros
// only overwrites: its sync has no allocation and no file size to commit, which halves the wait of
// every small change that must be preserved.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>

namespace umbra {

class LogFile;

class ZeroAhead {
   public:
    ZeroAhead() = default;
    ~ZeroAhead();
    ZeroAhead(const ZeroAhead&) = delete;
    ZeroAhead& operator=(const ZeroAhead&) = delete;

    // The active file is now this one (or none), filled up to `end`. Waits for work on the former
    // one to end.
    void follow(std::shared_ptr<LogFile> file, std::uint64_t end);
    // Called before an append to [offset, offset+length) of the file: waits while zeros are being
    // written there.
    void before_append(std::uint64_t offset, std::uint64_t length);
    // Called after it: starts the next stretch when the last one is nearly used up. Large records
    // are not worth it.
    void after_append(std::uint64_t end, std::uint64_t length);

   private:
    void work();
    static void write_zeros(LogFile& file, std::uint64_t from);

    std::mutex mutex_;  // guards all below; a leaf
    std::condition_variable changed_;
    std::shared_ptr<LogFile> file_;
    std::uint64_t zeroed_to_ = 0;
    std::uint64_t small_bytes_ = 0;  // appended to this file in small records
    bool wanted_ = false;
    bool working_ = false;
    bool stopping_ = false;
    std::thread thread_;  // started at first use
};

}  // namespace umbra
