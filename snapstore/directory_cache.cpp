#include "snapstore/directory_cache.h"

#include <fcntl.h>

#include <algorithm>

namespace umbra {

Result<DirectoryReference> DirectoryCache::open(const LiveMount& mount, ObjectId directory) {
    Shard& shard = shard_of(directory);
    {
        std::lock_guard lock(shard.mutex);
        auto found = std::find_if(shard.used.begin(), shard.used.end(),
                                  [&](const auto& entry) { return entry.first == directory; });
        if (found != shard.used.end()) {
            std::rotate(shard.used.begin(), found, found + 1);
            return DirectoryReference(shard.used.front().second);
        }
    }
    UMBRA_ASSIGN(auto opened, mount.open_object(directory, O_PATH | O_DIRECTORY));
    auto fd = std::make_shared<const UniqueFd>(std::move(opened));
    std::shared_ptr<const UniqueFd> dropped;  // closed after the lock is given back
    std::lock_guard lock(shard.mutex);
    if (shard.used.size() >= kMost / kShards) {
        dropped = std::move(shard.used.back().second);
        shard.used.pop_back();
    }
    shard.used.emplace(shard.used.begin(), directory, fd);
    return DirectoryReference(std::move(fd));
}

void DirectoryCache::forget(ObjectId directory) {
    Shard& shard = shard_of(directory);
    std::vector<std::shared_ptr<const UniqueFd>> dropped;  // closed after the lock is given back
    std::lock_guard lock(shard.mutex);
    std::erase_if(shard.used, [&](auto& entry) {
        if (entry.first != directory) return false;
        dropped.push_back(std::move(entry.second));
        return true;
    });
}

}  // namespace umbra
