#include "fuse/request_counters.h"

namespace umbra {

namespace {

// In the order of Operation.
constexpr std::array<const char*, static_cast<std::size_t>(Operation::kCount)> kNames = {
    "lookup",   "forget",      "forget_multi",    "getattr",     "setattr",
    "readlink", "mknod",       "mkdir",           "symlink",     "link",
    "unlink",   "rmdir",       "rename",          "create",      "tmpfile",
    "open",     "read",        "write",           "flush",       "release",
    "fsync",    "fallocate",   "copy_file_range", "lseek",       "opendir",
    "readdir",  "readdirplus", "releasedir",      "fsyncdir",    "statfs",
    "setxattr", "getxattr",    "listxattr",       "removexattr", "ioctl"};
static_assert(kNames.back() != nullptr, "every operation has a name");

}  // namespace

const char* operation_name(Operation operation) {
    return kNames[static_cast<std::size_t>(operation)];
}

std::map<std::string, std::uint64_t> RequestCounters::by_name() const {
    std::map<std::string, std::uint64_t> result;
    for (std::size_t index = 0; index < kNames.size(); ++index) {
        const std::uint64_t count = counts_[index].load(std::memory_order_relaxed);
        if (count != 0) result.emplace(kNames[index], count);
    }
    return result;
}

}  // namespace umbra
