#include "snapstore/outside_changes.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <memory>
#include <tuple>

#include "snapstore/unique_fd.h"
#include "snapstore/volume_files.h"

namespace umbra {

namespace {

constexpr std::size_t kMostExamples = 10;
constexpr std::size_t kDeepest = 4096;
constexpr int kOpenDirectory = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW | O_NOATIME;
// ioprio_set(2), which has no wrapper: for this thread, only when nobody else wants the disk.
constexpr int kIoWhoThread = 1, kIoClassIdle = 3, kIoClassShift = 13;

bool before(const struct timespec& a, const struct timespec& b) {
    return std::tie(a.tv_sec, a.tv_nsec) < std::tie(b.tv_sec, b.tv_nsec);
}

void give_way() {
    const auto thread = static_cast<id_t>(::syscall(SYS_gettid));
    setpriority(PRIO_PROCESS, thread, 19);
    ::syscall(SYS_ioprio_set, kIoWhoThread, thread, kIoClassIdle << kIoClassShift);
}

struct CloseDirectory {
    void operator()(DIR* directory) const { closedir(directory); }
};

struct Level {
    std::unique_ptr<DIR, CloseDirectory> directory;
    std::string path;  // with a slash at its end, but for the root's
};

std::unique_ptr<DIR, CloseDirectory> open_directory(int parent, const char* name) {
    const int fd = openat(parent, name, kOpenDirectory);
    return std::unique_ptr<DIR, CloseDirectory>(fd < 0 ? nullptr : fdopendir(fd));
}

}  // namespace

OutsideChanges::~OutsideChanges() {
    ending_ = true;
    if (thread_.joinable()) thread_.join();
}

void OutsideChanges::search(const LiveMount& mount, std::function<void(const Found&)> finished) {
    thread_ = std::thread([this, &mount, finished = std::move(finished)] {
        give_way();
        walk(mount);
        if (ending_) return;
        {
            const std::lock_guard lock(mutex_);
            found_.complete = true;
        }
        finished(found());
    });
}

void OutsideChanges::look(const struct stat& status) {
    if (by_others(status)) note(status, "inode " + std::to_string(status.st_ino));
}

OutsideChanges::Found OutsideChanges::found() const {
    const std::lock_guard lock(mutex_);
    return found_;
}

bool OutsideChanges::by_others(const struct stat& status) const {
    return before(from_, status.st_ctim) && before(status.st_ctim, until_);
}

void OutsideChanges::note(const struct stat& status, const std::string& path) {
    const std::lock_guard lock(mutex_);
    if (!inodes_.addChecked(status.st_ino)) return;
    ++found_.count;
    if (found_.examples.size() < kMostExamples) found_.examples.push_back(path);
}

void OutsideChanges::walk(const LiveMount& mount) {
    std::vector<Level> levels;
    levels.push_back({open_directory(mount.root.get(), "."), ""});
    struct stat status {};
    if (fstat(mount.root.get(), &status) == 0 && by_others(status)) note(status, ".");
    while (!levels.empty() && levels.back().directory && !ending_) {
        DIR* directory = levels.back().directory.get();
        const struct dirent* entry = readdir(directory);
        if (entry == nullptr) {
            levels.pop_back();
            continue;
        }
        const std::string name = entry->d_name;
        const bool ours = levels.size() == 1 && name == kControlDirectoryName;
        if (name == "." || name == ".." || ours ||
            fstatat(dirfd(directory), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        const std::string path = levels.back().path + name;
        if (by_others(status)) note(status, path);
        if (!S_ISDIR(status.st_mode) || levels.size() >= kDeepest) continue;
        if (auto inside = open_directory(dirfd(directory), name.c_str()))
            levels.push_back({std::move(inside), path + "/"});
    }
}

}  // namespace umbra
