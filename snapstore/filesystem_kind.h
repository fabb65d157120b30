// What is known of certain filesystems.
#pragma once

namespace umbra {

// Is an open object on btrfs? False where nobody can tell.
bool on_btrfs(int fd);

}  // namespace umbra
