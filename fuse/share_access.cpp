#include "fuse/share_access.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "fuse/control_client.h"
#include "fuse/control_protocol.h"
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
    explicit VolumeAccess(std::unique_ptr<Volume> volume) : volume_(std::move(volume)) {}

    Result<json> call(const std::string& method, const json& parameters) override {
        return call_volume_method(*volume_, method, parameters);
    }

   private:
    std::unique_ptr<Volume> volume_;
};

Result<ControlClient> connect_to(const Registry& registry, const MountedShare& mounted) {
    return ControlClient::connect(registry.socket_path(mounted.uuid));
}

// A process that has ended is no error: it is gone, which is what was wanted.
Result<void> wait_for_end(const UniqueFd& process) {
    if (!process.valid()) return {};
    struct pollfd waited {
        process.get(), POLLIN, 0
    };
    while (::poll(&waited, 1, -1) < 0) {
        if (errno != EINTR) return errno_error(errno, "cannot wait for the daemon's end");
    }
    return {};
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

}  // namespace

Result<std::unique_ptr<ShareAccess>> open_share(const Registry& registry, const SharePath& share,
                                                std::function<void(const Event&)> announce) {
    if (share.mounted) {
        UMBRA_ASSIGN(ControlClient client, connect_to(registry, *share.mounted));
        return std::make_unique<DaemonAccess>(std::move(client));
    }
    if (::geteuid() != 0) {
        return error_of(ErrorKind::kRefused, EPERM,
                        fmt::format("'{}' is not mounted, and only root can read its history then",
                                    share.share));
    }
    OpenOptions options;
    options.share = share.share;
    UMBRA_ASSIGN(std::unique_ptr<Volume> volume, Volume::open(options, std::move(announce)));
    return std::make_unique<VolumeAccess>(std::move(volume));
}

Result<void> unmount_share(const Registry& registry, const std::string& path) {
    const auto share = resolve_share_path(registry, path, LastComponent::kKeep);
    if (!share || !share->mounted) {
        UMBRA_ASSIGN(const bool detached, detach_dead_mount(path));
        if (detached) return {};
        if (!share) return tl::make_unexpected(share.error());
        return error_of(ErrorKind::kNotFound, EINVAL,
                        fmt::format("'{}' is not mounted", share->share));
    }
    UMBRA_ASSIGN(ControlClient client, connect_to(registry, *share->mounted));
    const UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, client.daemon_pid(), 0)));
    UMBRA_TRY(client.call(control_method::kShutdown));
    return wait_for_end(process);
}

}  // namespace umbra
