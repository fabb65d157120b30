#include "fuse/share_access.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

#include "fuse/control_client.h"
#include "fuse/control_protocol.h"
#include "fuse/event_sink.h"
#include "fuse/mount_table.h"
#include "fuse/volume_methods.h"
#include "snapstore/unique_fd.h"

namespace umbra {

namespace {

using nlohmann::json;

class DaemonAccess : public ShareAccess {
   public:
    explicit DaemonAccess(ControlClient client) : client_(std::move(client)) {}

    Result<json> call(const std::string& method, const json& parameters) override {
        return client_.call(method, parameters);
    }

   private:
    ControlClient client_;
};

class VolumeAccess : public ShareAccess {
   public:
    VolumeAccess(std::unique_ptr<EventSink> sink, std::unique_ptr<Volume> volume)
        : sink_(std::move(sink)), volume_(std::move(volume)) {
        sink_->follow(volume_.get());
    }
    ~VolumeAccess() override { sink_->follow(nullptr); }

    Result<json> call(const std::string& method, const json& parameters) override {
        return call_volume_method(*volume_, method, parameters);
    }

   private:
    std::unique_ptr<EventSink> sink_;
    std::unique_ptr<Volume> volume_;
};

Result<std::unique_ptr<VolumeAccess>> open_volume(const OpenOptions& options,
                                                  std::function<void(const Event&)> announce) {
    if (::geteuid() != 0) {
        return error_of(ErrorKind::kRefused, EPERM,
                        fmt::format("'{}' is not mounted, and only root can read its history then",
                                    options.share));
    }
    auto sink = std::make_unique<EventSink>(options.share);
    const auto take = [&sink = *sink, announce = std::move(announce)](const Event& event) {
        sink.take(event);
        announce(event);
    };
    UMBRA_ASSIGN(std::unique_ptr<Volume> volume, Volume::open(options, take));
    return std::make_unique<VolumeAccess>(std::move(sink), std::move(volume));
}

Result<ControlClient> connect_to(const Registry& registry, const MountedShare& mounted) {
    return ControlClient::connect(registry.socket_path(mounted.uuid));
}

// How long a daemon may go on serving after the unmount before somebody else must be the reason.
constexpr int kPatienceMilliseconds = 5000;
constexpr int kAskAgainMicroseconds = 2000;

// Has the process ended? Waits for it as long as the patience lasts.
Result<bool> ends(const UniqueFd& process) {
    struct pollfd waited {
        process.get(), POLLIN, 0
    };
    int count = 0;
    while ((count = ::poll(&waited, 1, kPatienceMilliseconds)) < 0) {
        if (errno != EINTR) return errno_error(errno, "cannot wait for the daemon's end");
    }
    return count > 0;
}

// False once the mount is gone everywhere and the daemon is closing the volume.
bool still_serves(const Registry& registry, const MountedShare& mounted) {
    auto client = connect_to(registry, mounted);
    if (!client) return false;
    const auto status = client->call(control_method::kStatus);
    return status && !status->value("known_nodes", json()).is_null();
}

// A process that has ended is no error: it is gone, which is what was wanted.
Result<void> wait_for_end(const Registry& registry, const MountedShare& mounted,
                          const UniqueFd& process) {
    while (process.valid()) {
        UMBRA_ASSIGN(const bool ended, ends(process));
        if (ended) return {};
        if (!still_serves(registry, mounted)) continue;  // closing takes as long as it takes
        return error_of(
            ErrorKind::kSystem, EBUSY,
            fmt::format("'{}' is unmounted here, but process {} still serves it: another mount "
                        "namespace (of a container or a service) has the mount, too, and the "
                        "volume stays open until that ends; \"grep -l '{}.*{}' "
                        "/proc/[0-9]*/mountinfo\" names its processes, 'kill {}' ends serving",
                        mounted.mountpoint, mounted.pid, mounted.mountpoint, kMountType,
                        mounted.pid));
    }
    return {};
}

// Invalid where it has ended.
UniqueFd process_of(pid_t pid) {
    return UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

// A share with a living daemon, mounted here or not (any more).
Result<std::optional<MountedShare>> served_share(const Registry& registry,
                                                 const std::string& share) {
    UMBRA_ASSIGN(const std::vector<MountedShare> all, registry.mounted());
    const auto found = std::find_if(all.begin(), all.end(), [&](const MountedShare& mounted) {
        return mounted.share == share;
    });
    std::optional<MountedShare> served;
    if (found != all.end()) served = *found;
    return served;
}

// A mount whose daemon has died is in nobody's registry: known by its type and place alone.
Result<bool> detach_dead_mount(const std::string& path) {
    UMBRA_ASSIGN(const std::string canonical, canonical_path(path, LastComponent::kFollow));
    UMBRA_ASSIGN(const std::vector<MountTableEntry> table, read_mount_table());
    const auto top = mount_at(table, canonical);
    if (!top || top->type != kMountType) return false;
    if (::umount2(canonical.c_str(), UMOUNT_NOFOLLOW) != 0) {
        return errno_error(errno, fmt::format("cannot unmount '{}'", canonical));
    }
    return true;
}

// Waits until the daemon, whose status was `before`, serves with a volume it has opened since.
// Returns its status then.
Result<json> wait_for_next_life(const Registry& registry, const MountedShare& mounted,
                                const json& before) {
    const auto restarts = [](const json& status) {
        return status.value("restarts", std::uint64_t{0});
    };
    // Who connects waits in the socket's queue until the successor takes him out of it.
    for (;;) {
        auto next = connect_to(registry, mounted);
        Result<json> status = next ? next->call(control_method::kStatus) : forward_error(next);
        if (status && restarts(*status) > restarts(before)) return status;
        UMBRA_ASSIGN(const auto served, served_share(registry, mounted.share));
        if (!served) {
            return error_of(ErrorKind::kSystem, ECHILD,
                            fmt::format("the daemon of '{}' ended when it was restarted: see the "
                                        "system log, and mount the share again",
                                        mounted.share));
        }
        ::usleep(kAskAgainMicroseconds);
    }
}

}  // namespace

Result<std::unique_ptr<ShareAccess>> open_share(const Registry& registry, const SharePath& share,
                                                std::function<void(const Event&)> announce) {
    if (share.mounted) {
        UMBRA_ASSIGN(ControlClient client, connect_to(registry, *share.mounted));
        return std::make_unique<DaemonAccess>(std::move(client));
    }
    OpenOptions options;
    options.share = share.share;
    UMBRA_ASSIGN(std::unique_ptr<VolumeAccess> access, open_volume(options, std::move(announce)));
    return std::unique_ptr<ShareAccess>(std::move(access));
}

Result<void> rebuild_index(const SharePath& share, std::function<void(const Event&)> announce) {
    if (share.mounted) {
        return error_of(ErrorKind::kRefused, EBUSY,
                        fmt::format("'{}' is mounted: its index can only be rebuilt while it is "
                                    "not; unmount it first ('umbra umount')",
                                    share.share));
    }
    OpenOptions options;
    options.share = share.share;
    options.rebuild_index = true;
    UMBRA_TRY(open_volume(options, std::move(announce)));
    return {};
}

Result<void> unmount_share(const Registry& registry, const std::string& path) {
    const auto share = resolve_share_path(registry, path, LastComponent::kKeep);
    if (!share || !share->mounted) {
        UMBRA_ASSIGN(const bool detached, detach_dead_mount(path));
        if (detached) return {};
        if (!share) return tl::make_unexpected(share.error());
        UMBRA_ASSIGN(const auto served, served_share(registry, share->share));
        if (served) return wait_for_end(registry, *served, process_of(served->pid));
        return error_of(ErrorKind::kNotFound, EINVAL,
                        fmt::format("'{}' is not mounted", share->share));
    }
    UMBRA_ASSIGN(ControlClient client, connect_to(registry, *share->mounted));
    const UniqueFd process = process_of(client.daemon_pid());
    UMBRA_TRY(client.call(control_method::kShutdown));
    return wait_for_end(registry, *share->mounted, process);
}

Result<void> restart_daemon(const Registry& registry, const std::string& path) {
    UMBRA_ASSIGN(const SharePath share, resolve_share(registry, path));
    if (!share.mounted) {
        return error_of(
            ErrorKind::kNotFound, EINVAL,
            fmt::format("'{}' is not mounted: there is no daemon to restart", share.share));
    }
    UMBRA_ASSIGN(ControlClient client, connect_to(registry, *share.mounted));
    UMBRA_ASSIGN(const json before, client.call(control_method::kStatus));
    UMBRA_TRY(client.call(control_method::kRestart));
    UMBRA_TRY(wait_for_next_life(registry, *share.mounted, before));
    return {};
}

Result<void> reopen_volume(const Registry& registry, const MountedShare& mounted,
                           const json& wanted) {
    UMBRA_ASSIGN(ControlClient client, connect_to(registry, mounted));
    UMBRA_ASSIGN(const json before, client.call(control_method::kStatus));
    UMBRA_ASSIGN(const json answer, client.call(control_method::kRemount, wanted));
    if (!answer.value("reopens", true)) return {};
    UMBRA_ASSIGN(const json after, wait_for_next_life(registry, mounted, before));
    const auto failure = after.find("remount_failure");
    if (failure == after.end() || !failure->is_object()) return {};
    return tl::make_unexpected(decode_error(*failure));
}

}  // namespace umbra
