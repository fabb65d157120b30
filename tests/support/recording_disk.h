// Disks that remember all that was ever written to them, and in which order, so that a power cut at
// any point can be acted out afterwards (disk_replay.h).
//
// They are files of a small FUSE filesystem, to be put below loop devices with direct access: every
// write and every flush of the device's cache then arrives here as one request. Discarding is not
// offered.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace umbra::test {

struct DiskOperation {
    enum class Kind { kWrite, kFlush } kind = Kind::kFlush;
    int disk = 0;
    uint64_t offset = 0;
    uint64_t length = 0;
    uint64_t place = 0;  // of the data in the recording
};

// What was done to all disks, in one order.
struct Recording {
    std::vector<DiskOperation> operations;
    std::filesystem::path data_file;
};

class RecordingDisks {
   public:
    // One disk for each image, which is written to. Throws std::runtime_error.
    explicit RecordingDisks(const std::vector<std::filesystem::path>& images);
    RecordingDisks(const RecordingDisks&) = delete;
    RecordingDisks& operator=(const RecordingDisks&) = delete;
    // Nothing may be mounted from the disks any more.
    ~RecordingDisks();

    // The file to put below a loop device.
    std::filesystem::path path(int disk) const;

    // How many operations there have been.
    size_t position() const;
    // All so far. The data stays where it is: it is valid as long as this.
    Recording recording() const;

   private:
    struct State;
    std::unique_ptr<State> state_;
};

}  // namespace umbra::test
