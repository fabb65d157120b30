// Making what a case starts from, relative to the working directory. Files and directories are
// owned by kOwner and the group kSharedGroup unless told otherwise. Everything throws
// std::runtime_error when it fails.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>

namespace umbra::test {

constexpr uid_t kOwnerId = 1000;
constexpr uid_t kMemberId = 1001;
constexpr uid_t kOtherId = 1002;
constexpr gid_t kSharedGroup = 2000;
constexpr gid_t kForeignGroup = 2001;

namespace make {

void file(const std::string& name, const std::string& contents = "", mode_t mode = 0664);
void directory(const std::string& name, mode_t mode = 0775);
void symlink(const std::string& target, const std::string& name);
void link(const std::string& existing, const std::string& name);
void node(const std::string& name, mode_t type_and_mode, unsigned major = 0, unsigned minor = 0);
void own(const std::string& name, uid_t uid, gid_t gid);
void mode(const std::string& name, mode_t mode);
void xattr(const std::string& name, const std::string& attribute, const std::string& value);
// A file of `size` bytes with `contents` at `offset` and holes around it.
void sparse(const std::string& name, int64_t size, int64_t offset, const std::string& contents);
// `text` as acl(5) describes, for example "u::rw-,u:1001:r--,g::r--,m::rw-,o::---".
void acl(const std::string& name, const std::string& text);
void default_acl(const std::string& name, const std::string& text);

}  // namespace make

// `size` bytes that depend on their place and on the seed and hold no long runs.
std::string pattern(int64_t size, unsigned seed = 1);

// Whole file; "(ENOENT)" and the like when it cannot be read.
std::string contents_of(const std::string& name);

// "ENOENT" for ENOENT.
std::string errno_name(int error);

}  // namespace umbra::test
