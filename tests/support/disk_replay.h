// Acts out a power cut: makes of a recording (recording_disk.h) the disks as they may be found when
// the power fails at one point of it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "snapstore/unique_fd.h"
#include "tests/support/random.h"
#include "tests/support/recording_disk.h"

namespace umbra::test {

// What a disk writes whole or not at all.
constexpr uint64_t kDiskSector = 4096;

class DiskReplay {
   public:
    // `bases`: copies of the images from before the recording began; they are taken along from
    // point to point. `images`: files to be made, one for each disk.
    DiskReplay(const Recording& recording, const std::vector<std::filesystem::path>& bases,
               const std::vector<std::filesystem::path>& images);

    // Makes the images for a power cut after the first `point` operations: everything before each
    // disk's last flush, and of what was written to it since, some. Which, the random numbers tell:
    // nothing, everything, some of the writes or some of their sectors, each disk by itself. The
    // last write of all may be torn. Points must not go down. Returns a line that tells what was
    // made of it, for messages.
    std::string cut(size_t point, Random& random);

   private:
    struct Disk {
        UniqueFd base;
        std::filesystem::path image;
        size_t applied = 0;  // operations before this one are in the base
    };
    void advance(Disk& disk, int number, size_t until);
    std::string apply_some(int number, const UniqueFd& image, size_t point, Random& random);
    void apply(int file, const DiskOperation& write, uint64_t from, uint64_t length) const;

    const Recording& recording_;
    UniqueFd data_;
    std::vector<Disk> disks_;
};

}  // namespace umbra::test
