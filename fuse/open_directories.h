// The directories that are held open through the mount. The kernel does not say goodbye to each
// when it is cut off, so somebody has to own them.
//
// Lock: a leaf lock, never held across a call of the store or a reply.
#pragma once

#include <memory>
#include <mutex>
#include <unordered_map>

#include "fuse/directory_reader.h"

namespace umbra {

// Every method may be called from any thread.
class OpenDirectories {
   public:
    void add(std::unique_ptr<DirectoryReader> reader) {
        DirectoryReader* key = reader.get();
        const std::lock_guard lock(mutex_);
        readers_.emplace(key, std::move(reader));
    }

    void close(DirectoryReader* reader) {
        std::unique_ptr<DirectoryReader> last;  // destroyed after the lock is dropped
        const std::lock_guard lock(mutex_);
        const auto position = readers_.find(reader);
        if (position == readers_.end()) return;
        last = std::move(position->second);
        readers_.erase(position);
    }

   private:
    std::mutex mutex_;
    std::unordered_map<DirectoryReader*, std::unique_ptr<DirectoryReader>> readers_;
};

}  // namespace umbra
