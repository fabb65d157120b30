// The share as it was at one snapshot. Read-only; built from undo records and, where there are
// none, from the live tree ("look, read live, look again", DESIGN section 5).
//
// Thread safety: every method may be called from any thread. Errors: ENOENT; ESTALE when the
// snapshot was deleted meanwhile; EIO when the diff area is damaged there (never wrong data).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "snapstore/attributes.h"
#include "snapstore/byte_range.h"
#include "snapstore/object_id.h"
#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

class VolumeCore;

struct PastEntry {
    ObjectId id;
    struct stat status {};  // st_ino is the underlying inode number
};

struct PastDirectoryEntry {
    std::string name;
    ObjectId id;
    unsigned char type = 0;  // DT_*
};

// A regular file of a snapshot held open.
struct PastFile {
    ObjectId id;
    UniqueFd fd;  // the live or limbo object; invalid when nothing of it is left but records
    std::uint64_t size = 0;  // at the snapshot
};

class PastTree {
   public:
    PastTree(VolumeCore& core, Epoch snapshot) : core_(&core), snapshot_(snapshot) {}

    Epoch snapshot() const { return snapshot_; }
    ObjectId root() const;

    Result<PastEntry> lookup(ObjectId directory, const std::string& name);
    // The directory that a directory was in; not for the root.
    Result<ObjectId> parent(ObjectId directory);
    // The object that had this inode number (node ids carry no more). ESTALE where none is known
    // that can have been in the share.
    Result<ObjectId> find_inode(std::uint64_t inode);
    Result<struct stat> status(ObjectId object);
    Result<Attributes> attributes(ObjectId object);  // stat, xattrs, target and location
    Result<std::string> read_link(ObjectId object);
    Result<std::string> get_extended(ObjectId object, const std::string& name);
    Result<std::vector<std::string>> list_extended(ObjectId object);
    // All entries but "." and "..", sorted by name, so that an index into it is a stable cookie.
    Result<std::vector<PastDirectoryEntry>> list(ObjectId directory);
    // Resolves a path relative to the root of the share ("" is the root); symlinks are not
    // followed.
    Result<PastEntry> resolve(const std::string& path);

    Result<PastFile> open(ObjectId object);
    // Reads up to buffer.size() bytes at offset; short only at the end of the file.
    Result<std::size_t> read(const PastFile& file, std::uint64_t offset,
                             std::span<std::byte> buffer);
    // Does any of it still come from the live (or limbo) object rather than from records?
    Result<bool> needs_object(const PastFile& file);
    // The blocks of [first, first+count) that come from records, in the order of the file:
    // elsewhere the live object still is what the file was. Looks into the index alone.
    Result<std::vector<ByteRange>> preserved_ranges(const PastFile& file, std::uint64_t first,
                                                    std::uint64_t count);
    // SEEK_DATA or SEEK_HOLE; ENXIO as lseek(2).
    Result<std::uint64_t> seek(const PastFile& file, std::uint64_t offset, int whence);

   private:
    friend class History;
    Result<void> check_alive() const;

    VolumeCore* core_;
    Epoch snapshot_;
};

}  // namespace umbra
