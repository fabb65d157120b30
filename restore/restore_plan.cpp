#include "restore/restore_plan.h"

#include <fcntl.h>

#include "restore/contents.h"
#include "snapstore/proc_path.h"
#include "snapstore/unique_fd.h"

namespace umbra {

namespace {

constexpr mode_t kPermissionBits = 07777;

mode_t type_of(const Attributes& attributes) { return attributes.status.st_mode & S_IFMT; }

Result<UniqueFd> open_to_read(int object) {
    UniqueFd fd(::open(ProcPath(object).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd.valid()) return errno_only(errno);
    return fd;
}

Result<bool> equal_contents(int wanted_fd, const Attributes& wanted, int present_fd,
                            const Attributes& present, const KnownRanges& may_differ) {
    switch (type_of(wanted)) {
        case S_IFREG: {
            if (may_differ && may_differ->empty()) return true;
            if (wanted.status.st_size != present.status.st_size) return false;
            UMBRA_ASSIGN(const UniqueFd wanted_file, open_to_read(wanted_fd));
            auto present_file = open_to_read(present_fd);
            // Not ours to read, but perhaps ours to replace.
            if (!present_file && present_file.error().code == EACCES) return false;
            if (!present_file) return forward_error(present_file);
            return same_contents(wanted_file.get(), present_file->get(),
                                 static_cast<std::uint64_t>(wanted.status.st_size), may_differ);
        }
        case S_IFLNK:
            return wanted.symlink_target == present.symlink_target;
        case S_IFCHR:
        case S_IFBLK:
            return wanted.status.st_rdev == present.status.st_rdev;
        default:
            return true;
    }
}

}  // namespace

const char* restore_action_name(RestoreAction action) {
    switch (action) {
        case RestoreAction::kCreate:
            return "create";
        case RestoreAction::kReplace:
            return "replace";
        case RestoreAction::kMetadata:
            return "metadata";
        case RestoreAction::kUnchanged:
            return "unchanged";
        case RestoreAction::kConflict:
            return "conflict";
        case RestoreAction::kRemove:
            return "remove";
    }
    return "unknown";
}

bool same_metadata(const Attributes& wanted, const Attributes& present,
                   const MetadataScope& scope) {
    const struct stat &a = wanted.status, &b = present.status;
    // A symbolic link has no mode of its own.
    if (!S_ISLNK(a.st_mode) && (a.st_mode & kPermissionBits) != (b.st_mode & kPermissionBits))
        return false;
    if (scope.owner && (a.st_uid != b.st_uid || a.st_gid != b.st_gid)) return false;
    return a.st_mtim.tv_sec == b.st_mtim.tv_sec && a.st_mtim.tv_nsec == b.st_mtim.tv_nsec &&
           wanted.extended == present.extended;
}

Result<RestoreAction> plan_object(int wanted_fd, const Attributes& wanted, int present_fd,
                                  const std::optional<Attributes>& present,
                                  const MetadataScope& scope, const KnownRanges& may_differ) {
    if (!present) return RestoreAction::kCreate;
    if (type_of(wanted) != type_of(*present)) {
        const bool folder = type_of(wanted) == S_IFDIR || type_of(*present) == S_IFDIR;
        return folder ? RestoreAction::kConflict : RestoreAction::kReplace;
    }
    UMBRA_ASSIGN(const bool equal,
                 equal_contents(wanted_fd, wanted, present_fd, *present, may_differ));
    if (!equal) return RestoreAction::kReplace;
    return same_metadata(wanted, *present, scope) ? RestoreAction::kUnchanged
                                                  : RestoreAction::kMetadata;
}

}  // namespace umbra
