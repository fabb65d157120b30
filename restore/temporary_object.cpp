#include "restore/temporary_object.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/random.h>
#include <unistd.h>

#include <cstdint>
#include <utility>

#include "snapstore/proc_path.h"

namespace umbra {

namespace {

constexpr mode_t kPrivate = 0600;

std::string random_name() {
    std::uint64_t number = 0;
    if (::getrandom(&number, sizeof number, 0) != sizeof number)
        number = static_cast<std::uint64_t>(::getpid());
    char name[64];
    std::snprintf(name, sizeof name, ".umbra-restore.%016llx",
                  static_cast<unsigned long long>(number));
    return name;
}

bool link_object(int object, int folder, const std::string& name) {
    return ::linkat(AT_FDCWD, ProcPath(object).c_str(), folder, name.c_str(), AT_SYMLINK_FOLLOW) ==
           0;
}

}  // namespace

TemporaryObject::TemporaryObject(TemporaryObject&& other) noexcept
    : folder_(other.folder_),
      object_(std::move(other.object_)),
      name_(std::exchange(other.name_, {})) {}

TemporaryObject::~TemporaryObject() {
    if (!name_.empty()) ::unlinkat(folder_, name_.c_str(), 0);
}

Result<void> TemporaryObject::hold_named() {
    object_.reset(::openat(folder_, name_.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!object_.valid()) return errno_error(errno, "cannot open what was just created");
    return {};
}

Result<TemporaryObject> TemporaryObject::make_file(int folder) {
    TemporaryObject made(folder);
    made.object_.reset(::openat(folder, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, kPrivate));
    if (made.object_.valid()) return made;
    // The ways in which filesystems and kernels say that they have no unnamed files.
    if (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT && errno != EINVAL &&
        errno != ENOSYS) {
        return errno_error(errno, "cannot create a file in its folder");
    }
    const std::string name = random_name();
    made.object_.reset(::openat(folder, name.c_str(),
                                O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, kPrivate));
    if (!made.object_.valid()) return errno_error(errno, "cannot create a file in its folder");
    made.name_ = name;
    return made;
}

Result<TemporaryObject> TemporaryObject::make_symlink(int folder, const std::string& target) {
    TemporaryObject made(folder);
    const std::string name = random_name();
    if (::symlinkat(target.c_str(), folder, name.c_str()) != 0)
        return errno_error(errno, "cannot create a symbolic link");
    made.name_ = name;
    UMBRA_TRY(made.hold_named());
    return made;
}

Result<TemporaryObject> TemporaryObject::make_special(int folder, mode_t type, dev_t device) {
    TemporaryObject made(folder);
    const std::string name = random_name();
    if (::mknodat(folder, name.c_str(), type | kPrivate, device) != 0) {
        return errno_error(errno, "cannot create a special file");
    }
    made.name_ = name;
    UMBRA_TRY(made.hold_named());
    return made;
}

Result<TemporaryObject> TemporaryObject::make_link(int folder, int object) {
    TemporaryObject made(folder);
    const std::string name = random_name();
    if (!link_object(object, folder, name)) return errno_error(errno, "cannot create a hard link");
    made.name_ = name;
    UMBRA_TRY(made.hold_named());
    return made;
}

Result<void> TemporaryObject::put_in_place(const std::string& name, bool replace) {
    if (name_.empty()) {
        // Without a name it can only be linked, which never replaces.
        const std::string linked = replace ? random_name() : name;
        if (!link_object(object_.get(), folder_, linked))
            return errno_error(errno, "cannot give it its name");
        if (!replace) return {};
        name_ = linked;
    }
    if (::renameat2(folder_, name_.c_str(), folder_, name.c_str(),
                    replace ? 0 : RENAME_NOREPLACE) != 0) {
        return errno_error(errno, "cannot give it its name");
    }
    // Renaming one link of a file over another link of it does nothing, and leaves both.
    struct stat status {};
    if (replace && ::fstatat(folder_, name_.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
        ::unlinkat(folder_, name_.c_str(), 0);
    }
    name_.clear();
    return {};
}

}  // namespace umbra
