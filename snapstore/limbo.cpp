#include "snapstore/limbo.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <string>

#include "snapstore/filesystem_kind.h"
#include "snapstore/proc_path.h"
#include "snapstore/project_id.h"
#include "snapstore/volume_files.h"

namespace umbra {

namespace {

constexpr int kOpenDirectory = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;

Result<std::vector<std::string>> names_in(int parent, const char* name) {
    int fd = openat(parent, name, kOpenDirectory);
    if (fd < 0) return errno_error(errno, std::string("opening limbo directory ") + name);
    std::unique_ptr<DIR, int (*)(DIR*)> directory(fdopendir(fd), closedir);
    std::vector<std::string> names;
    while (const struct dirent* entry = readdir(directory.get())) names.emplace_back(entry->d_name);
    return names;
}

std::string limbo_path(ObjectId object, Epoch epoch) {
    return format_limbo_directory_name(epoch) + "/" + format_limbo_name(object);
}

std::uint64_t bytes_of(const struct stat& status) {
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

bool removed(int directory) {
    struct stat status {};
    return fstat(directory, &status) != 0 || status.st_nlink == 0;
}

}  // namespace

Limbo::Limbo(UniqueFd directory)
    : directory_(std::move(directory)), links_come_late_(on_btrfs(directory_.get())) {}

Result<UniqueFd> Limbo::epoch_directory(Epoch epoch) {
    std::lock_guard lock(mutex_);
    auto another = [&]() -> Result<UniqueFd> {
        UniqueFd fd(fcntl(current_.get(), F_DUPFD_CLOEXEC, 0));
        if (!fd.valid()) return errno_only(errno);
        return fd;
    };
    // A deletion may have removed the directory when it had become empty.
    if (current_.valid() && current_epoch_ == epoch && !removed(current_.get())) return another();
    std::string name = format_limbo_directory_name(epoch);
    leave_project(directory_.get());
    for (;;) {
        if (mkdirat(directory_.get(), name.c_str(), 0700) != 0 && errno != EEXIST)
            return errno_error(errno, "creating limbo directory " + name);
        current_.reset(openat(directory_.get(), name.c_str(), kOpenDirectory));
        if (current_.valid() && links_come_late_ && fsync(current_.get()) != 0) {
            int code = errno;
            current_.reset();
            return errno_error(code, "syncing limbo directory " + name);
        }
        if (current_.valid()) break;
        if (errno != ENOENT) return errno_error(errno, "opening limbo directory " + name);
    }
    leave_project(current_.get());
    current_epoch_ = epoch;
    return another();
}

Result<void> Limbo::take(int directory_fd, const char* name, ObjectId object, Epoch epoch,
                         std::uint64_t bytes) {
    for (;;) {
        UMBRA_ASSIGN(auto target, epoch_directory(epoch));
        if (renameat(directory_fd, name, target.get(), format_limbo_name(object).c_str()) == 0)
            break;
        int code = errno;
        if (code != ENOENT || !removed(target.get())) return errno_only(code);
    }
    add_bytes(epoch, bytes);
    return {};
}

Result<void> Limbo::link(int object_fd, ObjectId object, Epoch epoch, std::uint64_t bytes) {
    for (;;) {
        UMBRA_ASSIGN(auto target, epoch_directory(epoch));
        if (linkat(object_fd, "", target.get(), format_limbo_name(object).c_str(), AT_EMPTY_PATH) ==
                0 ||
            errno == EEXIST)
            break;
        int code = errno;
        if (code != ENOENT || !removed(target.get())) return errno_only(code);
    }
    add_bytes(epoch, bytes);
    auto secured = secure_names(object_fd);
    if (!secured) static_cast<void>(unlink(object, epoch, bytes));
    return secured;
}

Result<void> Limbo::secure_names(int object_fd) const {
    if (!links_come_late_) return {};
    // Syncing the file itself makes all its names durable.
    UniqueFd fd(::open(ProcPath(object_fd).c_str(), O_RDONLY | O_NOATIME | O_CLOEXEC));
    if (!fd.valid() || fsync(fd.get()) != 0)
        return errno_error(errno, "making the names of a file durable that a snapshot needs");
    return {};
}

Result<void> Limbo::unlink(ObjectId object, Epoch epoch, std::uint64_t bytes) {
    if (unlinkat(directory_.get(), limbo_path(object, epoch).c_str(), 0) != 0)
        return errno_only(errno);
    take_bytes(epoch, bytes);
    return {};
}

Result<std::vector<Epoch>> Limbo::epochs() const {
    UMBRA_ASSIGN(auto names, names_in(directory_.get(), "."));
    std::vector<Epoch> list;
    for (const auto& name : names)
        if (auto epoch = parse_limbo_directory_name(name)) list.push_back(*epoch);
    return list;
}

Result<bool> Limbo::holds(ObjectId object) const {
    UMBRA_ASSIGN(auto dead_epochs, epochs());
    for (Epoch epoch : dead_epochs)
        if (object_bytes(object, epoch)) return true;
    return false;
}

Result<std::vector<ObjectId>> Limbo::objects(Epoch epoch) const {
    std::vector<ObjectId> list;
    auto names = names_in(directory_.get(), format_limbo_directory_name(epoch).c_str());
    if (!names && names.error().code == ENOENT) return list;
    if (!names) return forward_error(names);
    for (const auto& name : *names)
        if (auto object = parse_limbo_name(name)) list.push_back(*object);
    return list;
}

Result<std::uint64_t> Limbo::object_bytes(ObjectId object, Epoch epoch) const {
    struct stat status {};
    if (fstatat(directory_.get(), limbo_path(object, epoch).c_str(), &status,
                AT_SYMLINK_NOFOLLOW) != 0)
        return errno_only(errno);
    return bytes_of(status);
}

Result<std::uint64_t> Limbo::remove(ObjectId object, Epoch epoch) {
    UMBRA_ASSIGN(auto bytes, object_bytes(object, epoch));
    if (unlinkat(directory_.get(), limbo_path(object, epoch).c_str(), 0) != 0)
        return errno_error(errno, "removing " + limbo_path(object, epoch) + " from limbo");
    take_bytes(epoch, bytes);
    return bytes;
}

void Limbo::remove_directory(Epoch epoch) {
    // Fails with ENOTEMPTY while something is still there: then it stays.
    unlinkat(directory_.get(), format_limbo_directory_name(epoch).c_str(), AT_REMOVEDIR);
}

void Limbo::add_bytes(Epoch epoch, std::uint64_t bytes) {
    std::lock_guard lock(mutex_);
    if (counted_) by_epoch_[epoch] += bytes;
    bytes_ = bytes_.load() + bytes;
}

void Limbo::take_bytes(Epoch epoch, std::uint64_t bytes) {
    std::lock_guard lock(mutex_);
    // It may have grown since it was counted.
    if (counted_) bytes = std::min(bytes, by_epoch_[epoch]);
    if (counted_) by_epoch_[epoch] -= bytes;
    bytes_ = bytes_.load() - std::min(bytes_.load(), bytes);
}

void Limbo::set_bytes(std::uint64_t bytes) {
    std::lock_guard lock(mutex_);
    counted_ = bytes == 0;
    by_epoch_.clear();
    bytes_ = bytes;
}

Result<void> Limbo::measure_bytes(Epoch from, Epoch until) {
    {
        std::lock_guard lock(mutex_);
        if (!counted_) from = 0, until = UINT64_MAX;
    }
    std::map<Epoch, std::uint64_t> found;
    UMBRA_ASSIGN(auto dead_epochs, epochs());
    for (Epoch epoch : dead_epochs) {
        if (epoch < from || epoch >= until) continue;
        UMBRA_ASSIGN(auto dead, objects(epoch));
        for (ObjectId object : dead) found[epoch] += object_bytes(object, epoch).value_or(0);
    }
    std::lock_guard lock(mutex_);
    std::erase_if(by_epoch_,
                  [&](const auto& known) { return known.first >= from && known.first < until; });
    by_epoch_.merge(found);
    counted_ = true;
    std::uint64_t bytes = 0;
    for (const auto& [epoch, of_epoch] : by_epoch_) bytes += of_epoch;
    bytes_ = bytes;
    return {};
}

Result<void> Limbo::recover() {
    UMBRA_ASSIGN(auto dead_epochs, epochs());
    for (Epoch epoch : dead_epochs) {
        UMBRA_ASSIGN(auto dead, objects(epoch));
        for (ObjectId object : dead) {
            struct stat status {};
            std::string path = limbo_path(object, epoch);
            // One that still has a live name: the rename did not happen.
            if (fstatat(directory_.get(), path.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
                status.st_nlink > 1)
                unlinkat(directory_.get(), path.c_str(), 0);
        }
    }
    return measure_bytes();
}

Result<void> Limbo::sync() {
    if (syncfs(directory_.get()) != 0) return errno_error(errno, "syncing the share's filesystem");
    return {};
}

}  // namespace umbra
