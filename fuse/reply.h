// A request of the kernel, and the one place that turns results and errors of the store into
// replies.
#pragma once

#include <fuse3/fuse_lowlevel.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <cstddef>
#include <span>
#include <string>

#include "fuse/node_id.h"
#include "fuse/open_files.h"
#include "snapstore/caller.h"
#include "snapstore/live_tree.h"
#include "snapstore/result.h"

namespace umbra {

class MountContext;

// How long the kernel may keep names (also absent ones) and attributes: all changes pass through
// the mount, and what the kernel cannot know of it is told (notifications.h).
inline constexpr double kForeverSeconds = 365.0 * 86400;

// What the kernel is to know of a node found by name.
struct NodeEntry {
    NodeId node;
    std::uint32_t generation = 0;
    struct stat status {};  // as it is to be shown
    double entry_seconds = kForeverSeconds;
};

// One request, answered at most once: each method below ends it. A request that nobody answers is
// answered with EIO when the object goes away, so that no process waits for ever. Not thread-safe;
// may be moved to another thread and answered there.
class Request {
   public:
    Request(fuse_req_t raw, MountContext& context) noexcept : raw_(raw), context_(&context) {}
    Request(Request&& other) noexcept;
    Request& operator=(Request&&) = delete;
    Request(const Request&) = delete;
    Request& operator=(const Request&) = delete;
    ~Request();

    MountContext& context() const { return *context_; }
    // On whose behalf; not after the answer.
    Caller caller() const;
    fuse_req_t raw() const { return raw_; }
    bool answered() const { return raw_ == nullptr; }
    // The open file that the kernel names; null where it names none that is open.
    std::shared_ptr<FileHandle> open_file(const fuse_file_info* info) const;

    // --- errors ---------------------------------------------------------------------------------
    void error(int code) noexcept;
    void error(const Error& error) noexcept { this->error(error.code); }
    // ENOSYS: the kernel will not send this kind of request again.
    void never_again() noexcept;

    // --- without data
    // -----------------------------------------------------------------------------
    void done();
    void no_reply() noexcept;  // FORGET
    template <typename T>
    void done_or_error(const Result<T>& result) {
        result ? done() : error(result.error());
    }

    // --- nodes
    // -------------------------------------------------------------------------------------- The
    // kernel's reference to the node is counted; uncounted again when the reply was not wanted.
    void entry(const NodeEntry& entry, NodeId parent);
    // The name does not exist, and the kernel may remember that.
    void absent();
    void attributes(const struct stat& status);
    void link_target(const std::string& target);

    // --- open files and directories. The handle is closed again when the reply was not wanted
    // -------
    void opened(FileHandle handle, fuse_file_info& info);
    void created(const NodeEntry& entry, NodeId parent, FileHandle handle, fuse_file_info& info);
    // False: the reply was not wanted, the caller drops its handle.
    bool opened_directory(const fuse_file_info& info);

    // --- data
    // ---------------------------------------------------------------------------------------
    void bytes(std::span<const std::byte> data);
    // False: the reply was not wanted (entries were not counted).
    bool listing(std::span<const char> data);
    // Sends `size` bytes of a descriptor at `offset`, fewer at the end of the file.
    void bytes_of_file(int fd, std::size_t size, off_t offset);
    void written(std::size_t size);
    // The same, after the kernel has dropped the pages it may have of these bytes of the node.
    void written_past_cache(std::size_t size, NodeId node, off_t offset);
    void position(off_t offset);
    void statistics(const struct statvfs& status);
    // getxattr and listxattr: the size alone when room is 0, ERANGE when it is too small.
    void extended(std::span<const char> value, std::size_t room);
    void ioctl_result(const void* data, std::size_t size);

   private:
    fuse_req_t take() noexcept;
    // Answers a change, later where its author is to wait.
    template <typename Answer>
    void answer_change(Answer&& answer);

    fuse_req_t raw_;
    MountContext* context_;
};

// fuse_entry_param of an entry, with its timeouts.
fuse_entry_param entry_parameters(const NodeEntry& entry);

// An errno that may be sent: positive, and never ENOSYS by accident, which would switch the
// operation off.
int reply_code(int code);

}  // namespace umbra
