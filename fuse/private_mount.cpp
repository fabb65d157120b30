#include "fuse/private_mount.h"

#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fuse/daemon.h"
#include "fuse/registry.h"

namespace umbra {

Result<std::unique_ptr<PrivateMount>> PrivateMount::make(
    const std::string& share, const std::function<void(const Event&)>& announce) {
    const Registry registry;
    UMBRA_TRY(registry.prepare());
    std::string place = registry.directory() + "/private.XXXXXX";
    if (::unshare(CLONE_NEWNS) != 0 ||
        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) {
        return errno_error(errno, "cannot make a mount namespace to see '" + share + "' in");
    }
    // The mount point, the registry entry and the control socket lie in a filesystem of this
    // namespace: nobody else sees them, and nothing is left behind, however this ends.
    if (::mount("umbra", registry.directory().c_str(), "tmpfs", MS_NOSUID | MS_NODEV,
                "mode=0700") != 0 ||
        ::mkdtemp(place.data()) == nullptr) {
        return errno_error(errno, "cannot make a place to mount '" + share + "' at");
    }
    DaemonOptions options;
    options.share = share;
    options.mountpoint = place;
    options.end_with_parent = true;
    UMBRA_ASSIGN(const pid_t daemon, start_daemon(options, registry, announce));
    return std::unique_ptr<PrivateMount>(new PrivateMount(std::move(place), daemon));
}

PrivateMount::~PrivateMount() {
    // Lazily when busy: with this process's last descriptor it ends all the same.
    if (::umount2(path_.c_str(), UMOUNT_NOFOLLOW) != 0) ::kill(daemon_, SIGTERM);
    ::waitpid(daemon_, nullptr, 0);
}

}  // namespace umbra
