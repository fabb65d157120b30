#include "restore/apply_metadata.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>

#include "snapstore/proc_path.h"

namespace umbra {

namespace {

constexpr mode_t kPermissionBits = 07777;
constexpr mode_t kSetIdBits = S_ISUID | S_ISGID;

bool forbidden_or_unsupported(int code) {
    return code == EPERM || code == EACCES || code == EOPNOTSUPP;
}

const ExtendedAttribute* find(const Attributes& attributes, const std::string& name) {
    const auto found = std::find_if(attributes.extended.begin(), attributes.extended.end(),
                                    [&](const auto& attribute) { return attribute.name == name; });
    return found == attributes.extended.end() ? nullptr : &*found;
}

// Before the mode is set: an access ACL that goes would take its mask into the group's bits.
Result<void> remove_surplus(const ProcPath& path, const Attributes& wanted,
                            const Attributes& present, MetadataOutcome& outcome) {
    for (const auto& attribute : present.extended) {
        if (find(wanted, attribute.name) != nullptr) continue;
        if (::removexattr(path.c_str(), attribute.name.c_str()) == 0 || errno == ENODATA) continue;
        if (!forbidden_or_unsupported(errno))
            return errno_error(errno, "cannot remove the attribute " + attribute.name);
        outcome.extended_left = true;
    }
    return {};
}

// Changing the owner drops capabilities and changing the mode alters ACLs: these are set in any
// case.
bool surely_kept(const ExtendedAttribute& attribute, const Attributes& present) {
    const ExtendedAttribute* now = find(present, attribute.name);
    return now != nullptr && *now == attribute && !attribute.name.starts_with("system.") &&
           !attribute.name.starts_with("security.");
}

Result<void> set_extended(const ProcPath& path, const Attributes& wanted, const Attributes& present,
                          MetadataOutcome& outcome) {
    for (const auto& attribute : wanted.extended) {
        if (surely_kept(attribute, present)) continue;
        if (::setxattr(path.c_str(), attribute.name.c_str(), attribute.value.data(),
                       attribute.value.size(), 0) == 0) {
            continue;
        }
        if (!forbidden_or_unsupported(errno))
            return errno_error(errno, "cannot set the attribute " + attribute.name);
        outcome.extended_left = true;
    }
    return {};
}

Result<void> set_owner(int object, const struct stat& wanted, const struct stat& present,
                       MetadataOutcome& outcome) {
    if (wanted.st_uid == present.st_uid && wanted.st_gid == present.st_gid) return {};
    constexpr int kFlags = AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW;
    if (::fchownat(object, "", wanted.st_uid, wanted.st_gid, kFlags) == 0) return {};
    if (errno != EPERM && errno != EINVAL) return errno_error(errno, "cannot set its owner");
    outcome.owner_left = true;
    // The group alone is often allowed.
    (void)!::fchownat(object, "", static_cast<uid_t>(-1), wanted.st_gid, kFlags);
    return {};
}

}  // namespace

Result<MetadataOutcome> apply_metadata(int object, const Attributes& wanted,
                                       const Attributes& present) {
    const ProcPath path(object);
    MetadataOutcome outcome;
    UMBRA_TRY(remove_surplus(path, wanted, present, outcome));
    UMBRA_TRY(set_owner(object, wanted.status, present.status, outcome));
    if (!S_ISLNK(wanted.status.st_mode)) {
        mode_t mode = wanted.status.st_mode & kPermissionBits;
        if (outcome.owner_left && !S_ISDIR(wanted.status.st_mode)) mode &= ~kSetIdBits;
        if (::chmod(path.c_str(), mode) != 0) return errno_error(errno, "cannot set its mode");
    }
    UMBRA_TRY(set_extended(path, wanted, present, outcome));
    const struct timespec times[2] = {wanted.status.st_atim, wanted.status.st_mtim};
    if (::utimensat(AT_FDCWD, path.c_str(), times, 0) != 0)
        return errno_error(errno, "cannot set its times");
    return outcome;
}

}  // namespace umbra
