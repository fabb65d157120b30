// Changes of names: creating, linking, removing, renaming.
#include <fcntl.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "snapstore/live_change.h"
#include "snapstore/live_tree.h"
#include "snapstore/thread_identity.h"
#include "snapstore/volume_core.h"

namespace umbra {

namespace {

// Preserves what a new name in a directory changes: that it was absent, and the directory's
// attributes.
Result<void> preserve_new_name(Preserver& preserver, ObjectId parent, int parent_fd,
                               const std::string& name) {
    UMBRA_TRY(preserver.entry(parent, parent_fd, name));
    UMBRA_TRY(preserver.attributes(parent, parent_fd, {}));
    return preserver.wait();
}

// An object reached by name, to be moved or removed.
struct Target {
    UniqueFd fd;  // O_PATH
    ObjectId id;
    struct stat status {};
};

Result<Target> open_target(const VolumeCore& core, int parent_fd, const std::string& name) {
    Target target;
    target.fd.reset(openat(parent_fd, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!target.fd.valid()) return errno_only(errno);
    if (fstatat(target.fd.get(), "", &target.status, AT_EMPTY_PATH) != 0) return errno_only(errno);
    UMBRA_ASSIGN(target.id, core.mount.codec.identify(target.fd.get()));
    if (target.id == core.control_id) return errno_only(ENOENT);
    return target;
}

// Its link count once nobody can change it any more.
Result<void> refresh(Target& target) {
    if (fstatat(target.fd.get(), "", &target.status, AT_EMPTY_PATH) != 0) return errno_only(errno);
    return {};
}

Removed removed(Target target, bool kept) {
    Removed result{target.id, true, kept, {}, {}};
    if (S_ISDIR(target.status.st_mode))
        result.directory = target.status;
    else
        result.last_name = target.status.st_nlink <= 1;
    if (result.last_name && !kept && !result.directory) result.fd = std::move(target.fd);
    return result;
}

// What waits in limbo has a name there and counts as removed all the same: link(2) refuses it.
Result<bool> lost_last_name(const VolumeCore& core, ObjectId object, int fd) {
    struct stat status {};
    if (fstatat(fd, "", &status, AT_EMPTY_PATH) != 0) return errno_only(errno);
    if (!core.limbo || !S_ISREG(status.st_mode) || status.st_nlink != 1) return false;
    return core.limbo->holds(object);
}

std::uint64_t disk_bytes(const struct stat& status) {
    return static_cast<std::uint64_t>(status.st_blocks) * 512;
}

// Is this the last name of a file whose contents a snapshot needs? Then it goes to limbo instead of
// away.
Result<bool> must_keep(Preserver& preserver, const Target& target) {
    if (!preserver.needed() || !S_ISREG(target.status.st_mode) || target.status.st_nlink != 1)
        return false;
    UMBRA_ASSIGN(bool born, preserver.born_after(target.id));
    return !born;
}

// One of several names of a file whose contents a snapshot needs is about to go.
Result<void> secure_other_names(const VolumeCore& core, Preserver& preserver,
                                const Target& target) {
    if (!preserver.needed() || !S_ISREG(target.status.st_mode) || target.status.st_nlink < 2)
        return {};
    UMBRA_ASSIGN(bool born, preserver.born_after(target.id));
    if (born) return {};
    return core.limbo->secure_names(target.fd.get());
}

// Errors of the limbo directory for want of space are answered by making room, like those of the
// log.
tl::unexpected<Error> limbo_error(Error error) {
    if (error.code == ENOSPC || error.code == EDQUOT) error = {ENOSPC, ErrorKind::kNeedsSpace, {}};
    return tl::make_unexpected(std::move(error));
}

int rename_call(int old_parent, const char* old_name, int new_parent, const char* new_name,
                unsigned flags) {
    if (flags == 0) return renameat(old_parent, old_name, new_parent, new_name);
    return static_cast<int>(
        syscall(SYS_renameat2, old_parent, old_name, new_parent, new_name, flags));
}

}  // namespace

Result<Entry> LiveTree::make_node(ObjectId parent, const std::string& name, mode_t mode,
                                  dev_t device, const Caller& caller) {
    UMBRA_TRY(check_new_name(core_, parent, name));
    return change(core_, [&](Preserver& preserver) -> Result<Entry> {
        auto names = core_.name_locks.directory(parent);
        UMBRA_ASSIGN(auto fd, open_parent(core_, parent));
        UMBRA_TRY(preserve_new_name(preserver, parent, fd.get(), name));
        {
            CallerScope as_caller(caller);
            if (mknodat(fd.get(), name.c_str(), mode, device) != 0) return errno_only(errno);
        }
        UMBRA_ASSIGN(auto entry, entry_at(fd.get(), parent, name.c_str()));
        UMBRA_TRY(preserver.note_birth(entry.id));
        return entry;
    });
}

Result<Entry> LiveTree::make_directory(ObjectId parent, const std::string& name, mode_t mode,
                                       const Caller& caller) {
    UMBRA_TRY(check_new_name(core_, parent, name));
    return change(core_, [&](Preserver& preserver) -> Result<Entry> {
        auto names = core_.name_locks.directory(parent);
        UMBRA_ASSIGN(auto fd, open_parent(core_, parent));
        UMBRA_TRY(preserve_new_name(preserver, parent, fd.get(), name));
        {
            CallerScope as_caller(caller);
            if (mkdirat(fd.get(), name.c_str(), mode) != 0) return errno_only(errno);
        }
        UMBRA_ASSIGN(auto entry, entry_at(fd.get(), parent, name.c_str()));
        UMBRA_TRY(preserver.note_birth(entry.id));
        return entry;
    });
}

Result<Entry> LiveTree::make_symlink(ObjectId parent, const std::string& name,
                                     const std::string& target, const Caller& caller) {
    UMBRA_TRY(check_new_name(core_, parent, name));
    return change(core_, [&](Preserver& preserver) -> Result<Entry> {
        auto names = core_.name_locks.directory(parent);
        UMBRA_ASSIGN(auto fd, open_parent(core_, parent));
        UMBRA_TRY(preserve_new_name(preserver, parent, fd.get(), name));
        {
            CallerScope as_caller(caller);
            if (symlinkat(target.c_str(), fd.get(), name.c_str()) != 0) return errno_only(errno);
        }
        UMBRA_ASSIGN(auto entry, entry_at(fd.get(), parent, name.c_str()));
        UMBRA_TRY(preserver.note_birth(entry.id));
        return entry;
    });
}

Result<Entry> LiveTree::link(ObjectId object, ObjectId new_parent, const std::string& new_name) {
    UMBRA_TRY(check_new_name(core_, new_parent, new_name));
    return change(core_, [&](Preserver& preserver) -> Result<Entry> {
        auto names = core_.name_locks.directory(new_parent);
        auto links = core_.name_locks.object(object);
        UMBRA_ASSIGN(auto fd, open_parent(core_, new_parent));
        UMBRA_ASSIGN(auto object_fd, core_.mount.open_object(object, O_PATH | O_NOFOLLOW));
        UMBRA_ASSIGN(bool removed, lost_last_name(core_, object, object_fd.get()));
        if (removed) return errno_only(ENOENT);
        UMBRA_TRY(preserver.attributes(object, object_fd.get(), {}));
        UMBRA_TRY(preserve_new_name(preserver, new_parent, fd.get(), new_name));
        if (linkat(object_fd.get(), "", fd.get(), new_name.c_str(), AT_EMPTY_PATH) != 0)
            return errno_only(errno);
        return entry_at(fd.get(), new_parent, new_name.c_str());
    });
}

Result<Removed> LiveTree::unlink(ObjectId parent, const std::string& name) {
    UMBRA_TRY(check_old_name(core_, parent, name));
    return change(core_, [&](Preserver& preserver) -> Result<Removed> {
        auto names = core_.name_locks.directory(parent);
        UMBRA_ASSIGN(auto fd, open_parent(core_, parent));
        UMBRA_ASSIGN(auto target, open_target(core_, fd.get(), name));
        if (S_ISDIR(target.status.st_mode)) return errno_only(EISDIR);
        auto links = core_.name_locks.object(target.id);
        UMBRA_TRY(refresh(target));
        UMBRA_TRY(preserver.entry(parent, fd.get(), name));
        UMBRA_TRY(preserver.attributes(parent, fd.get(), {}));
        UMBRA_TRY(preserver.attributes(target.id, target.fd.get(), {parent, name}));
        UMBRA_ASSIGN(bool keep, must_keep(preserver, target));
        UMBRA_TRY(secure_other_names(core_, preserver, target));
        UMBRA_TRY(preserver.wait());
        if (keep) {
            auto taken = core_.limbo->take(fd.get(), name.c_str(), target.id, core_.epoch.load(),
                                           disk_bytes(target.status));
            if (!taken) return limbo_error(std::move(taken.error()));
            preserver.note_growth(disk_bytes(target.status));
        } else if (unlinkat(fd.get(), name.c_str(), 0) != 0) {
            return errno_only(errno);
        }
        return removed(std::move(target), keep);
    });
}

Result<Removed> LiveTree::remove_directory(ObjectId parent, const std::string& name) {
    UMBRA_TRY(check_old_name(core_, parent, name));
    return change(core_, [&](Preserver& preserver) -> Result<Removed> {
        auto names = core_.name_locks.directory(parent);
        UMBRA_ASSIGN(auto fd, open_parent(core_, parent));
        UMBRA_ASSIGN(auto target, open_target(core_, fd.get(), name));
        if (!S_ISDIR(target.status.st_mode)) return errno_only(ENOTDIR);
        // Its names are all recorded: an empty directory of the past is its records alone, so it
        // needs no limbo.
        UMBRA_TRY(preserver.entry(parent, fd.get(), name));
        UMBRA_TRY(preserver.attributes(parent, fd.get(), {}));
        UMBRA_TRY(preserver.attributes(target.id, target.fd.get(), {parent, name}));
        UMBRA_TRY(preserver.wait());
        if (unlinkat(fd.get(), name.c_str(), AT_REMOVEDIR) != 0) return errno_only(errno);
        core_.directories.forget(target.id);
        return removed(std::move(target), false);
    });
}

Result<std::optional<Removed>> LiveTree::rename(ObjectId parent, const std::string& name,
                                                ObjectId new_parent, const std::string& new_name,
                                                unsigned flags) {
    using Outcome = std::optional<Removed>;
    if ((flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE)) != 0) return errno_only(EINVAL);
    UMBRA_TRY(check_old_name(core_, parent, name));
    UMBRA_TRY(check_new_name(core_, new_parent, new_name));
    return change(core_, [&](Preserver& preserver) -> Result<Outcome> {
        auto names = core_.name_locks.directories(parent, new_parent);
        UMBRA_ASSIGN(auto old_fd, open_parent(core_, parent));
        UMBRA_ASSIGN(auto new_fd, open_parent(core_, new_parent));
        UMBRA_ASSIGN(auto source, open_target(core_, old_fd.get(), name));
        std::optional<Target> target;
        if (auto found = open_target(core_, new_fd.get(), new_name))
            target = std::move(*found);
        else if (found.error().code != ENOENT)
            return forward_error(found);
        if (target && target->id == source.id && (flags & RENAME_EXCHANGE) == 0 &&
            (flags & RENAME_NOREPLACE) == 0)
            return Outcome{};  // two names of one file: rename(2) does nothing

        UMBRA_TRY(preserver.entry(parent, old_fd.get(), name));
        UMBRA_TRY(preserver.entry(new_parent, new_fd.get(), new_name));
        UMBRA_TRY(preserver.attributes(parent, old_fd.get(), {}));
        UMBRA_TRY(preserver.attributes(new_parent, new_fd.get(), {}));
        UMBRA_TRY(preserver.attributes(source.id, source.fd.get(), {parent, name}));
        bool replaces = target && (flags & RENAME_EXCHANGE) == 0;
        bool keep = false;
        std::unique_lock<std::mutex> links;
        if (replaces) {
            links = core_.name_locks.object(target->id);
            UMBRA_TRY(refresh(*target));
        }
        if (target) {
            UMBRA_TRY(preserver.attributes(target->id, target->fd.get(), {new_parent, new_name}));
            if (replaces) {
                UMBRA_ASSIGN(keep, must_keep(preserver, *target));
                UMBRA_TRY(secure_other_names(core_, preserver, *target));
            }
        }
        UMBRA_TRY(preserver.wait());
        Epoch epoch = core_.epoch.load();
        if (keep) {
            // Linked first, so that the rename stays one atomic step and a crash never leaves the
            // name empty.
            auto linked =
                core_.limbo->link(target->fd.get(), target->id, epoch, disk_bytes(target->status));
            if (!linked) return limbo_error(std::move(linked.error()));
            preserver.note_growth(disk_bytes(target->status));
        }
        if (rename_call(old_fd.get(), name.c_str(), new_fd.get(), new_name.c_str(), flags) != 0) {
            int code = errno;
            if (keep)
                static_cast<void>(
                    core_.limbo->unlink(target->id, epoch, disk_bytes(target->status)));
            return errno_only(code);
        }
        if (!replaces) return Outcome{};
        if (S_ISDIR(target->status.st_mode)) core_.directories.forget(target->id);
        return Outcome{removed(std::move(*target), keep)};
    });
}

}  // namespace umbra
