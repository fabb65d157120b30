#include "snapstore/object_state.h"

namespace umbra {

std::shared_ptr<ObjectState> ObjectStates::get(ObjectId object) {
    Shard& shard = shards_[ObjectIdHash{}(object) % kShards];
    std::lock_guard lock(shard.mutex);
    if (auto found = shard.slots.find(object); found != shard.slots.end()) {
        shard.by_age.splice(shard.by_age.begin(), shard.by_age, found->second.age);
        return found->second.state;
    }
    evict(shard);
    shard.by_age.push_front(object);
    auto state = std::make_shared<ObjectState>();
    shard.slots[object] = {state, shard.by_age.begin()};
    return state;
}

void ObjectStates::evict(Shard& shard) {
    // States in use stay; they move to the front so that the search does not meet them again at
    // once.
    for (std::size_t looked = 0; shard.slots.size() >= max_per_shard_ && looked < 8; ++looked) {
        ObjectId oldest = shard.by_age.back();
        auto found = shard.slots.find(oldest);
        if (found->second.state.use_count() > 1) {
            shard.by_age.splice(shard.by_age.begin(), shard.by_age, found->second.age);
            continue;
        }
        shard.by_age.pop_back();
        shard.slots.erase(found);
    }
}

void ObjectStates::forget(ObjectId object) {
    Shard& shard = shards_[ObjectIdHash{}(object) % kShards];
    std::lock_guard lock(shard.mutex);
    auto found = shard.slots.find(object);
    if (found == shard.slots.end() || found->second.state.use_count() > 1) return;
    shard.by_age.erase(found->second.age);
    shard.slots.erase(found);
}

}  // namespace umbra
