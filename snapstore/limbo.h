// Limbo: where regular files wait that lost their last name while a snapshot still needs their
// contents. A directory of the live tree's own filesystem, SHARE/.umbra/limbo/EPOCH/, so that going
// there is one atomic rename.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include "snapstore/object_id.h"
#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

class Limbo {
   public:
    // `directory`: SHARE/.umbra/limbo through the live mount.
    explicit Limbo(UniqueFd directory);

    // Moves the name (directory_fd, name) of an object there: its last name. Held back by nobody:
    // one rename.
    Result<void> take(int directory_fd, const char* name, ObjectId object, Epoch epoch,
                      std::uint64_t bytes);
    // Gives an object a second name there, before a rename replaces its last one. A power cut never
    // leaves it without any.
    Result<void> link(int object_fd, ObjectId object, Epoch epoch, std::uint64_t bytes);
    // Takes that back when the rename failed.
    Result<void> unlink(ObjectId object, Epoch epoch, std::uint64_t bytes);

    // Before one of several names of an object goes: a power cut must not take that and not know
    // the others. `object_fd` may be O_PATH.
    Result<void> secure_names(int object_fd) const;

    // All objects that died in one epoch.
    Result<std::vector<ObjectId>> objects(Epoch epoch) const;
    Result<std::vector<Epoch>> epochs() const;
    // Does an object wait there?
    Result<bool> holds(ObjectId object) const;
    // Removes an object for good; returns the bytes it held.
    Result<std::uint64_t> remove(ObjectId object, Epoch epoch);
    // Removes the directory of an epoch if it is empty.
    void remove_directory(Epoch epoch);
    // Counts anew what died in these epochs: files change size while they wait, and filesystems
    // what they reserve for them. Counts everything where that was not done since a clean end.
    Result<void> measure_bytes(Epoch from = 0, Epoch until = UINT64_MAX);
    Result<std::uint64_t> object_bytes(ObjectId object, Epoch epoch) const;

    // After an unclean end: drops second names left by a crash between link and rename, counts
    // bytes anew.
    Result<void> recover();
    // After a clean end: as counted then.
    void set_bytes(std::uint64_t bytes);
    std::uint64_t bytes() const { return bytes_.load(std::memory_order_relaxed); }
    Result<void> sync();

   private:
    Result<UniqueFd> epoch_directory(Epoch epoch);
    void add_bytes(Epoch epoch, std::uint64_t bytes);
    void take_bytes(Epoch epoch, std::uint64_t bytes);

    UniqueFd directory_;
    // btrfs: syncs of other files may make durable that a name is gone, but not a link made before
    // that.
    bool links_come_late_;
    std::atomic<std::uint64_t> bytes_{0};
    std::mutex mutex_;  // guards all below; leaf
    bool counted_ = true;
    std::map<Epoch, std::uint64_t> by_epoch_;  // where counted_; together bytes_
    Epoch current_epoch_ = 0;
    UniqueFd current_;  // directory of current_epoch_
};

}  // namespace umbra
