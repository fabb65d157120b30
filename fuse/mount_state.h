// What a mount's memory holds, taken out of it for a successor and put back there.
#pragma once

#include <string>
#include <string_view>

#include "fuse/mount_context.h"
#include "fuse/mount_session.h"

namespace umbra {

// Files, directories and nodes. Descriptors are taken along. While nobody serves.
MountState taken_from(MountContext& context);

// Before anybody serves. A directory that is no more is left out.
void put_back(MountContext& context, MountState state);

// As bytes, for the same process after exec(2): descriptors are numbers, and stay open over it.
// They are released from `state`.
inline constexpr int kMountStateVersion = 1;
std::string encode(MountState state);
// EBADMSG where it is not what encode() wrote.
Result<MountState> decode_mount_state(std::string_view bytes);

}  // namespace umbra
