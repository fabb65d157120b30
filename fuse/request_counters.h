// How many requests of each kind the kernel has sent. Requests are counted rather than timed: a
// round trip costs more than nearly everything done to answer it.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <map>
#include <string>

namespace umbra {

enum class Operation : std::size_t {
    kLookup,
    kForget,
    kForgetMulti,
    kGetattr,
    kSetattr,
    kReadlink,
    kMknod,
    kMkdir,
    kSymlink,
    kLink,
    kUnlink,
    kRmdir,
    kRename,
    kCreate,
    kTmpfile,
    kOpen,
    kRead,
    kWrite,
    kFlush,
    kRelease,
    kFsync,
    kFallocate,
    kCopyFileRange,
    kLseek,
    kOpendir,
    kReaddir,
    kReaddirplus,
    kReleasedir,
    kFsyncdir,
    kStatfs,
    kSetxattr,
    kGetxattr,
    kListxattr,
    kRemovexattr,
    kIoctl,
    kCount
};

// The operation's name as the FUSE protocol has it, in lower case.
const char* operation_name(Operation operation);

// Safe from any thread.
class RequestCounters {
   public:
    void count(Operation operation) {
        counts_[static_cast<std::size_t>(operation)].fetch_add(1, std::memory_order_relaxed);
    }
    // Without those that were never asked for.
    std::map<std::string, std::uint64_t> by_name() const;

   private:
    std::array<std::atomic<std::uint64_t>, static_cast<std::size_t>(Operation::kCount)> counts_{};
};

}  // namespace umbra
