#include "snapstore/directory_bytes.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <memory>

namespace umbra {

Result<std::uint64_t> directory_bytes(UniqueFd directory) {
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(fdopendir(directory.get()), closedir);
    if (!stream) return errno_only(errno);
    static_cast<void>(directory.release());  // the stream's now
    std::uint64_t bytes = 0;
    while (const struct dirent* entry = readdir(stream.get())) {
        struct stat status {};
        if (fstatat(dirfd(stream.get()), entry->d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(status.st_mode))
            bytes += static_cast<std::uint64_t>(status.st_blocks) * 512;
    }
    return bytes;
}

}  // namespace umbra
