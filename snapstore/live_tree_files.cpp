// Files: creating, opening, changing contents.
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>

#include "snapstore/live_change.h"
#include "snapstore/live_tree.h"
#include "snapstore/proc_path.h"
#include "snapstore/thread_identity.h"
#include "snapstore/volume_core.h"

namespace umbra {

namespace {

constexpr std::size_t kMaxCopyAtOnce =
    16 << 20;  // bounds how long a snapshot's cut may wait for one copy_file_range

// What of a caller's open flags means something below: the kernel has resolved names, offsets and
// creation already. O_PATH comes from the mount itself, to ask something of an object of any kind.
int flags_below(int flags) {
    if ((flags & O_PATH) != 0) return O_PATH | O_NOFOLLOW;
    return (flags & (O_ACCMODE | O_SYNC | O_DSYNC)) | O_NOATIME | O_NOFOLLOW | O_NONBLOCK;
}

// Original blocks are read before they are overwritten, so a writable file is opened readable where
// possible.
int readable(int flags) {
    return (flags & O_ACCMODE) == O_WRONLY ? (flags & ~O_ACCMODE) | O_RDWR : flags;
}

Result<UniqueFd> open_below(const VolumeCore& core, ObjectId object, int flags) {
    int below = flags_below(flags);
    auto fd = core.mount.open_object(object, readable(below));
    if (!fd && fd.error().code == EPERM &&
        (flags & O_APPEND) != 0)  // an append-only file (chattr +a)
        fd = core.mount.open_object(object, readable(below) | O_APPEND);
    return fd;
}

bool ordinary(const Caller& caller) { return caller.uid != 0; }

// Nothing but a failing disk may keep a deferred write from its file later: it lies within the
// file, over data that is there, and the filesystem has room to write it elsewhere (btrfs does).
// And it must do no more than write: set-id bits are cleared at once, O_SYNC promises more, and who
// may not write any more (chattr +i, a quota) hears of it at once.
bool can_be_deferred(VolumeCore& core, const OpenFile& file, std::uint64_t offset,
                     std::size_t size) {
    if (core.root_reserve.has_quotas(core.mount.root.get())) return false;
    if ((file.flags & (O_SYNC | O_DSYNC)) != 0 || size == 0 || !core.deferred->has_room(size))
        return false;
    const int fd = file.fd.get();
    struct statx status {};
    if (statx(fd, "", AT_EMPTY_PATH, STATX_TYPE | STATX_MODE | STATX_SIZE, &status) != 0 ||
        !S_ISREG(status.stx_mode) || (status.stx_mode & (S_ISUID | S_ISGID)) != 0 ||
        (status.stx_attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND)) != 0 ||
        offset + size > status.stx_size)
        return false;
    off_t hole = lseek(fd, static_cast<off_t>(offset), SEEK_HOLE);
    if (hole < 0 || static_cast<std::uint64_t>(hole) < offset + size) return false;
    struct statvfs filesystem {};
    return fstatvfs(fd, &filesystem) == 0 &&
           static_cast<std::uint64_t>(filesystem.f_bavail) * filesystem.f_frsize >
               2 * core.deferred->most_bytes();
}

Result<std::string> fetched(const LiveTree::Fetch& fetch, std::size_t size) {
    std::string bytes(size, '\0');
    ssize_t count = fetch({reinterpret_cast<std::byte*>(bytes.data()), size});
    if (count < 0) return errno_only(static_cast<int>(-count));
    if (static_cast<std::size_t>(count) != size) return errno_only(EIO);
    return bytes;
}

// Bytes written, or -errno.
ssize_t retry_write(int fd, const std::string& bytes, std::uint64_t offset) {
    ssize_t written;
    do written = pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    while (written < 0 && errno == EINTR);
    return written < 0 ? -errno : written;
}

// What O_TRUNC does; the file may have been opened for reading only. By ftruncate(2), which dates
// also an empty file; truncate(2) does not do so on all filesystems.
Result<void> make_empty(int fd, int flags, const Caller& caller) {
    UniqueFd writable;
    if ((flags & O_ACCMODE) == O_RDONLY) {
        writable.reset(::open(ProcPath(fd).c_str(), O_WRONLY | O_NOATIME | O_CLOEXEC));
        if (!writable.valid()) return errno_only(errno);
        fd = writable.get();
    }
    ClearSetIdScope clear(ordinary(caller), fd);
    if (ftruncate(fd, 0) != 0) return errno_only(errno);
    return {};
}

}  // namespace

