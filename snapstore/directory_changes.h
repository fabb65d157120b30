// Looks through a folder, and the folders below it, for what changed in the time after each of some
// snapshots. Internal to snapstore.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "snapstore/moment.h"

namespace umbra {

class DirectoryChanges {
   public:
    // Ascending; the last interval ends now. `most_objects` may be looked at.
    DirectoryChanges(VolumeCore& core, const std::vector<Snapshot>& snapshots,
                     std::size_t most_objects);

    // Looks for changes of `directory` in the intervals asked for: the i-th begins with the i-th
    // snapshot and ends with the next, or now. A directory that is not there in all of an interval
    // must not be asked for.
    void look(ObjectId directory, std::vector<bool> asked);
    // Says that the i-th differs, whatever there is.
    void set(std::size_t interval) { differs_[interval] = true; }
    const std::vector<bool>& differs() const { return differs_; }

   private:
    static constexpr Epoch kNow = UINT64_MAX;

    // What one name stood for: until each of these epochs, and now. Invalid: nothing.
    struct Name {
        std::map<Epoch, ObjectId> until;
        ObjectId now;
        unsigned char type = 0;  // now, or last
        ObjectId at(Epoch snapshot) const;
    };
    using Names = std::map<std::string, Name>;

    Result<Names> names_of(ObjectId directory);
    void compare_names(const Names& names, const std::vector<bool>& asked);
    Result<void> compare_object(ObjectId object, const std::vector<bool>& asked);
    Result<bool> attributes_differ(ObjectId object, std::size_t interval);

    Epoch begin_of(std::size_t interval) const { return snapshots_[interval].epoch; }
    Epoch end_of(std::size_t interval) const {
        return interval + 1 < snapshots_.size() ? snapshots_[interval + 1].epoch : kNow;
    }
    // Which interval a change at this epoch is in: all records after the oldest snapshot are.
    std::size_t interval_of(Epoch epoch) const;
    bool open(const std::vector<bool>& asked) const;
    void give_up(const std::vector<bool>& asked);

    VolumeCore& core_;
    const std::vector<Snapshot>& snapshots_;
    std::vector<bool> differs_;
    std::size_t left_;  // how many objects may still be looked at
};

}  // namespace umbra
