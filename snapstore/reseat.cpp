#include "snapstore/reseat.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <vector>

#include "snapstore/unique_fd.h"

namespace umbra {

namespace {

constexpr int kOpenDirectory = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;

Result<std::vector<std::string>> files_in(int directory) {
    const int fd = openat(directory, ".", kOpenDirectory);
    if (fd < 0) return errno_only(errno);
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(fdopendir(fd), closedir);
    std::vector<std::string> names;
    while (const struct dirent* entry = readdir(stream.get())) {
        const std::string name = entry->d_name;
        if (name != "." && name != "..") names.push_back(name);
    }
    return names;
}

// Data, holes and times.
Result<void> copy_contents(int from, int to) {
    struct stat status {};
    if (fstat(from, &status) != 0) return errno_only(errno);
    if (ioctl(to, FICLONE, from) != 0) {
        if (ftruncate(to, status.st_size) != 0) return errno_only(errno);
        for (off_t at = 0; at < status.st_size;) {
            const off_t data = lseek(from, at, SEEK_DATA);
            if (data < 0 && errno == ENXIO) break;
            off_t end = data < 0 ? -1 : lseek(from, data, SEEK_HOLE);
            if (end < 0) return errno_only(errno);
            for (off_t in = data, out = data; in < end;) {
                const ssize_t count =
                    copy_file_range(from, &in, to, &out, static_cast<std::size_t>(end - in), 0);
                if (count < 0 && errno == EINTR) continue;
                if (count < 0) return errno_only(errno);
                if (count == 0) break;
            }
            at = end;
        }
    }
    const struct timespec times[2] = {status.st_atim, status.st_mtim};
    if (futimens(to, times) != 0 || fsync(to) != 0) return errno_only(errno);
    return {};
}

Result<void> copy_file(int from, int to, const std::string& name) {
    const UniqueFd source(openat(from, name.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!source.valid()) return errno_only(errno);
    const UniqueFd copy(
        openat(to, name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!copy.valid()) return errno_only(errno);
    return copy_contents(source.get(), copy.get());
}

Result<void> fill(int old, int fresh, const PickFiles& changing) {
    UMBRA_ASSIGN(const std::vector<std::string> names, files_in(old));
    const std::vector<std::string> copied = changing(names);
    for (const auto& name : names) {
        if (std::find(copied.begin(), copied.end(), name) != copied.end()) {
            UMBRA_TRY(copy_file(old, fresh, name));
        } else if (linkat(old, name.c_str(), fresh, name.c_str(), 0) != 0) {
            return errno_only(errno);
        }
    }
    if (fsync(fresh) != 0) return errno_only(errno);
    return {};
}

std::string fresh_name(const std::string& name) { return name + ".new"; }

Result<void> exchange(int parent, const std::string& name, const PickFiles& changing) {
    const std::string fresh = fresh_name(name);
    const UniqueFd old(openat(parent, name.c_str(), kOpenDirectory));
    if (!old.valid() || mkdirat(parent, fresh.c_str(), 0700) != 0) return errno_only(errno);
    const UniqueFd directory(openat(parent, fresh.c_str(), kOpenDirectory));
    if (!directory.valid()) return errno_only(errno);
    UMBRA_TRY(fill(old.get(), directory.get(), changing));
    if (renameat2(parent, fresh.c_str(), parent, name.c_str(), RENAME_EXCHANGE) != 0 ||
        fsync(parent) != 0)
        return errno_only(errno);
    return {};
}

}  // namespace

void remove_unseated(int parent, const std::string& name) {
    const std::string fresh = fresh_name(name);
    const UniqueFd left(openat(parent, fresh.c_str(), kOpenDirectory));
    if (!left.valid()) return;
    if (const auto names = files_in(left.get())) {
        for (const auto& file : *names) unlinkat(left.get(), file.c_str(), 0);
    }
    unlinkat(parent, fresh.c_str(), AT_REMOVEDIR);
}

Result<void> reseat_directory(int parent, const std::string& name, const PickFiles& changing) {
    remove_unseated(parent, name);
    auto exchanged = exchange(parent, name, changing);
    remove_unseated(parent, name);
    if (!exchanged)
        return errno_error(exchanged.error().code,
                           "making a new '" + name + "' of the diff area in the place of the old");
    return {};
}

}  // namespace umbra
