// The share at a snapshot or now, behind one face: what `snapshot diff` compares.
#pragma once

#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "snapstore/past_tree.h"
#include "snapstore/volume_core.h"

namespace umbra {

class Moment {
   public:
    // No epoch: now.
    Moment(VolumeCore& core, std::optional<Epoch> snapshot) : core_(core), snapshot_(snapshot) {}

    struct Found {
        ObjectId id;
        unsigned char type = 0;  // DT_*
    };
    Result<std::optional<Found>> lookup(ObjectId directory, const std::string& name);
    Result<Attributes> attributes(ObjectId object);
    Result<std::vector<PastDirectoryEntry>> list(ObjectId directory);
    // Path of a directory relative to the share; no value when it was not there. Remembered.
    Result<std::optional<std::string>> path_of(ObjectId directory);
    // Where an object is believed to have been. Unknown for a file whose name the kernel had
    // forgotten when its record was written.
    Result<Location> believed_location_of(ObjectId object);
    // Where an object was, checked; no value when it was not there or its name is not known.
    Result<std::optional<Location>> location_of(ObjectId object);

   private:
    VolumeCore& core_;
    std::optional<Epoch> snapshot_;
    std::unordered_map<ObjectId, std::optional<std::string>, ObjectIdHash> paths_;
};

}  // namespace umbra
