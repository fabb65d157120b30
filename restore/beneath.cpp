#include "restore/beneath.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string_view>

namespace umbra {

namespace {

struct DirectoryCloser {
    void operator()(DIR* directory) const { ::closedir(directory); }
};

}  // namespace

Result<UniqueFd> open_beneath(int folder, const std::string& path, int flags) {
    struct open_how how {};
    how.flags = static_cast<std::uint64_t>(flags | O_CLOEXEC | O_NOFOLLOW);
    how.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS;
    const char* name = path.empty() ? "." : path.c_str();
    for (;;) {
        UniqueFd fd(static_cast<int>(::syscall(SYS_openat2, folder, name, &how, sizeof how)));
        if (fd.valid()) return fd;
        // EAGAIN: something was renamed meanwhile, so that the kernel could not be sure.
        if (errno != EAGAIN && errno != EINTR) return errno_only(errno);
    }
}

Result<UniqueFd> open_far_beneath(int folder, const std::string& path, int flags) {
    constexpr std::size_t kAtOnce = 3000;  // the kernel takes less than 4096
    UniqueFd at;
    std::size_t begin = 0;
    while (path.size() - begin > kAtOnce) {
        const std::size_t slash = path.rfind('/', begin + kAtOnce);
        if (slash == std::string::npos || slash <= begin) return errno_only(ENAMETOOLONG);
        UMBRA_ASSIGN(at, open_beneath(at.valid() ? at.get() : folder,
                                      path.substr(begin, slash - begin), O_PATH | O_DIRECTORY));
        begin = slash + 1;
    }
    return open_beneath(at.valid() ? at.get() : folder, path.substr(begin), flags);
}

Result<std::vector<std::string>> list_names(int folder) {
    // A description of its own, so that the position in it is.
    UMBRA_ASSIGN(UniqueFd own, open_beneath(folder, "", O_RDONLY | O_DIRECTORY));
    std::unique_ptr<DIR, DirectoryCloser> stream(::fdopendir(own.get()));
    if (!stream) return errno_only(errno);
    own.release();
    std::vector<std::string> names;
    errno = 0;
    while (const dirent* entry = ::readdir(stream.get())) {
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..") names.emplace_back(name);
        errno = 0;
    }
    if (errno != 0) return errno_only(errno);
    std::sort(names.begin(), names.end());
    return names;
}

}  // namespace umbra
