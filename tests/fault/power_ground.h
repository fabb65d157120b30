// Disks on which a share works while they are recorded, to be cut off at points of that.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/fault/power_history.h"
#include "tests/support/disk_replay.h"
#include "tests/support/loop_device.h"
#include "tests/support/ram_image.h"
#include "tests/support/random.h"
#include "tests/support/recording_disk.h"
#include "tests/support/scratch.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {

enum class DiffArea { kOnSameDisk, kOnSecondDisk };

// Filesystems mounted from disks, for as long as this.
class MountedDisks {
   public:
    MountedDisks(FilesystemType type, const std::vector<std::filesystem::path>& files,
                 const std::vector<std::filesystem::path>& places, LoopDevice::Access access);
    MountedDisks(const MountedDisks&) = delete;
    MountedDisks& operator=(const MountedDisks&) = delete;
    ~MountedDisks() { unmount(); }

   private:
    void unmount() noexcept;

    std::vector<std::filesystem::path> places_;
};

// The moments worth a power cut: around flushes, most before those of much that was written, right
// after something was promised, and any.
class Moments {
   public:
    Moments(const Recording& recording, const PowerHistory& history);

    // In the order of time.
    std::vector<size_t> choose(int count, Random& random) const;

   private:
    struct Flush {
        size_t point = 0;
        size_t writes = 0;  // since the flush before
    };

    size_t choose_one(Random& random) const;
    size_t before_much(Random& random) const;

    const PowerHistory& history_;
    std::vector<Flush> flushes_;
    size_t end_ = 0;
};

class PowerGround {
   public:
    PowerGround(FilesystemType type, DiffArea area);

    // What works on the share: the mount, the share's folder as it is without Umbra, and what tells
    // the time.
    using Work = std::function<void(UmbraMount& mount, const std::filesystem::path& below,
                                    const std::function<size_t()>& position)>;
    void record(const Work& work);

    const Recording& recording() const { return recording_; }
    DiskReplay replay() const;
    // The disks as the replay has cut them off.
    std::unique_ptr<MountedDisks> mount_cut() const;
    std::filesystem::path share() const { return mounts_[0] / "share"; }

   private:
    std::vector<std::filesystem::path> files(const std::string& name) const;
    void mount_and(const Work& work);

    FilesystemType type_;
    DiffArea area_;
    // The folders stay the same from the recording to the last replay.
    TempDir folder_{"power"};
    std::vector<std::filesystem::path> mounts_;
    std::filesystem::path below_;
    std::unique_ptr<RecordingDisks> disks_;
    Recording recording_;
};

}  // namespace umbra::test