Result<LiveTree::Created> LiveTree::create(ObjectId parent, const std::string& name, mode_t mode,
                                           int flags, const Caller& caller) {
    UMBRA_TRY(check_new_name(core_, parent, name));
    return change(core_, [&](Preserver& preserver) -> Result<Created> {
        auto names = core_.name_locks.directory(parent);
        UMBRA_ASSIGN(auto fd, open_parent(core_, parent));
        if (auto existing = entry_at(fd.get(), parent, name.c_str())) {
            if ((flags & O_EXCL) != 0) return errno_only(EEXIST);
            if (S_ISLNK(existing->status.st_mode)) return errno_only(ELOOP);
            if (S_ISDIR(existing->status.st_mode)) return errno_only(EISDIR);
            bool truncates = (flags & O_TRUNC) != 0 && S_ISREG(existing->status.st_mode);
            if (truncates) UMBRA_TRY(preserver.content_from(existing->id, 0));
            UMBRA_TRY(preserver.wait());
            UMBRA_ASSIGN(auto file, open_below(core_, existing->id, flags));
            if (truncates) {
                UMBRA_TRY(before_change(core_, existing->id, flags));
                UMBRA_TRY(make_empty(file.get(), flags, caller));
            }
            return Created{*existing, {existing->id, std::move(file), flags}, true};
        }
        UMBRA_TRY(preserver.entry(parent, fd.get(), name));
        UMBRA_TRY(preserver.attributes(parent, fd.get(), {}));
        UMBRA_TRY(preserver.wait());
        OpenFile file{{}, UniqueFd(), flags};
        {
            CallerScope as_caller(caller);
            file.fd.reset(openat(fd.get(), name.c_str(),
                                 readable(flags_below(flags)) | O_CREAT | O_EXCL | O_CLOEXEC,
                                 mode));
            if (!file.fd.valid()) return errno_only(errno);
        }
        Entry entry;
        if (fstat(file.fd.get(), &entry.status) != 0) return errno_only(errno);
        UMBRA_ASSIGN(entry.id, core_.mount.codec.identify(file.fd.get()));
        file.id = entry.id;
        UMBRA_TRY(preserver.note_birth(entry.id));
        return Created{entry, std::move(file), false};
    });
}

Result<LiveTree::Created> LiveTree::create_unnamed(ObjectId parent, mode_t mode, int flags,
                                                   const Caller& caller) {
    return change(core_, [&](Preserver& preserver) -> Result<Created> {
        UMBRA_ASSIGN(auto fd, open_parent(core_, parent));
        OpenFile file{{}, UniqueFd(), flags};
        {
            CallerScope as_caller(caller);
            int below = (readable(flags_below(flags)) & ~O_NOFOLLOW) | O_TMPFILE | O_CLOEXEC |
                        (flags & O_EXCL);
            file.fd.reset(openat(fd.get(), ".", below, mode));
            if (!file.fd.valid()) return errno_only(errno);
        }
        Entry entry;
        if (fstat(file.fd.get(), &entry.status) != 0) return errno_only(errno);
        UMBRA_ASSIGN(entry.id, core_.mount.codec.identify(file.fd.get()));
        file.id = entry.id;
        UMBRA_TRY(preserver.note_birth(entry.id));
        return Created{entry, std::move(file), false};
    });
}

Result<OpenFile> LiveTree::open(ObjectId object, int flags, const Caller& caller) {
    if ((flags & O_TRUNC) == 0) {
        if (core_.read_only && (flags & O_ACCMODE) != O_RDONLY) return errno_only(EROFS);
        UMBRA_ASSIGN(auto fd, open_below(core_, object, flags));
        return OpenFile{object, std::move(fd), flags};
    }
    return change(core_, [&](Preserver& preserver) -> Result<OpenFile> {
        UMBRA_ASSIGN(auto fd, open_below(core_, object, flags));
        struct stat status {};
        if (fstat(fd.get(), &status) != 0) return errno_only(errno);
        if (!S_ISREG(status.st_mode))
            return OpenFile{object, std::move(fd), flags};  // O_TRUNC means nothing there
        UMBRA_TRY(preserver.content_from(object, 0));
        UMBRA_TRY(preserver.wait());
        UMBRA_TRY(before_change(core_, object, flags));
        UMBRA_TRY(make_empty(fd.get(), flags, caller));
        return OpenFile{object, std::move(fd), flags};
    });
}

