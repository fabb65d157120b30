#include "fuse/daemon_methods.h"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/mount.h>

#include <algorithm>
#include <mutex>
#include <vector>

#include "fuse/caller_policy.h"
#include "fuse/hand_over.h"
#include "fuse/mount_session.h"
#include "fuse/mount_table.h"
#include "fuse/result_json.h"
#include "fuse/volume_methods.h"
#include "snapstore/job_journal.h"

namespace umbra {

using nlohmann::json;

Result<MountPoint> MountPoint::of(const std::string& path) {
    UMBRA_ASSIGN(const std::vector<MountTableEntry> table, read_mount_table());
    const auto top = mount_at(table, path);
    if (!top) return errno_error(ENOENT, fmt::format("'{}' is not mounted", path));
    return MountPoint(path, top->device);
}

Result<void> MountPoint::unmount() const {
    UMBRA_ASSIGN(const std::vector<MountTableEntry> table, read_mount_table());
    const auto top = mount_at(table, path_);
    const bool here = std::any_of(table.begin(), table.end(),
                                  [&](const auto& mount) { return mount.device == device_; });
    if (!here) return {};  // unmounted already: only another mount namespace still has it
    if (top && top->device != device_) {
        return error_of(
            ErrorKind::kSystem, EBUSY,
            fmt::format("another filesystem is mounted over '{}': unmount that first", path_));
    }
    if (::umount2(path_.c_str(), UMOUNT_NOFOLLOW) == 0) return {};
    if (errno == EBUSY) {
        return error_of(
            ErrorKind::kSystem, EBUSY,
            fmt::format(
                "'{}' is in use: close what is open in it ('fuser -vm {}' names it) and try again",
                path_, path_));
    }
    return errno_error(errno, fmt::format("cannot unmount '{}'", path_));
}

Result<uid_t> DaemonMethods::owner() const {
    UMBRA_ASSIGN(const struct stat status, volume_.live().status(volume_.live().root()));
    return status.st_uid;
}

Result<json> DaemonMethods::call(const ControlRequest& request, const PeerIdentity& peer) {
    UMBRA_ASSIGN(const uid_t share_owner, owner());
    if (auto allowed = check_method_access(request.method, peer, share_owner); !allowed) {
        spdlog::warn("refused to user {}: {}", peer.uid, request.method);
        return forward_error(allowed);
    }
    if (request.method == control_method::kStatus) return status();
    if (request.method == control_method::kShutdown) return shutdown();
    if (request.method == control_method::kRestart) return restart();
    if (request.method == control_method::kRemount) return remount(request.parameters);
    MethodCaller caller{peer.uid, peer.pid, sees_everything(peer, share_owner), {}};
    if (!sees_everything(peer, share_owner)) {
        caller.may_see = [&](const std::string& token, const std::string& path) {
            return caller_can_look_up(peer, mounted_.mountpoint, token, path);
        };
    }
    return call_volume_method(volume_, request.method, request.parameters, caller);
}

void DaemonMethods::session_ends() {
    const std::unique_lock lock(mutex_);
    session_ = nullptr;
}

Result<json> DaemonMethods::status() {
    UMBRA_ASSIGN(json status, volume_status_json(volume_));
    add_mount_status(status, mounted_);
    const std::shared_lock lock(mutex_);
    if (session_ != nullptr) {
        status["requests"] = session_->request_counts();
        status["known_nodes"] = session_->known_nodes();
    }
    status["restarts"] = restarts_;
    if (remount_failure_) status["remount_failure"] = error_json(*remount_failure_);
    if (clients_) status["clients"] = clients_();
    return status;
}

Result<json> DaemonMethods::shutdown() {
    UMBRA_TRY(place_.unmount());
    return json::object();
}

void DaemonMethods::count_clients(std::function<std::size_t()> clients) {
    const std::unique_lock lock(mutex_);
    clients_ = std::move(clients);
}

Result<void> DaemonMethods::check_no_job_runs() {
    UMBRA_ASSIGN(const std::vector<JobInfo> jobs, volume_.jobs().list());
    if (std::none_of(jobs.begin(), jobs.end(), [](const JobInfo& job) { return job.running; }))
        return {};
    return error_of(ErrorKind::kRefused, EBUSY,
                    "a restore job is running, which this would interrupt: wait for its end "
                    "('umbra restore list' shows it)");
}

Result<void> DaemonMethods::leave(std::optional<DaemonOptions> remount) {
    const std::unique_lock lock(mutex_);
    if (session_ == nullptr) {
        return error_of(ErrorKind::kSystem, ESHUTDOWN, "the share is being unmounted");
    }
    if (leaves_) {
        return error_of(ErrorKind::kRefused, EBUSY,
                        "the share is being restarted or remounted already: try again");
    }
    if (!remount) {
        UMBRA_TRY(check_successor(options_, session_->init_request(), session_->init_reply()));
    }
    leaves_ = true;
    remount_ = std::move(remount);
    session_->request_leave();
    return {};
}

Result<json> DaemonMethods::restart() {
    UMBRA_TRY(check_no_job_runs());
    UMBRA_TRY(leave(std::nullopt));
    return json::object();
}

Result<json> DaemonMethods::remount(const json& parameters) {
    DaemonOptions wanted = options_.for_later_life();
    if (parameters.contains("read_only")) {
        UMBRA_ASSIGN(wanted.read_only, optional_flag(parameters, "read_only"));
    }
    UMBRA_ASSIGN(const auto memory, optional_integer(parameters, "memory"));
    if (memory) UMBRA_TRY(add_mount_options(wanted, fmt::format("memory={}", *memory)));
    UMBRA_ASSIGN(const auto lease, optional_integer(parameters, "lease"));
    if (lease) UMBRA_TRY(add_mount_options(wanted, fmt::format("lease={}", *lease)));
    const bool same = wanted.read_only == options_.read_only &&
                      wanted.memory_bytes == options_.memory_bytes &&
                      wanted.lease == options_.lease;
    if (same) return json{{"reopens", false}};
    UMBRA_TRY(check_no_job_runs());
    UMBRA_TRY(leave(std::move(wanted)));
    return json{{"reopens", true}};
}

}  // namespace umbra
