// The mount as the kernel has it: made, taken away, cut off.
#pragma once

#include <string>

#include "fuse/mount_session.h"
#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

class KernelMount {
   public:
    // Mounts a FUSE filesystem of type fuse.umbra at options.mountpoint. `source` is what mount(8)
    // and df show as the device. Nothing answers until somebody reads from device().
    static Result<KernelMount> attach(const MountOptions& options, const std::string& source,
                                      bool read_only);

    // One that was attached by another process.
    static KernelMount known(std::string mountpoint, std::string device_number);
    const std::string& mountpoint() const { return mountpoint_; }
    const std::string& device_number() const { return device_number_; }

    // /dev/fuse, connected to this mount. Taken once.
    UniqueFd take_device() { return std::move(device_); }

    // Unmounts. False when it is in use or no longer what is seen at the mount point.
    bool detach() const;
    // Takes the mount out of the tree of names, though in use; users keep what they have open.
    void detach_lazily() const;
    // Is the filesystem still mounted anywhere? `device` is the descriptor taken above.
    static bool connected(int device);
    // Ends the connection: waiting and further requests fail with ENOTCONN, reading the device with
    // ENODEV. No effect when it has ended already, which `device`, the descriptor taken above,
    // tells.
    void abort(int device) const;
    // A descriptor that does the same when "1" is written to it, by whomever; invalid where the
    // kernel offers none.
    UniqueFd abort_switch() const;

    // Lets the kernel read ahead as much as one request can carry.
    void raise_read_ahead() const;

   private:
    KernelMount() = default;
    bool on_top() const;

    UniqueFd device_;
    std::string mountpoint_;     // absolute, without symbolic links
    std::string device_number_;  // "major:minor"
};

}  // namespace umbra
