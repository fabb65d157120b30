// A volume served at a mount point: the one entrance to fuse/. The daemon opens a Volume, mounts it
// with MountSession::mount and then lives in run().
//
//   auto session = MountSession::mount(*volume, options);   // the mount answers from run() on
//   std::thread waiter([&] { wait_for_signal(); (*session)->request_exit(); });
//   (*session)->run();
//
// The mount may lie over the share folder itself: the volume keeps its own view of the underlying
// tree and never walks through the mount.
#pragma once

#include <sys/stat.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "snapstore/object_id.h"
#include "snapstore/result.h"
#include "snapstore/unique_fd.h"
#include "snapstore/volume.h"

namespace umbra {

struct MountOptions {
    std::string mountpoint;
    bool read_only = false;     // besides Volume::read_only(), which implies it
    bool writeback = false;     // the kernel's writeback cache (DESIGN sections 3, 6 and 8)
    bool debug = false;         // libfuse prints every request to stderr
    unsigned max_threads = 16;  // worker threads at most
    // Passed on as "-o" options, each one option or several separated by commas, e.g. "noatime".
    // Those that Umbra sets itself (allow_other, default_permissions, fsname, subtype) need not be
    // named.
    std::vector<std::string> extra_options;
};

// All that a successor of this process needs to serve a mount on: descriptors are inherited over
// exec(2), the rest is what only memory had. Everything has been answered; requests wait in the
// kernel.
struct MountState {
    UniqueFd device;  // connected; keeps the mount alive as long as it is open
    std::string mountpoint;
    std::string device_number;
    std::string init_request, init_reply;  // what kernel and daemon have agreed upon

    struct File {
        std::uint64_t number = 0;
        std::uint64_t node = 0;
        Epoch epoch = 0;  // 0: live
        ObjectId id;
        UniqueFd fd;  // invalid where only records are left of a file of a snapshot
        int flags = 0;
        std::uint64_t size = 0;  // of a snapshot's file
        std::optional<struct timespec> kept_time;
    };
    struct Directory {
        std::uint64_t number = 0;
        std::uint64_t node = 0;
    };
    struct Node {
        std::uint64_t node = 0, parent = 0, references = 0;
        std::uint32_t generation = 0;
        bool unlinked = false;
        std::unique_ptr<struct stat> removed_directory;  // mostly none
        UniqueFd removed_file;
    };
    std::vector<File> files;
    std::vector<Directory> directories;
    std::vector<Node> nodes;
    std::uint64_t next_file = 1, next_directory = 1;
};

class MountSession {
   public:
    // Mounts and sets the volume's flush and snapshot hooks. When it returns without an error the
    // mount exists; requests wait in the kernel until run() serves them. The volume must outlive
    // the session. Threads may be started: do not fork afterwards. Errors: the mount point is
    // missing or busy (errno of mount(2)), an unknown option (kUsage), an underlying root inode
    // that does not fit into a node id (EOVERFLOW).
    static Result<std::unique_ptr<MountSession>> mount(Volume& volume, const MountOptions& options);

    // Serves a mount on that another process, or this one, has left by leave(). Errors: EPROTO when
    // this program would have agreed upon something else with the kernel.
    static Result<std::unique_ptr<MountSession>> resume(Volume& volume, const MountOptions& options,
                                                        MountState state);

    // Would resume() agree with what was agreed upon, for this mount as it is? To be asked before
    // leave(), of the program that is to go on.
    static Result<void> check_agreement(const MountOptions& options,
                                        const std::string& init_request,
                                        const std::string& init_reply);

    // Takes the hooks back, unmounts (lazily when busy) if it is still mounted, unless it was left.
    // Not while run() runs.
    ~MountSession();

    enum class Ended { kUnmounted, kAskedToLeave };
    // Serves until the filesystem is unmounted or request_exit() was called; then unmounts, lets
    // queued snapshot work finish, and returns. Or until request_leave() was called: then it goes
    // on serving until leave() or the destructor is called. The error is that of serving.
    Result<Ended> run();

    // Makes run() return. From any thread.
    void request_leave();
    // After run() returned kAskedToLeave, and when nobody but the kernel asks anything of the
    // volume any more: answers what is under way, and gives the mount out of hand.
    Result<MountState> leave();

    // What kernel and daemon have agreed upon.
    const std::string& init_request() const;
    const std::string& init_reply() const;

    // Makes run() return: unmounts; where that is refused because files are in use, hands over what
    // the kernel has not written yet, detaches the mount and cuts its users off (they get
    // ENOTCONN). Call it from a thread other than run()'s, while run() serves or before; harmless
    // when repeated. Not from a signal handler.
    void request_exit();
    // See KernelMount::abort_switch.
    UniqueFd abort_switch() const;

    // Requests answered so far by operation, e.g. {"lookup": 12}. Operations never asked for are
    // left out. Safe from any thread.
    std::map<std::string, std::uint64_t> request_counts() const;

    // Nodes the kernel holds a reference to. Safe from any thread.
    std::size_t known_nodes() const;

   private:
    struct State;
    explicit MountSession(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace umbra
