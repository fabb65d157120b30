// Permissions that the kernel cannot check itself: those of the folders that a way through
// .snapshots leaves out, and with snapshot-access = and-now those of today.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <vector>

#include "fuse/mount_context.h"
#include "fuse/reply.h"

namespace umbra::access_check {

// Who asks. Root may everything.
struct Requester {
    uid_t uid = 0;
    gid_t gid = 0;
    std::vector<gid_t> groups;  // supplementary
    bool in_group(gid_t group) const;
};

// Not after the request was answered.
Requester requester_of(const Request& request);

// May he do all of `wanted` (R_OK, W_OK, X_OK) with an object of these attributes? `acl` is its
// system.posix_acl_access, empty where it has none. A damaged one allows nothing.
bool permits(const Requester& requester, const struct stat& status, std::string_view acl,
             int wanted);

// May he search every directory but the last of a way, as it was at the snapshot and, where the
// volume says and-now, as it is today? EACCES.
Result<void> check_way(MountContext& context, const Requester& requester, Epoch epoch,
                       const std::vector<ObjectId>& way);

// With and-now: does what an object of a snapshot is today, or was last, permit it? EACCES. Nothing
// is checked with as-then, nor where nothing is left of the object.
Result<void> check_today(MountContext& context, const Request& request, ObjectId object,
                         int wanted);

}  // namespace umbra::access_check
