// A view of the underlying folder of our own: a detached clone of its mount (open_tree(2)) with
// noatime set. Through it the daemon reaches the folder even after it has mounted itself over it,
// sees nothing mounted inside, and never changes an access time by looking.
#pragma once

#include <string>

#include "snapstore/file_handle.h"
#include "snapstore/object_id.h"
#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

struct LiveMount {
    UniqueFd root;  // the folder, O_RDONLY
    HandleCodec codec;
    ObjectId root_id;
    dev_t device = 0;

    // kNotFound when the folder is missing, kUsage when it is no directory.
    static Result<LiveMount> open(const std::string& share);
    Result<UniqueFd> open_object(ObjectId id, int flags) const {
        return codec.open(root.get(), id, flags);
    }
};

}  // namespace umbra
