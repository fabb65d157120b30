#include "tests/mount/make.h"

#include <fcntl.h>
#include <sys/acl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace umbra::test {

namespace {

void check(bool done, const std::string& what) {
    if (!done) throw std::runtime_error(what + ": " + std::strerror(errno));
}

void write_whole(const std::string& name, int64_t offset, const std::string& contents) {
    const int fd = ::open(name.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    check(fd >= 0, "create " + name);
    for (size_t done = 0; done < contents.size();) {
        const ssize_t count = ::pwrite(fd, contents.data() + done, contents.size() - done,
                                       offset + static_cast<int64_t>(done));
        check(count > 0, "write " + name);
        done += static_cast<size_t>(count);
    }
    check(::close(fd) == 0, "close " + name);
}

void set_acl(const std::string& name, acl_type_t type, const std::string& text) {
    const acl_t acl = ::acl_from_text(text.c_str());
    check(acl != nullptr, "acl_from_text " + text);
    const bool done = ::acl_set_file(name.c_str(), type, acl) == 0;
    ::acl_free(acl);
    check(done, "set the ACL of " + name);
}

}  // namespace

namespace make {

void file(const std::string& name, const std::string& contents, mode_t mode_bits) {
    write_whole(name, 0, contents);
    own(name, kOwnerId, kSharedGroup);
    mode(name, mode_bits);
}

void directory(const std::string& name, mode_t mode_bits) {
    check(::mkdir(name.c_str(), 0700) == 0, "mkdir " + name);
    own(name, kOwnerId, kSharedGroup);
    mode(name, mode_bits);
}

void symlink(const std::string& target, const std::string& name) {
    check(::symlink(target.c_str(), name.c_str()) == 0, "symlink " + name);
    own(name, kOwnerId, kSharedGroup);
}

void link(const std::string& existing, const std::string& name) {
    check(::link(existing.c_str(), name.c_str()) == 0, "link " + name);
}

void node(const std::string& name, mode_t type_and_mode, unsigned major, unsigned minor) {
    check(::mknod(name.c_str(), type_and_mode, makedev(major, minor)) == 0, "mknod " + name);
    own(name, kOwnerId, kSharedGroup);
    mode(name, type_and_mode & 07777);
}

void own(const std::string& name, uid_t uid, gid_t gid) {
    check(::lchown(name.c_str(), uid, gid) == 0, "chown " + name);
}

void mode(const std::string& name, mode_t mode_bits) {
    check(::chmod(name.c_str(), mode_bits) == 0, "chmod " + name);
}

void xattr(const std::string& name, const std::string& attribute, const std::string& value) {
    check(::lsetxattr(name.c_str(), attribute.c_str(), value.data(), value.size(), 0) == 0,
          "setxattr " + attribute + " of " + name);
}

void sparse(const std::string& name, int64_t size, int64_t offset, const std::string& contents) {
    file(name);
    check(::truncate(name.c_str(), size) == 0, "truncate " + name);
    write_whole(name, offset, contents);
}

void acl(const std::string& name, const std::string& text) { set_acl(name, ACL_TYPE_ACCESS, text); }

void default_acl(const std::string& name, const std::string& text) {
    set_acl(name, ACL_TYPE_DEFAULT, text);
}

}  // namespace make

std::string pattern(int64_t size, unsigned seed) {
    std::string text(static_cast<size_t>(size), '\0');
    uint64_t state = seed * 0x9E3779B97F4A7C15ull + 1;
    for (auto& byte : text) {
        state = state * 6364136223846793005ull + 1442695040888963407ull;
        byte = static_cast<char>(state >> 56);
    }
    return text;
}

std::string contents_of(const std::string& name) {
    const int fd = ::open(name.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return "(" + errno_name(errno) + ")";
    std::string text;
    char buffer[65536];
    ssize_t count;
    while ((count = ::read(fd, buffer, sizeof buffer)) > 0) {
        text.append(buffer, static_cast<size_t>(count));
    }
    if (count < 0) text = "(" + errno_name(errno) + ")";
    ::close(fd);
    return text;
}

std::string errno_name(int error) {
    const char* name = ::strerrorname_np(error);
    return name != nullptr ? name : "error " + std::to_string(error);
}

}  // namespace umbra::test
