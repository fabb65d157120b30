// `snapshot diff`: the records of the epochs in between name what changed; only that is looked at.
// Internal to snapstore.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "snapstore/history.h"
#include "snapstore/moment.h"

namespace umbra {

class DifferenceFinder {
   public:
    DifferenceFinder(VolumeCore& core, Epoch from, std::optional<Epoch> to)
        : core_(core), from_epoch_(from), to_epoch_(to), from_(core, from), to_(core, to) {}
    // Sorted by path.
    Result<std::vector<Difference>> find();

   private:
    struct Place {
        std::string path;
        unsigned char type = 0;
    };
    struct Changed {
        bool content = false;
        bool attributes = false;
    };
    Result<void> collect();
    void take_name(ObjectId directory, const std::string& name);
    Result<void> add_new_names();
    Result<void> compare_name(ObjectId directory, const std::string& name);
    Result<void> add_tree(ObjectId object, const Place& place);
    Result<void> pair_renames();
    Result<void> list_names();
    Result<void> list_objects();
    Result<void> list_object(ObjectId object, const Location& location);
    Result<void> find_nameless(ObjectId directory);
    Result<bool> metadata_differs(ObjectId object);
    Result<std::optional<std::uint64_t>> size_at(Moment& moment, ObjectId object,
                                                 unsigned char type);
    void report(Difference difference) { differences_[difference.path] = std::move(difference); }

    VolumeCore& core_;
    Epoch from_epoch_;
    std::optional<Epoch> to_epoch_;
    Moment from_;
    Moment to_;

    std::set<std::pair<ObjectId, std::string>> names_;  // (directory, name) with a record
    std::set<ObjectId> whole_directories_;              // with a record for every other name
    std::map<ObjectId, Changed> objects_;
    std::set<ObjectId> nameless_;             // of these: no name is known
    std::multimap<ObjectId, Place> removed_;  // names that were there and are not
    std::multimap<ObjectId, Place> added_;
    std::map<std::string, Difference> differences_;
};

}  // namespace umbra
