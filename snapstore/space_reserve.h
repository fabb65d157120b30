// Space set aside in the diff area, so that a snapshot can be deleted when its filesystem is full:
// deleting writes to the catalog and to the index before it gives anything back.
#pragma once

#include "snapstore/unique_fd.h"

namespace umbra {

class SpaceReserve {
   public:
    // The reserve of this diff area; the space is set aside when its first use ends, where there is
    // so much. Without it only the above is lost.
    void open(int diff_area);

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
    void set_aside() const;
    void give_back() const;

    UniqueFd file_;
};

}  // namespace umbra
