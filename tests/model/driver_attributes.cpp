// What a Driver does to attributes.
#include <fcntl.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "tests/model/driver.h"

namespace umbra::test {

namespace {

constexpr const char* kAccessAcl = "system.posix_acl_access";
constexpr const char* kDefaultAcl = "system.posix_acl_default";

bool any(const NaiveObject&) { return true; }

bool not_symlink(const NaiveObject& object) { return !S_ISLNK(object.mode); }

// user.* is for regular files and directories only.
bool takes_user_xattrs(const NaiveObject& object) {
    return object.is_regular() || object.is_directory();
}

void put(std::string& bytes, uint16_t tag, uint16_t permissions, uint32_t id) {
    const posix_acl_xattr_entry entry{tag, permissions, id};
    bytes.append(reinterpret_cast<const char*>(&entry), sizeof entry);
}

std::string some_acl(Random& random) {
    const posix_acl_xattr_header header{POSIX_ACL_XATTR_VERSION};
    std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
    const auto permissions = [&] { return static_cast<uint16_t>(random.below(8)); };
    put(bytes, ACL_USER_OBJ, 7, ACL_UNDEFINED_ID);
    for (uint32_t user = 0; user <= random.below(3); ++user)
        put(bytes, ACL_USER, permissions(), 1000 + user);
    put(bytes, ACL_GROUP_OBJ, permissions(), ACL_UNDEFINED_ID);
    put(bytes, ACL_MASK, permissions(), ACL_UNDEFINED_ID);
    put(bytes, ACL_OTHER, permissions(), ACL_UNDEFINED_ID);
    return bytes;
}

}  // namespace

void Driver::change_mode() {
    const auto place = existing(not_symlink);
    if (!place) return;
    const auto mode = static_cast<mode_t>(random_.below(01000));
    const auto effect = [object = place->object, mode](long) {
        object->mode = (object->mode & S_IFMT) | mode;
    };
    OpenFile* file = random_.chance(20) ? some_open([](const OpenFile&) { return true; }) : nullptr;
    if (file == nullptr) {
        perform({"chmod " + place->path(), [&] { return ::chmod(full(*place).c_str(), mode); },
                 effect});
        return;
    }
    perform(
        {"fchmod " + std::to_string(file->fd), [&] { return ::fchmod(file->fd, mode); },
         [object = file->object, mode](long) { object->mode = (object->mode & S_IFMT) | mode; }});
}

void Driver::change_owner() {
    const auto place = existing(any);
    if (!place) return;
    const auto uid = static_cast<uid_t>(random_.below(2000));
    const auto gid = static_cast<gid_t>(random_.below(2000));
    perform({"chown " + place->path(), [&] { return ::lchown(full(*place).c_str(), uid, gid); },
             [object = place->object, uid, gid](long) {
                 object->uid = uid;
                 object->gid = gid;
             }});
}

void Driver::change_times() {
    const auto place = existing(any);
    if (!place) return;
    const timespec some{random_.between(-1'000'000'000, 4'000'000'000),
                        random_.between(0, 999'999'999)};
    const timespec times[2] = {random_.chance(30) ? timespec{0, UTIME_OMIT} : some,
                               random_.chance(20) ? timespec{0, UTIME_NOW} : some};
    perform({"utimensat " + place->path(), [&] {
                 return ::utimensat(AT_FDCWD, full(*place).c_str(), times, AT_SYMLINK_NOFOLLOW);
             }});
}

void Driver::set_xattr() {
    const auto place = existing(takes_user_xattrs);
    if (!place) return;
    const std::string name = "user.x" + std::to_string(random_.below(4));
    const std::string value = random_.bytes(random_.below(400));
    perform({"setxattr " + name + " of " + place->path(),
             [&] {
                 return ::lsetxattr(full(*place).c_str(), name.c_str(), value.data(), value.size(),
                                    0);
             },
             [object = place->object, name, value](long) { object->user_xattrs[name] = value; }});
}

void Driver::remove_xattr() {
    const auto place =
        existing([](const NaiveObject& object) { return !object.user_xattrs.empty(); });
    if (!place) return;
    const std::string name = place->object->user_xattrs.begin()->first;
    perform({"removexattr " + name + " of " + place->path(),
             [&] { return ::lremovexattr(full(*place).c_str(), name.c_str()); },
             [object = place->object, name](long) { object->user_xattrs.erase(name); }});
}

void Driver::set_acl() {
    const auto place = existing(not_symlink);
    if (!place) return;
    const char* name =
        place->object->is_directory() && random_.chance(30) ? kDefaultAcl : kAccessAcl;
    const std::string acl = some_acl(random_);
    perform({std::string("setxattr ") + name + " of " + place->path(),
             [&] { return ::lsetxattr(full(*place).c_str(), name, acl.data(), acl.size(), 0); },
             [object = place->object](long) { object->has_acl = true; }});
}

void Driver::remove_acl() {
    const auto place = existing([](const NaiveObject& object) { return object.has_acl; });
    if (!place) return;
    const char* name =
        place->object->is_directory() && random_.chance(50) ? kDefaultAcl : kAccessAcl;
    perform({std::string("removexattr ") + name + " of " + place->path(),
             [&] { return ::lremovexattr(full(*place).c_str(), name); },
             [](long) {},
             nullptr,
             0,
             0,
             {ENODATA}});
}

}  // namespace umbra::test
