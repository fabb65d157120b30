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

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "snapstore/result.h"
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

class MountSession {
   public:
    // Mounts and sets the volume's flush and snapshot hooks. When it returns without an error the
    // mount exists; requests wait in the kernel until run() serves them. The volume must outlive
    // the session. Threads may be started: do not fork afterwards. Errors: the mount point is
    // missing or busy (errno of mount(2)), an unknown option (kUsage), an underlying root inode
    // that does not fit into a node id (EOVERFLOW).
    static Result<std::unique_ptr<MountSession>> mount(Volume& volume, const MountOptions& options);

    // Takes the hooks back, unmounts (lazily when busy) if it is still mounted. Not while run()
    // runs.
    ~MountSession();

    // Serves until the filesystem is unmounted or request_exit() was called; then unmounts, lets
    // queued snapshot work finish, and returns. Call it once. The error is that of the session
    // loop.
    Result<void> run();

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
