#include "cli/restore_source.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "cli/ask_share.h"
#include "cli/output.h"
#include "fuse/control_protocol.h"
#include "fuse/registry.h"
#include "restore/beneath.h"
#include "snapstore/live_tree.h"

namespace umbra {

namespace {

using nlohmann::json;

Result<std::vector<SharePath>> resolve_all(const Registry& registry,
                                           const std::vector<std::string>& paths) {
    std::vector<SharePath> found;
    for (const auto& path : paths) {
        UMBRA_ASSIGN(SharePath resolved, resolve_share_path(registry, path, LastComponent::kKeep));
        if (!found.empty() && resolved.share != found.front().share) {
            return error_of(
                ErrorKind::kUsage, EXDEV,
                fmt::format(
                    "'{}' and '{}' lie in different shares: restore them one after the other",
                    paths.front(), path));
        }
        found.push_back(std::move(resolved));
    }
    return found;
}

Result<std::unique_ptr<PrivateMount>> mount_privately(const std::string& share) {
    if (::geteuid() != 0) {
        return error_of(
            ErrorKind::kRefused, EPERM,
            fmt::format("'{}' is not mounted, and only root can restore from it then", share));
    }
    return PrivateMount::make(share, print_event);
}

Result<UniqueFd> open_folder(const std::string& path) {
    UniqueFd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!folder.valid())
        return errno_error(errno, fmt::format("cannot open the folder '{}'", path));
    return folder;
}

Result<void> make_folders(const std::string& path) {
    for (std::size_t end = path.find('/', 1);; end = path.find('/', end + 1)) {
        const std::string part = path.substr(0, end);
        if (::mkdir(part.c_str(), 0777) != 0 && errno != EEXIST) {
            return errno_error(errno, fmt::format("cannot make the folder '{}'", part));
        }
        if (end == std::string::npos) return {};
    }
}

// A folder inside the share must be reached through the mount, or its history would miss what is
// restored.
Result<std::string> target_through_mount(const Registry& registry, const SharePath& share,
                                         const std::string& folder) {
    const auto inside = resolve_share_path(registry, folder, LastComponent::kKeep);
    if (!inside || inside->share != share.share) return folder;
    if (!inside->token.empty()) {
        return error_of(ErrorKind::kRefused, EROFS,
                        fmt::format("'{}' lies in a snapshot, which nothing changes", folder));
    }
    return inside->relative.empty() ? share.root() : share.root() + "/" + inside->relative;
}

Result<std::vector<RestorePath>> plan_paths(const std::vector<SharePath>& paths, bool elsewhere) {
    std::vector<RestorePath> planned;
    std::set<std::string> targets;
    for (const auto& path : paths) {
        const std::string name = path.relative.substr(path.relative.rfind('/') + 1);
        RestorePath job{path.relative, elsewhere ? name : path.relative};
        if (!targets.insert(job.target).second) {
            return error_of(
                ErrorKind::kUsage, EINVAL,
                fmt::format(
                    "two of the paths would be restored as '{}': restore them one after the other",
                    job.target));
        }
        planned.push_back(std::move(job));
    }
    return planned;
}

Result<void> check_in_snapshot(const RestoreSource& source) {
    for (const auto& job : source.paths) {
        const auto found = open_beneath(source.snapshot_root.get(), job.source, O_PATH);
        if (found) continue;
        const int code = found.error().code;
        if (code == ENOENT || code == ENOTDIR || code == ELOOP) {
            return error_of(
                ErrorKind::kNotFound, ENOENT,
                fmt::format(
                    "'{}' is not in the snapshot {}: 'umbra versions' lists those that have it",
                    job.source, source.token));
        }
        return errno_error(
            code, fmt::format("cannot look up '{}' in the snapshot {}", job.source, source.token));
    }
    return {};
}

}  // namespace

Result<std::string> find_snapshot_token(const SharePath& share, const std::string& name) {
    UMBRA_ASSIGN(const json snapshots, ask_share(share, control_method::kSnapshotList));
    for (const auto& snapshot : snapshots) {
        if (text_in(snapshot, "token") == name || text_in(snapshot, "label") == name)
            return text_in(snapshot, "token");
    }
    return error_of(
        ErrorKind::kNotFound, ENOENT,
        fmt::format("the share '{}' has no snapshot '{}': 'umbra snapshot list' shows those it has",
                    share.share, name));
}

Result<SeenShare> see_share(const SharePath& share) {
    SeenShare seen;
    seen.share = share;
    if (share.mounted) return seen;
    UMBRA_ASSIGN(seen.mount, mount_privately(share.share));
    UMBRA_ASSIGN(seen.share, resolve_share(Registry(), share.share));
    return seen;
}

Result<RestoreSource> open_restore(const std::vector<std::string>& paths, const std::string& from,
                                   const std::optional<std::string>& to, bool dry_run) {
    const Registry registry;
    RestoreSource source;
    UMBRA_ASSIGN(std::vector<SharePath> found, resolve_all(registry, paths));
    source.shown_root = found.front().root();
    if (!found.front().mounted) {
        UMBRA_ASSIGN(source.mount, mount_privately(found.front().share));
        UMBRA_ASSIGN(found, resolve_all(registry, paths));
    }
    const SharePath& share = found.front();
    UMBRA_ASSIGN(source.paths, plan_paths(found, to.has_value()));
    UMBRA_ASSIGN(source.token, find_snapshot_token(share, from));
    UMBRA_ASSIGN(
        source.snapshot_root,
        open_folder(fmt::format("{}/{}/{}", share.root(), kSnapshotsDirectoryName, source.token)));
    UMBRA_TRY(check_in_snapshot(source));

    source.share = share;
    source.spec.token = source.token;
    UMBRA_ASSIGN(const json status, ask_share(share, control_method::kStatus));
    source.read_only = status.value("read_only", false);
    std::string target = share.root();
    if (to) {
        UMBRA_ASSIGN(source.shown_root, canonical_path(*to, LastComponent::kFollow));
        UMBRA_ASSIGN(target, target_through_mount(registry, share, source.shown_root));
        if (!dry_run) UMBRA_TRY(make_folders(target));
    }
    auto opened = open_folder(target);
    if (!opened && !(dry_run && opened.error().code == ENOENT)) return forward_error(opened);
    if (opened) source.target_root = std::move(*opened);
    source.spec.in_share = path_is_within(target, share.root());
    source.spec.target_root =
        !source.spec.in_share ? target
        : target.size() == share.root().size()
            ? ""
            : target.substr(share.root() == "/" ? 1 : share.root().size() + 1);
    return source;
}

}  // namespace umbra
