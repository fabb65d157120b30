// Which share a path belongs to, and which path of it: the one place where SHARE and PATH arguments
// are understood. Mounted shares come from the registry; others are found by their .umbra folder.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "fuse/registry.h"
#include "snapstore/result.h"

namespace umbra {

struct SharePath {
    std::string share;  // absolute path of the share folder
    std::optional<MountedShare> mounted;
    std::string relative;  // inside the share, without leading '/'; "" is its root
    std::string token;     // when the path lay in .snapshots/TOKEN; else empty

    // Where the share is seen: its mount point, or the folder itself.
    const std::string& root() const { return mounted ? mounted->mountpoint : share; }
};

enum class LastComponent {
    kFollow,  // a symbolic link means what it points to
    kKeep,    // the link itself
};

// kNotFound when the path is in no share. With kKeep nothing at or below the share has to exist
// (any more): what does not exist is taken as written. With kFollow the path must exist.
Result<SharePath> resolve_share_path(const Registry& registry, const std::string& path,
                                     LastComponent last);

// resolve_share_path for a SHARE argument.
Result<SharePath> resolve_share(const Registry& registry, const std::string& path);

// True where `path` is `directory` or lies in it; both absolute, without symbolic links.
bool path_is_within(std::string_view path, std::string_view directory);

// The absolute path without symbolic links, "." and "..", as far as it exists; the rest as written.
Result<std::string> canonical_path(const std::string& path, LastComponent last);

}  // namespace umbra
