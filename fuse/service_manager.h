// What is told to the service manager that started this process: systemd's sd_notify(3) protocol.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>

namespace umbra {

// Nothing is said where no service manager listens (no $NOTIFY_SOCKET).
class ServiceManager {
   public:
    ServiceManager();
    ~ServiceManager() { stop_watchdog(); }
    ServiceManager(const ServiceManager&) = delete;
    ServiceManager& operator=(const ServiceManager&) = delete;

    void ready(const std::string& status);
    void stopping();
    // ready() follows, from this process.
    void reloading();

    // Where the service manager wants signs of life ($WATCHDOG_USEC): gives one twice in that time,
    // as long as `proof` returns true. It may block: then there is no sign, which is the point.
    void start_watchdog(std::function<bool()> proof);
    // Returns when `proof` does.
    void stop_watchdog();

   private:
    void send(const std::string& message) const;
    void watch(std::function<bool()> proof);

    std::string socket_;
    std::chrono::microseconds interval_{0};  // 0: none is wanted
    std::mutex mutex_;
    std::condition_variable changed_;
    bool ending_ = false;  // guarded by mutex_
    std::thread thread_;
};

}  // namespace umbra
