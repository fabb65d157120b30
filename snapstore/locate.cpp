#include "snapstore/locate.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <climits>

#include "snapstore/proc_path.h"

namespace umbra {

Location locate(const LiveMount& mount, ObjectId object, int fd) {
    if (object == mount.root_id) return {};
    char path[PATH_MAX];
    ssize_t length = readlink(ProcPath(fd).c_str(), path, sizeof path - 1);
    if (length <= 1) return {};
    std::string text(path, static_cast<std::size_t>(length));
    auto slash = text.rfind('/');
    if (text[0] != '/') return {};
    std::string name = text.substr(slash + 1);
    std::string parent = slash == 0 ? "." : text.substr(1, slash - 1);
    struct open_how how {};
    how.flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV;
    UniqueFd directory(
        static_cast<int>(syscall(SYS_openat2, mount.root.get(), parent.c_str(), &how, sizeof how)));
    if (!directory.valid()) return {};
    auto found = mount.codec.identify(directory.get(), name.c_str());
    if (!found || *found != object) return {};
    auto parent_id = mount.codec.identify(directory.get());
    if (!parent_id) return {};
    return {*parent_id, name};
}

}  // namespace umbra
