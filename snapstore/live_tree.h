// The live tree: every change to a share goes through here. Each method takes the change gate,
// preserves what a snapshot still needs (and waits until that is durable), then makes the one
// change on the underlying filesystem. Permission checks are the caller's business (the kernel does
// them with default_permissions); ownership of new objects is decided here from Caller.
//
// Thread safety: every method may be called from any thread at any time, except where noted. Locks
// and their order: docs/architecture.md, "Locks".
//
// Errors: the errno of the underlying system call; ESTALE when the object is gone; ENOSPC when the
// diff area is full and the policy forbids to evict; EROFS when the volume was opened read-only.
#pragma once

#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "snapstore/caller.h"
#include "snapstore/object_id.h"
#include "snapstore/result.h"
#include "snapstore/unique_fd.h"
#include "snapstore/volume_files.h"

namespace umbra {

class VolumeCore;   // shared internals of an open volume (snapstore/volume_core.h)
class ObjectState;  // what is already preserved of one object (snapstore/object_state.h)

// Names in the root of a share that belong to Umbra.
inline constexpr const char* kSnapshotsDirectoryName = ".snapshots";  // virtual, shown by fuse/

// An object found by name: its identity and what stat says.
struct Entry {
    ObjectId id;
    struct stat status {};
};

// An object that lost its last name. When `kept` it waits in limbo: its descriptors still work, but
// its link count must be shown as 0 although the underlying one is 1.
struct Removed {
    ObjectId id;
    bool last_name = false;
    bool kept = false;
    std::optional<struct stat> directory;  // of a removed directory: what it was last
    UniqueFd fd;  // O_PATH, of what is gone with its last name: as long as it is open, the object
                  // can be opened by its handle, and no other gets its inode number
};

// A live file held open. Destroying it closes the descriptor.
struct OpenFile {
    ObjectId id;
    UniqueFd fd;  // underlying descriptor; readable too whenever it is writable, if the filesystem
                  // allows
    int flags = 0;  // as asked for (O_ACCMODE and status flags)
};

enum class TimeChange { kOmit, kNow, kSet };

// What setattr asks for; absent members stay.
struct AttributeChange {
    std::optional<mode_t> mode;
    std::optional<uid_t> uid;
    std::optional<gid_t> gid;
    std::optional<std::uint64_t> size;
    TimeChange access_time_change = TimeChange::kOmit;
    TimeChange modification_time_change = TimeChange::kOmit;
    struct timespec access_time {};
    struct timespec modification_time {};
    bool clear_set_id = false;  // clear set-user-ID/set-group-ID/capabilities (FATTR_KILL_SUIDGID)
};

class LiveTree {
   public:
    explicit LiveTree(VolumeCore& core) : core_(core) {}

    ObjectId root() const;

    // --- looking (no gate, nothing preserved) ------------------------------------------------
    // `.umbra` and `.snapshots` in the root are ENOENT here.
    Result<Entry> lookup(ObjectId directory, const std::string& name);
    Result<Entry> lookup_self(ObjectId object);       // "." : refreshes identity and stat
    Result<Entry> lookup_parent(ObjectId directory);  // ".." : stays inside the share
    // The object that has this inode number now (node ids carry no more). ESTALE unless it is one
    // of the share: not outside of it, not below .umbra, not removed.
    Result<ObjectId> find_inode(std::uint64_t inode);
    Result<struct stat> status(ObjectId object);
    Result<struct stat> status_of(const OpenFile& file);
    Result<std::string> read_link(ObjectId object);
    Result<UniqueFd> open_directory(ObjectId directory);  // for getdents and fsync; O_NOATIME
    // True where a directory entry read from the underlying directory must not be shown.
    bool hidden(ObjectId directory, const char* name) const;
    // Identity of a name in an open directory (readdirplus): ENOENT when it is gone meanwhile.
    Result<Entry> entry_at(int directory_fd, ObjectId directory, const char* name);
    Result<struct statvfs> filesystem_status();
    Result<std::string> get_extended(ObjectId object, const std::string& name);
    Result<std::vector<std::string>> list_extended(ObjectId object);

