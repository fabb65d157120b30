#include "tests/support/umbra_mount.h"

#include <signal.h>
#include <sys/mount.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <thread>

namespace umbra::test {

namespace {

using nlohmann::json;

std::string must_umbra(const std::vector<std::string>& arguments,
                       const ProcessOptions& options = {}) {
    std::vector<std::string> argv{umbra_binary()};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return must_run(argv, options);
}

}  // namespace

std::string umbra_binary() {
    const char* named = std::getenv("UMBRA_BIN");
    return named != nullptr && *named != '\0' ? named : "umbra";
}

ProcessResult umbra(const std::vector<std::string>& arguments, const ProcessOptions& options) {
    std::vector<std::string> argv{umbra_binary()};
    argv.insert(argv.end(), arguments.begin(), arguments.end());
    return run(argv, options);
}

UmbraMount::UmbraMount(const std::filesystem::path& share, const MountOptions& options)
    : share_(share), options_(options) {
    mount();
}

UmbraMount::~UmbraMount() {
    if (!mounted_) return;
    try {
        unmount();
    } catch (const std::exception& error) {
        std::fprintf(stderr, "unmounting by force: %s\n", error.what());
        force_unmount();
    }
}

const std::filesystem::path& UmbraMount::path() const {
    return options_.mountpoint.empty() ? share_ : options_.mountpoint;
}

void UmbraMount::mount() {
    std::vector<std::string> arguments{"mount", share_.string()};
    if (!options_.mountpoint.empty()) arguments.push_back(options_.mountpoint.string());
    arguments.insert(arguments.end(), options_.arguments.begin(), options_.arguments.end());
    ProcessOptions process;
    process.environment = options_.environment;
    const ProcessResult result = umbra(arguments, process);
    said_ = result.err;
    if (result.exit_code != 0)
        throw std::runtime_error("umbra mount " + share_.string() + " failed (exit " +
                                 std::to_string(result.exit_code) + "): " + said_);
    mounted_ = true;
    try {
        last_pid_ = daemon_pid();
    } catch (...) {
        force_unmount();
        throw;
    }
}

void UmbraMount::unmount() {
    must_umbra({"umount", share_.string()});
    mounted_ = false;
    if (last_pid_ > 0 && !wait_for_end(last_pid_, std::chrono::seconds(30))) {
        ::kill(last_pid_, SIGKILL);
        throw std::runtime_error("the daemon " + std::to_string(last_pid_) +
                                 " still ran 30 s after umbra umount; killed");
    }
}

void UmbraMount::remount() {
    if (mounted_) unmount();
    mount();
}

void UmbraMount::kill_daemon() {
    const pid_t pid = daemon_pid();
    if (::kill(pid, SIGKILL) != 0) throw std::runtime_error("cannot kill the daemon");
    if (!wait_for_end(pid, std::chrono::seconds(30))) {
        throw std::runtime_error("the killed daemon does not end");
    }
    mounted_ = false;
    if (::umount2(path().c_str(), MNT_DETACH) != 0 && errno != EINVAL) {
        throw std::runtime_error("cannot detach the dead mount " + path().string());
    }
}

bool UmbraMount::daemon_runs() const { return last_pid_ > 0 && process_alive(last_pid_); }

void UmbraMount::force_unmount() noexcept {
    mounted_ = false;
    ::umount2(path().c_str(), MNT_DETACH);
    if (last_pid_ > 0 && !wait_for_end(last_pid_, std::chrono::seconds(5))) {
        ::kill(last_pid_, SIGKILL);
        wait_for_end(last_pid_, std::chrono::seconds(5));
    }
}

std::string UmbraMount::create_snapshot(const std::string& label) {
    std::vector<std::string> arguments{"snapshot", "create", share_.string()};
    if (!label.empty()) arguments.insert(arguments.end(), {"--label", label});
    return trim_end(must_umbra(arguments));
}

void UmbraMount::delete_snapshot(const std::string& token) {
    must_umbra({"snapshot", "delete", share_.string(), token});
}

std::vector<SnapshotInfo> UmbraMount::snapshots() const {
    const json list = json::parse(must_umbra({"snapshot", "list", share_.string(), "--json"}));
    std::vector<SnapshotInfo> found;
    for (const auto& item : list) {
        SnapshotInfo info;
        info.token = item.at("token").get<std::string>();
        if (item.contains("label") && item["label"].is_string()) info.label = item["label"];
        info.epoch = item.value("epoch", int64_t{0});
        found.push_back(info);
    }
    return found;
}

pid_t UmbraMount::daemon_pid() const {
    const json status = json::parse(must_umbra({"status", share_.string(), "--json"}));
    return status.at("pid").get<pid_t>();
}

}  // namespace umbra::test
