#include "fuse/share_path.h"

#include <fmt/format.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <vector>

#include "fuse/mount_table.h"
#include "snapstore/live_tree.h"

namespace umbra {

namespace {

struct Free {
    void operator()(char* text) const { std::free(text); }
};

std::optional<std::string> real_path(const std::string& path) {
    const std::unique_ptr<char, Free> resolved(::realpath(path.c_str(), nullptr));
    if (!resolved) return std::nullopt;
    return std::string(resolved.get());
}

Result<std::string> absolute(const std::string& path) {
    if (path.empty()) return error_of(ErrorKind::kUsage, EINVAL, "an empty path names nothing");
    if (path.front() == '/') return path;
    const std::unique_ptr<char, Free> directory(::getcwd(nullptr, 0));
    if (!directory)
        return errno_error(
            errno, "cannot tell the current directory, which '" + path + "' is relative to");
    return std::string(directory.get()) + "/" + path;
}

std::vector<std::string> split(std::string_view path) {
    std::vector<std::string> components;
    while (!path.empty()) {
        const std::size_t slash = path.find('/');
        const std::string_view component = path.substr(0, slash);
        if (!component.empty() && component != ".") components.emplace_back(component);
        path = slash == std::string_view::npos ? std::string_view{} : path.substr(slash + 1);
    }
    return components;
}

std::string join(const std::vector<std::string>& components, std::size_t first, std::size_t last) {
    std::string path;
    for (std::size_t i = first; i < last; ++i) path += "/" + components[i];
    return path.empty() ? "/" : path;
}

// Appends components to a path as if nothing were a symbolic link.
std::string append_written(std::string base, const std::vector<std::string>& components,
                           std::size_t first) {
    for (std::size_t i = first; i < components.size(); ++i) {
        if (components[i] == "..") {
            base.erase(base.rfind('/'));
            if (base.empty()) base = "/";
        } else {
            if (base != "/") base += "/";
            base += components[i];
        }
    }
    return base;
}

std::string below(const std::string& path, const std::string& directory) {
    if (path.size() <= directory.size()) return "";
    return path.substr(directory == "/" ? 1 : directory.size() + 1);
}

// Splits what lies in .snapshots into token and path.
void split_snapshot(SharePath& found) {
    const std::string prefix = std::string(kSnapshotsDirectoryName) + "/";
    if (found.relative == kSnapshotsDirectoryName) {
        found.relative.clear();
    } else if (found.relative.starts_with(prefix)) {
        const std::string rest = found.relative.substr(prefix.size());
        const std::size_t slash = rest.find('/');
        found.token = rest.substr(0, slash);
        found.relative = slash == std::string::npos ? "" : rest.substr(slash + 1);
    }
}

// The mounted share with the longest mount point, or else share folder, that the path lies in.
Result<std::optional<SharePath>> find_mounted(const Registry& registry, const std::string& path) {
    UMBRA_ASSIGN(const std::vector<MountedShare> all, registry.mounted());
    if (all.empty()) return std::optional<SharePath>{};
    UMBRA_ASSIGN(const std::vector<MountTableEntry> table, read_mount_table());
    std::optional<SharePath> best;
    std::size_t best_length = 0;
    for (const auto& mounted : all) {
        const auto top = mount_at(table, mounted.mountpoint);
        if (!top || top->type != kMountType) continue;
        for (const std::string& prefix : {mounted.mountpoint, mounted.share}) {
            if (!path_is_within(path, prefix) || prefix.size() < best_length) continue;
            best_length = prefix.size();
            best = SharePath{mounted.share, mounted, below(path, prefix), ""};
        }
    }
    return best;
}

// The nearest folder at or above the path that holds .umbra. That folder is closed to all but root,
// so for others its being there has to do.
std::optional<SharePath> find_unmounted(const std::string& path) {
    for (std::string directory = path;;) {
        struct stat status {};
        const std::string control =
            (directory == "/" ? "" : directory) + "/" + kControlDirectoryName;
        if (::lstat(control.c_str(), &status) == 0 && S_ISDIR(status.st_mode)) {
            const std::string record = control + "/volume.toml";
            if (::lstat(record.c_str(), &status) == 0 || errno == EACCES) {
                return SharePath{directory, std::nullopt, below(path, directory), ""};
            }
        }
        if (directory == "/") return std::nullopt;
        directory.erase(directory.rfind('/'));
        if (directory.empty()) directory = "/";
    }
}

// A killed daemon leaves a mount that answers nothing, over a share whose .umbra it hides.
Result<void> check_no_dead_mount(const std::string& path) {
    UMBRA_ASSIGN(const std::vector<MountTableEntry> table, read_mount_table());
    for (const auto& mount : table) {
        struct statfs status {};
        if (mount.type != kMountType || !path_is_within(path, mount.mountpoint)) continue;
        if (::statfs(mount.mountpoint.c_str(), &status) == 0 || errno != ENOTCONN) continue;
        return error_of(
            ErrorKind::kSystem, ENOTCONN,
            fmt::format(
                "the daemon that served '{0}' has died: 'umbra mount' brings the share back, "
                "'umbra umount {0}' only clears the place",
                mount.mountpoint));
    }
    return {};
}

}  // namespace

bool path_is_within(std::string_view path, std::string_view directory) {
    if (directory == "/") return true;
    return path.starts_with(directory) &&
           (path.size() == directory.size() || path[directory.size()] == '/');
}

Result<std::string> canonical_path(const std::string& path, LastComponent last) {
    UMBRA_ASSIGN(const std::string whole, absolute(path));
    const std::vector<std::string> components = split(whole);
    std::size_t existing = components.size();
    const bool names_something = existing > 0 && components.back() != "..";
    if (last == LastComponent::kKeep && names_something) --existing;
    // A dead mount (ENOTCONN) counts as not existing: what lies in it is taken as written.
    for (;; --existing) {
        if (auto base = real_path(join(components, 0, existing))) {
            return append_written(std::move(*base), components, existing);
        }
        if (errno != ENOENT && errno != ENOTDIR && errno != ENOTCONN && errno != ESTALE) {
            return errno_error(errno, "cannot look up '" + path + "'");
        }
        if (existing == 0) return errno_error(ENOENT, "cannot look up '" + path + "'");
    }
}

Result<SharePath> resolve_share_path(const Registry& registry, const std::string& path,
                                     LastComponent last) {
    UMBRA_ASSIGN(const std::string canonical, canonical_path(path, last));
    UMBRA_ASSIGN(std::optional<SharePath> found, find_mounted(registry, canonical));
    if (!found) UMBRA_TRY(check_no_dead_mount(canonical));
    if (!found) found = find_unmounted(canonical);
    struct stat status {};
    const int missing = ::lstat(canonical.c_str(), &status) == 0 ? 0 : errno;
    if (missing != 0 && (!found || last == LastComponent::kFollow)) {
        return error_of(
            ErrorKind::kNotFound, missing,
            fmt::format("'{}': {}", path, Error{missing, ErrorKind::kSystem, {}}.text()));
    }
    // A link to a share, given where a link inside a share could have stood.
    if (!found && S_ISLNK(status.st_mode)) return resolve_share(registry, path);
    if (!found) {
        return error_of(
            ErrorKind::kNotFound, ENOENT,
            fmt::format("'{}' is in no share: make one with 'umbra init' or 'umbra mount'", path));
    }
    split_snapshot(*found);
    return std::move(*found);
}

Result<SharePath> resolve_share(const Registry& registry, const std::string& path) {
    return resolve_share_path(registry, path, LastComponent::kFollow);
}

}  // namespace umbra
