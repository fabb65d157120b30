// Space set aside for what must not fail because a filesystem is full: in the diff area for the
// deletion of snapshots, which writes to the catalog and to the index before it gives anything
// back, and for opening the index; in the share for opening the volume.
#pragma once

#include <cstdint>

#include "snapstore/unique_fd.h"

namespace umbra {

class SpaceReserve {
   public:
    // `most_bytes` are set aside, or less on a small filesystem.
    explicit SpaceReserve(std::uint64_t most_bytes) : most_bytes_(most_bytes) {}

    // The reserve in this directory; the space is set aside when its first use ends, where there is
    // so much. Without it only the above is lost.
    void open(int directory);

    // Where there is so much; harmless when it is set aside already.
    void set_aside() const;

    // Gives the space to the filesystem for as long as it lives. One at a time.
    class Use {
       public:
        explicit Use(const SpaceReserve& reserve) : reserve_(reserve) { reserve_.give_back(); }
        ~Use() { reserve_.set_aside(); }
        Use(const Use&) = delete;
        Use& operator=(const Use&) = delete;

       private:
        const SpaceReserve& reserve_;
    };

   private:
    void give_back() const;

    std::uint64_t most_bytes_;
    UniqueFd file_;
};

}  // namespace umbra
