#include "fuse/service_manager.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string_view>
#include <utility>

#include "snapstore/unique_fd.h"

namespace umbra {

namespace {

std::string text_of(const char* variable) {
    const char* text = std::getenv(variable);
    return text == nullptr ? "" : text;
}

std::int64_t number_of(const char* variable) {
    const std::string text = text_of(variable);
    std::int64_t number = 0;
    const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
    return failure == std::errc() && end == text.data() + text.size() ? number : 0;
}

}  // namespace

ServiceManager::ServiceManager() : socket_(text_of("NOTIFY_SOCKET")) {
    const std::int64_t wanted = number_of("WATCHDOG_USEC"), process = number_of("WATCHDOG_PID");
    if (wanted > 0 && (process == 0 || process == ::getpid()))
        interval_ = std::chrono::microseconds(wanted / 2);
}

void ServiceManager::send(const std::string& message) const {
    struct sockaddr_un address {};
    address.sun_family = AF_UNIX;
    if (socket_.empty() || socket_.size() >= sizeof address.sun_path) return;
    std::memcpy(address.sun_path, socket_.data(), socket_.size());
    if (address.sun_path[0] == '@') address.sun_path[0] = '\0';  // has no place in the filesystem
    const UniqueFd socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    const auto size =
        static_cast<socklen_t>(offsetof(struct sockaddr_un, sun_path) + socket_.size());
    // A service manager that does not listen is none of the share's business.
    (void)!::sendto(socket.get(), message.data(), message.size(), MSG_NOSIGNAL,
                    reinterpret_cast<const struct sockaddr*>(&address), size);
}

void ServiceManager::ready(const std::string& status) { send("READY=1\nSTATUS=" + status); }

void ServiceManager::stopping() { send("STOPPING=1"); }

void ServiceManager::reloading() {
    struct timespec now {};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    const auto microseconds = std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000;
    send("RELOADING=1\nWATCHDOG=1\nMONOTONIC_USEC=" + std::to_string(microseconds));
}

void ServiceManager::start_watchdog(std::function<bool()> proof) {
    if (socket_.empty() || interval_.count() == 0) return;
    thread_ = std::thread([this, proof = std::move(proof)]() mutable { watch(std::move(proof)); });
}

void ServiceManager::watch(std::function<bool()> proof) {
    std::unique_lock lock(mutex_);
    while (!ending_) {
        lock.unlock();
        const bool alive = proof();
        lock.lock();
        if (alive) send("WATCHDOG=1");
        changed_.wait_for(lock, interval_, [this] { return ending_; });
    }
}

void ServiceManager::stop_watchdog() {
    {
        const std::lock_guard lock(mutex_);
        ending_ = true;
        changed_.notify_all();
    }
    if (thread_.joinable()) thread_.join();
}

}  // namespace umbra
