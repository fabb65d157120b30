// Object ids and the kernel's file handles: one is rebuilt from the other without a table on ext4,
// XFS, btrfs and tmpfs (name_to_handle_at(2), open_by_handle_at(2)).
#pragma once

#include <sys/stat.h>

#include <array>
#include <cstdint>
#include <string>

#include "snapstore/object_id.h"
#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

class HandleCodec {
   public:
    HandleCodec() = default;
    // Learns the layout of this filesystem's handles from its root. kRefused where they have no
    // known layout.
    static Result<HandleCodec> learn(int directory_fd, const std::string& path);

    // Identity of a name in a directory ("" and AT_EMPTY_PATH: of the descriptor itself). Symlinks
    // are not followed. EXDEV when it lies on another filesystem or btrfs subvolume.
    Result<ObjectId> identify(int directory_fd, const char* name) const;
    Result<ObjectId> identify(int fd) const;

    // The object that has an inode number now, whatever its generation. It may be anywhere on the
    // filesystem (on btrfs: the subvolume). `filesystem_fd`: a descriptor there that is not O_PATH.
    // ESTALE when there is none, and on tmpfs, which cannot tell.
    Result<ObjectId> find_inode(int filesystem_fd, std::uint64_t inode) const;

    // Opens an object; flags as open(2). ESTALE when it is gone.
    Result<UniqueFd> open(int mount_fd, ObjectId id, int flags) const;

   private:
    enum class Layout { kInode32, kInode64, kTmpfs, kBtrfs };
    static constexpr unsigned kMaxBytes = 128;

    Result<ObjectId> identify_at(int directory_fd, const char* name, int flags) const;

    Layout layout_ = Layout::kInode32;
    int type_ = 0;
    unsigned bytes_ = 0;
    int mount_id_ = 0;
    bool is_xfs_ = false;          // where the generation of a handle must be right, not left open
    std::uint64_t subvolume_ = 0;  // btrfs: root_objectid, the same for the whole share
};

}  // namespace umbra