    // --- names ----------------------------------------------------------------------------------
    // Regular files (S_IFREG), fifos, sockets and devices.
    Result<Entry> make_node(ObjectId parent, const std::string& name, mode_t mode, dev_t device,
                            const Caller& caller);
    Result<Entry> make_directory(ObjectId parent, const std::string& name, mode_t mode,
                                 const Caller& caller);
    Result<Entry> make_symlink(ObjectId parent, const std::string& name, const std::string& target,
                               const Caller& caller);
    Result<Entry> link(ObjectId object, ObjectId new_parent, const std::string& new_name);
    Result<Removed> unlink(ObjectId parent, const std::string& name);
    Result<Removed> remove_directory(ObjectId parent, const std::string& name);
    // flags: 0, RENAME_NOREPLACE or RENAME_EXCHANGE; others are EINVAL. Returns what was replaced,
    // if anything.
    Result<std::optional<Removed>> rename(ObjectId parent, const std::string& name,
                                          ObjectId new_parent, const std::string& new_name,
                                          unsigned flags);

    // --- files -----------------------------------------------------------------------------------
    struct Created {
        Entry entry;
        OpenFile file;
        bool existed = false;
    };
    // open(O_CREAT); an existing file is opened (and truncated with O_TRUNC) unless O_EXCL.
    Result<Created> create(ObjectId parent, const std::string& name, mode_t mode, int flags,
                           const Caller& caller);
    // O_TMPFILE in `parent`.
    Result<Created> create_unnamed(ObjectId parent, mode_t mode, int flags, const Caller& caller);
    // O_APPEND and O_DIRECT are not passed down: the kernel has resolved the offset already.
    Result<OpenFile> open(ObjectId object, int flags, const Caller& caller);

    // Preserves [offset, offset+size), then calls `perform` with a descriptor to write to, inside
    // the gate, and returns what it returned (bytes written, or -errno). `perform` must write
    // within the range only. Clears set-id bits for callers other than root, as write(2) does.
    //
    // With `fetch` a small write that would have to wait may be deferred (deferred_writes.h): it is
    // called instead, at most once, to put all `size` bytes into a buffer, and returns how many it
    // got or -errno.
    using Fetch = std::function<ssize_t(std::span<std::byte>)>;
    Result<std::size_t> write(OpenFile& file, std::uint64_t offset, std::size_t size,
                              const Caller& caller, const std::function<ssize_t(int fd)>& perform,
                              const Fetch& fetch = {});
    // Before a file is read through its descriptor: what has been written is there.
    void before_read(const OpenFile& file);
    // For who looks at the share's folder beside us: everything that has been written is there.
    void settle();
    // `after` belongs to the change: it is called with the file's descriptor when it has been made.
    using After = std::function<void(int fd)>;
    Result<void> allocate(OpenFile& file, int mode, std::uint64_t offset, std::uint64_t length,
                          const Caller& caller, const After& after = {});
    // copy_file_range(2), which shares the blocks where the filesystem can. May copy less.
    Result<std::size_t> copy_range(const OpenFile& in, std::uint64_t in_offset, OpenFile& out,
                                   std::uint64_t out_offset, std::size_t length,
                                   const Caller& caller, const After& after = {});
    // The same from any descriptor of the object; limbo's, too.
    Result<std::size_t> copy_range(ObjectId in, int in_fd, std::uint64_t in_offset, OpenFile& out,
                                   std::uint64_t out_offset, std::size_t length,
                                   const Caller& caller, const After& after = {});
    Result<void> synchronize(const OpenFile& file, bool data_only);

    // --- attributes ------------------------------------------------------------------------------
    // `file`: the open file, writable, through which ftruncate(2) asked for the size; null for
    // everything else. Returns the attributes afterwards.
    Result<struct stat> change_attributes(ObjectId object, const AttributeChange& change,
                                          const Caller& caller, const OpenFile* file = nullptr);
    // flags as setxattr(2): XATTR_CREATE, XATTR_REPLACE.
    Result<void> set_extended(ObjectId object, const std::string& name, const std::string& value,
                              int flags, const Caller& caller);
    Result<void> remove_extended(ObjectId object, const std::string& name);
    // FS_IOC_GETFLAGS / FS_IOC_SETFLAGS, FS_IOC_FSGETXATTR / FS_IOC_FSSETXATTR.
    Result<unsigned> inode_flags(ObjectId object);
    Result<void> set_inode_flags(ObjectId object, unsigned flags);
    Result<struct fsxattr> extended_flags(ObjectId object);
    Result<void> set_extended_flags(ObjectId object, const struct fsxattr& flags);

   private:
    VolumeCore& core_;
};

}  // namespace umbra