Result<std::size_t> LiveTree::write(OpenFile& file, std::uint64_t offset, std::size_t size,
                                    const Caller& caller,
                                    const std::function<ssize_t(int fd)>& perform,
                                    const Fetch& fetch) {
    std::optional<std::string> bytes;  // once they have been fetched
    return change(core_, [&](Preserver& preserver) -> Result<std::size_t> {
        UMBRA_TRY(preserver.content(file.id, offset, size, file.fd.get()));
        if (fetch && (preserver.must_wait() || core_.deferred->pending(file.id)) &&
            can_be_deferred(core_, file, offset, size)) {
            if (!bytes) {
                UMBRA_ASSIGN(bytes, fetched(fetch, size));
            }
            UMBRA_TRY(core_.space.check(size + 2 * kRecordAlignment));
            UMBRA_TRY(
                core_.deferred->add(preserver.epoch(), file.id, file.fd.get(), offset, *bytes));
            preserver.note_growth(size);
            return size;
        }
        UMBRA_TRY(preserver.wait());
        UMBRA_TRY(before_change(core_, file.id, file.flags));
        OrdinaryRoomScope room(room_is_kept_from(core_, caller), caller);
        ClearSetIdScope clear(ordinary(caller), file.fd.get());
        ssize_t written =
            bytes ? retry_write(file.fd.get(), *bytes, offset) : perform(file.fd.get());
        if (written < 0) return errno_only(static_cast<int>(-written));
        return static_cast<std::size_t>(written);
    });
}

Result<void> LiveTree::allocate(OpenFile& file, int mode, std::uint64_t offset,
                                std::uint64_t length, const Caller& caller, const After& after) {
    constexpr int kKnownModes = FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE |
                                FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_ZERO_RANGE |
                                FALLOC_FL_INSERT_RANGE | FALLOC_FL_UNSHARE_RANGE;
    if ((mode & ~kKnownModes) != 0)
        return errno_only(EOPNOTSUPP);  // what it would change is not known
    return change(core_, [&](Preserver& preserver) -> Result<void> {
        if ((mode & (FALLOC_FL_COLLAPSE_RANGE | FALLOC_FL_INSERT_RANGE)) != 0)
            UMBRA_TRY(preserver.content_from(file.id, offset));
        else if ((mode & (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_ZERO_RANGE)) != 0)
            UMBRA_TRY(preserver.content_data(file.id, offset, length));
        else  // only allocates, and perhaps extends: begins the content, so that the old end of the
              // file is known
            UMBRA_TRY(preserver.content(file.id, offset, 0));
        UMBRA_TRY(preserver.wait());
        UMBRA_TRY(before_change(core_, file.id, file.flags));
        OrdinaryRoomScope room(room_is_kept_from(core_, caller), caller);
        ClearSetIdScope clear(ordinary(caller), file.fd.get());
        if (fallocate(file.fd.get(), mode, static_cast<off_t>(offset),
                      static_cast<off_t>(length)) != 0)
            return errno_only(errno);
        if (after) after(file.fd.get());
        return {};
    });
}

Result<std::size_t> LiveTree::copy_range(const OpenFile& in, std::uint64_t in_offset, OpenFile& out,
                                         std::uint64_t out_offset, std::size_t length,
                                         const Caller& caller, const After& after) {
    return copy_range(in.id, in.fd.get(), in_offset, out, out_offset, length, caller, after);
}

Result<std::size_t> LiveTree::copy_range(ObjectId in, int in_fd, std::uint64_t in_offset,
                                         OpenFile& out, std::uint64_t out_offset,
                                         std::size_t length, const Caller& caller,
                                         const After& after) {
    length = std::min(length, kMaxCopyAtOnce);
    return change(core_, [&](Preserver& preserver) -> Result<std::size_t> {
        UMBRA_TRY(preserver.content(out.id, out_offset, length, out.fd.get()));
        UMBRA_TRY(preserver.wait());
        core_.settle(in);
        UMBRA_TRY(before_change(core_, out.id, out.flags));
        OrdinaryRoomScope room(room_is_kept_from(core_, caller), caller);
        ClearSetIdScope clear(ordinary(caller), out.fd.get());
        auto from = static_cast<off64_t>(in_offset);
        auto to = static_cast<off64_t>(out_offset);
        ssize_t copied = copy_file_range(in_fd, &from, out.fd.get(), &to, length, 0);
        if (copied < 0) return errno_only(errno);
        if (after) after(out.fd.get());
        return static_cast<std::size_t>(copied);
    });
}

}  // namespace umbra
