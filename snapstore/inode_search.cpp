#include "snapstore/inode_search.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <functional>
#include <memory>
#include <string_view>
#include <utility>

#include "snapstore/live_tree.h"
#include "snapstore/volume_core.h"

namespace umbra {

namespace {

struct Name {
    const char* text = "";
    std::uint64_t inode = 0;
    bool directory = false;
};

bool is_directory(int directory_fd, const struct dirent& entry) {
    if (entry.d_type != DT_UNKNOWN) return entry.d_type == DT_DIR;
    struct stat status {};
    return fstatat(directory_fd, entry.d_name, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISDIR(status.st_mode);
}

// Calls back for each name in a directory that the share shows; not at all when it is gone.
Result<void> for_each_name(const VolumeCore& core, ObjectId directory,
                           const std::function<void(int directory_fd, const Name&)>& visit) {
    auto fd = core.mount.open_object(directory, O_RDONLY | O_DIRECTORY | O_NOATIME);
    if (!fd && fd.error().code == ESTALE) return {};
    if (!fd) return forward_error(fd);
    const int names = fd->get();
    const std::unique_ptr<DIR, int (*)(DIR*)> stream(fdopendir(names), closedir);
    if (!stream) return errno_only(errno);
    fd->release();
    for (;;) {
        errno = 0;
        const struct dirent* entry = readdir(stream.get());
        if (entry == nullptr) break;
        const std::string_view name = entry->d_name;
        if (name == "." || name == ".." || core.live.hidden(directory, entry->d_name)) continue;
        visit(names, {entry->d_name, entry->d_ino, is_directory(names, *entry)});
    }
    if (errno != 0) return errno_only(errno);
    return {};
}

// Is `name` the object? (The inode number alone may have been used again.)
bool is_object(const VolumeCore& core, int directory_fd, const Name& name, ObjectId object) {
    if (name.inode != object.inode) return false;
    const auto id = core.mount.codec.identify(directory_fd, name.text);
    return id && *id == object;
}

class CountedCaller {
   public:
    explicit CountedCaller(std::atomic<int>& count) : count_(count), before_(count++) {}
    ~CountedCaller() { --count_; }
    CountedCaller(const CountedCaller&) = delete;
    CountedCaller& operator=(const CountedCaller&) = delete;
    int before() const { return before_; }

   private:
    std::atomic<int>& count_;
    const int before_;
};

}  // namespace

// Above a folder that is not the whole filesystem the kernel gives ENOENT for "..".
Result<bool> is_in_share(const VolumeCore& core, UniqueFd directory) {
    ObjectId below;
    while (true) {
        auto id = core.mount.codec.identify(directory.get());
        if (!id && id.error().code == EXDEV) return false;  // another subvolume
        if (!id) return forward_error(id);
        if (*id == core.mount.root_id) return true;
        if (*id == core.control_id || *id == below) return false;
        below = *id;
        UniqueFd parent(openat(directory.get(), "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
        if (!parent.valid() && errno == ENOENT) return false;
        if (!parent.valid()) return errno_only(errno);
        directory = std::move(parent);
    }
}

Result<bool> InodeSearch::has_name(const VolumeCore& core, ObjectId object) {
    const CountedCaller caller(callers_);
    if (caller.before() >= kMostCallers) return errno_only(ETIMEDOUT);
    const std::lock_guard lock(mutex_);
    UMBRA_ASSIGN(const bool found, check_hints(core, object));
    if (found) return true;
    return search(core, object);
}

Result<bool> InodeSearch::check_hints(const VolumeCore& core, ObjectId object) const {
    auto hint = std::lower_bound(
        hints_.begin(), hints_.end(), object.inode,
        [](const Hint& known, std::uint64_t inode) { return known.inode < inode; });
    for (; hint != hints_.end() && hint->inode == object.inode; ++hint) {
        auto directory = core.mount.open_object(hint->directory, O_PATH | O_DIRECTORY);
        if (!directory) continue;
        UMBRA_ASSIGN(const bool inside, is_in_share(core, std::move(*directory)));
        if (!inside) continue;
        bool found = false;
        UMBRA_TRY(for_each_name(core, hint->directory, [&](int names, const Name& name) {
            found = found || is_object(core, names, name, object);
        }));
        if (found) return true;
    }
    return false;
}

Result<bool> InodeSearch::search(const VolumeCore& core, ObjectId object) {
    bool found = false;
    hints_.clear();
    std::vector<ObjectId> directories{core.mount.root_id};
    while (!directories.empty()) {
        const ObjectId directory = directories.back();
        directories.pop_back();
        UMBRA_TRY(for_each_name(core, directory, [&](int names, const Name& name) {
            if (name.directory) {
                const auto id = core.mount.codec.identify(names, name.text);
                if (id) directories.push_back(*id);  // not another subvolume, not gone
                return;
            }
            if (hints_.size() < kMostHints) hints_.push_back({name.inode, directory});
            found = found || is_object(core, names, name, object);
        }));
    }
    std::sort(hints_.begin(), hints_.end(),
              [](const Hint& a, const Hint& b) { return a.inode < b.inode; });
    return found;
}

}  // namespace umbra
