// Objects by inode number alone: all that a node id carries, and so all that is known of an NFS
// client's file after the kernel has forgotten it or the share was mounted anew.
//
// The number may come from anybody, and the daemon could open any inode of the filesystem by it. So
// nothing is believed: what does not provably have a name in the share, outside of .umbra, does not
// exist. The generation need not be right, since the kernel compares it with the handle's.
#include <fcntl.h>
#include <sys/stat.h>

#include <optional>
#include <utility>

#include "snapstore/inode_search.h"
#include "snapstore/live_change.h"
#include "snapstore/live_tree.h"
#include "snapstore/locate.h"
#include "snapstore/volume_core.h"

namespace umbra {

namespace {

// Is the name in the share that the kernel remembers of an object, if any? Nothing where it
// remembers none, or one that is gone.
Result<std::optional<bool>> remembered_name_is_inside(const VolumeCore& core, ObjectId object,
                                                      int fd) {
    const Location location = locate(core.mount, object, fd);
    std::optional<bool> inside;
    if (!location.known()) return inside;
    auto parent = core.mount.open_object(location.parent, O_PATH | O_DIRECTORY);
    if (!parent && parent.error().code == ESTALE) return inside;
    if (!parent) return forward_error(parent);
    UMBRA_ASSIGN(inside, is_in_share(core, std::move(*parent)));
    return inside;
}

Result<bool> belongs_to_share(VolumeCore& core, ObjectId object, UniqueFd fd) {
    struct stat status {};
    if (fstatat(fd.get(), "", &status, AT_EMPTY_PATH) != 0) return errno_only(errno);
    if (S_ISDIR(status.st_mode)) return is_in_share(core, std::move(fd));
    if (status.st_nlink == 0) return false;
    UMBRA_ASSIGN(const auto remembered, remembered_name_is_inside(core, object, fd.get()));
    if (remembered && (*remembered || status.st_nlink == 1)) return *remembered;
    return core.inode_search.has_name(core, object);
}

}  // namespace

Result<ObjectId> LiveTree::find_inode(std::uint64_t inode) {
    if (inode == root().inode) return root();
    const int filesystem = core_.mount.root.get();
    UMBRA_ASSIGN(const ObjectId id, core_.mount.codec.find_inode(filesystem, inode));
    UMBRA_ASSIGN(UniqueFd fd, core_.mount.open_object(id, O_PATH | O_NOFOLLOW));
    UMBRA_ASSIGN(const bool inside, belongs_to_share(core_, id, std::move(fd)));
    if (!inside) return errno_only(ESTALE);
    return id;
}

}  // namespace umbra
