// Looking at the live tree: nothing here changes or preserves anything.
#include "snapstore/live_tree.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <climits>
#include <cstring>

#include "snapstore/attributes.h"
#include "snapstore/live_change.h"
#include "snapstore/volume_core.h"

namespace umbra {

namespace {

bool own_name(const char* name) {
    return std::strcmp(name, kControlDirectoryName) == 0 ||
           std::strcmp(name, kSnapshotsDirectoryName) == 0;
}

bool single_name(const std::string& name) {
    return !name.empty() && name != "." && name != ".." && name.find('/') == std::string::npos &&
           name.find('\0') == std::string::npos;
}

}  // namespace

Result<void> check_new_name(const VolumeCore& core, ObjectId directory, const std::string& name) {
    if (!single_name(name)) return errno_only(EINVAL);
    if (directory == core.mount.root_id && own_name(name.c_str())) return errno_only(EPERM);
    return {};
}

Result<void> check_old_name(const VolumeCore& core, ObjectId directory, const std::string& name) {
    if (!single_name(name)) return errno_only(EINVAL);
    if (directory == core.mount.root_id && own_name(name.c_str())) return errno_only(ENOENT);
    return {};
}

ObjectId LiveTree::root() const { return core_.mount.root_id; }

bool LiveTree::hidden(ObjectId directory, const char* name) const {
    return directory == core_.mount.root_id && own_name(name);
}

Result<Entry> LiveTree::entry_at(int directory_fd, ObjectId directory, const char* name) {
    if (hidden(directory, name)) return errno_only(ENOENT);
    Entry entry;
    if (fstatat(directory_fd, name, &entry.status, AT_SYMLINK_NOFOLLOW) != 0)
        return errno_only(errno);
    UMBRA_ASSIGN(entry.id, core_.mount.codec.identify(directory_fd, name));
    if (entry.id == core_.control_id) return errno_only(ENOENT);
    if (core_.deferred && core_.deferred->pending(entry.id)) {
        core_.settle(entry.id);
        if (fstatat(directory_fd, name, &entry.status, AT_SYMLINK_NOFOLLOW) != 0)
            return errno_only(errno);
    }
    return entry;
}

Result<Entry> LiveTree::lookup(ObjectId directory, const std::string& name) {
    if (name.size() > NAME_MAX) return errno_only(ENAMETOOLONG);
    UMBRA_TRY(check_old_name(core_, directory, name));
    UMBRA_ASSIGN(auto fd, open_parent(core_, directory));
    return entry_at(fd.get(), directory, name.c_str());
}

Result<Entry> LiveTree::lookup_self(ObjectId object) {
    UMBRA_ASSIGN(auto status_now, status(object));
    return Entry{object, status_now};
}

Result<Entry> LiveTree::lookup_parent(ObjectId directory) {
    if (directory == root()) return lookup_self(directory);
    UMBRA_ASSIGN(auto fd, open_parent(core_, directory));
    UniqueFd parent(openat(fd.get(), "..", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!parent.valid()) return errno_only(errno);
    UMBRA_ASSIGN(auto id, core_.mount.codec.identify(parent.get()));
    return lookup_self(id);
}

Result<struct stat> LiveTree::status(ObjectId object) {
    core_.settle(object);
    UMBRA_ASSIGN(auto fd, core_.mount.open_object(object, O_PATH | O_NOFOLLOW));
    struct stat status {};
    if (fstatat(fd.get(), "", &status, AT_EMPTY_PATH) != 0) return errno_only(errno);
    core_.hide_traces(object, status);
    return status;
}

Result<struct stat> LiveTree::status_of(const OpenFile& file) {
    core_.settle(file.id);
    struct stat status {};
    if (fstat(file.fd.get(), &status) != 0) return errno_only(errno);
    return status;
}

Result<std::string> LiveTree::read_link(ObjectId object) {
    UMBRA_ASSIGN(auto fd, core_.mount.open_object(object, O_PATH | O_NOFOLLOW));
    std::string target(PATH_MAX, '\0');
    ssize_t length = readlinkat(fd.get(), "", target.data(), target.size());
    if (length < 0) return errno_only(errno);
    target.resize(static_cast<std::size_t>(length));
    return target;
}

Result<UniqueFd> LiveTree::open_directory(ObjectId directory) {
    return core_.mount.open_object(directory, O_RDONLY | O_DIRECTORY | O_NOATIME);
}

Result<struct statvfs> LiveTree::filesystem_status() {
    struct statvfs status {};
    if (fstatvfs(core_.mount.root.get(), &status) != 0) return errno_only(errno);
    return status;
}

// Writing takes security.capability away, and who asks for it is about to run the file.
Result<std::string> LiveTree::get_extended(ObjectId object, const std::string& name) {
    core_.settle(object);
    UMBRA_ASSIGN(auto fd, core_.mount.open_object(object, O_PATH | O_NOFOLLOW));
    return get_extended_attribute(fd.get(), name);
}

Result<std::vector<std::string>> LiveTree::list_extended(ObjectId object) {
    core_.settle(object);
    UMBRA_ASSIGN(auto fd, core_.mount.open_object(object, O_PATH | O_NOFOLLOW));
    return list_extended_attributes(fd.get());
}

Result<unsigned> LiveTree::inode_flags(ObjectId object) {
    UMBRA_ASSIGN(auto fd, open_for_ioctl(core_.mount, object));
    int flags = 0;
    if (ioctl(fd.get(), FS_IOC_GETFLAGS, &flags) != 0) return errno_only(errno);
    return static_cast<unsigned>(flags);
}

void LiveTree::settle() { core_.settle_all(); }

void LiveTree::before_read(const OpenFile& file) { core_.settle(file.id); }

Result<struct fsxattr> LiveTree::extended_flags(ObjectId object) {
    UMBRA_ASSIGN(auto fd, open_for_ioctl(core_.mount, object));
    struct fsxattr flags {};
    if (ioctl(fd.get(), FS_IOC_FSGETXATTR, &flags) != 0) return errno_only(errno);
    return flags;
}

Result<void> LiveTree::synchronize(const OpenFile& file, bool data_only) {
    if (core_.deferred) UMBRA_TRY(core_.deferred->before_sync(file.id));
    if ((data_only ? fdatasync(file.fd.get()) : fsync(file.fd.get())) != 0)
        return errno_only(errno);
    return {};
}

}  // namespace umbra
