// What .snapshots shows of one folder of the live tree: in which snapshots something in it differs,
// and what the folder was then.
//
// The folder then is what had its path then; where nothing had, the folder itself, wherever it was.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "snapstore/catalog.h"
#include "snapstore/object_id.h"
#include "snapstore/result.h"

namespace umbra {

class VolumeCore;

// Every method may be called from any thread. Lock: a leaf, held for a look.
class DirectoryVersions {
   public:
    explicit DirectoryVersions(VolumeCore& core) : core_(core) {}

    // The folders from the root of the share to what `directory` was at a snapshot, that last.
    // ENOENT where the folder did not exist then; ESTALE where the snapshot or the folder has gone.
    Result<std::vector<ObjectId>> way_to(Epoch snapshot, ObjectId directory);

    // The snapshots, oldest first, after which something changed in the folder: before the next
    // snapshot, or before now. Names, contents, permissions and extended attributes count, of what
    // is in it and in the folders below, as far as kMostObjects objects. Where there are more, and
    // where something cannot be read, a snapshot is listed rather than left out.
    Result<std::vector<Snapshot>> differing(ObjectId directory);

    static constexpr std::size_t kMostObjects = 20'000;

   private:
    // What was found of all snapshots but the newest: that does not change while they stay.
    struct Known {
        std::uint64_t catalog_sequence = 0;
        std::string path;
        std::vector<Epoch> differing;
    };
    static constexpr std::size_t kMostKnown = 1024;

    Result<std::string> live_path(ObjectId directory) const;
    Result<std::vector<ObjectId>> resolve(Epoch snapshot, const std::string& path) const;
    Result<std::vector<ObjectId>> way_to(Epoch snapshot, ObjectId directory,
                                         const std::string& live_path) const;

    VolumeCore& core_;
    std::mutex mutex_;
    std::map<ObjectId, Known> known_;
};

// At most `most` of them: the newest, and of the older ones fewer the older they are, always the
// same ones as long as they stay. `most` is at least 1.
std::vector<Snapshot> thinned(std::vector<Snapshot> snapshots, std::size_t most);

}  // namespace umbra
