// A share and a plain directory side by side on one filesystem image.
#pragma once

#include <filesystem>
#include <string>

#include "tests/support/ram_image.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {

// The plain directory is seen through a mount without access times, as a share behaves.
class Pair {
   public:
    explicit Pair(FilesystemType type);
    Pair(const Pair&) = delete;
    Pair& operator=(const Pair&) = delete;
    ~Pair();

    FilesystemType type() const { return image_.type(); }
    const std::filesystem::path& plain() const { return plain_; }
    const std::filesystem::path& share() const { return share_; }
    UmbraMount& umbra() { return umbra_; }

    // A descriptor of the folder below the mount.
    int folder_below() const { return folder_below_; }

    // A directory on another filesystem that everybody may write to.
    const std::filesystem::path& outside() const { return outside_; }

    void delete_all_snapshots();

   private:
    RamImage image_;
    std::filesystem::path plain_;
    std::filesystem::path share_;
    std::filesystem::path outside_;
    int folder_below_;
    UmbraMount umbra_;
};

// One mounted pair for each type serves all cases of a run; it is made at the first use, again if
// its daemon has died, and taken down at the end of the program.
Pair& shared_pair(FilesystemType type);

}  // namespace umbra::test
