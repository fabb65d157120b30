// The directories that are held open through the mount. The kernel does not say goodbye to each
// when it is cut off, so somebody has to own them.
//
// Lock: a leaf lock, never held across a call of the store or a reply.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "fuse/directory_reader.h"

namespace umbra {

// Every method may be called from any thread.
class OpenDirectories {
   public:
    // The number is what the kernel gets as its handle: never used again in the life of a mount.
    std::uint64_t add(NodeId node, std::unique_ptr<DirectoryReader> reader) {
        const std::lock_guard lock(mutex_);
        readers_.emplace(next_number_, Open{node, std::move(reader)});
        return next_number_++;
    }

    // Null when there is none. Kept until it has been read from, as OpenFiles::find().
    std::shared_ptr<DirectoryReader> find(std::uint64_t number) const {
        const std::lock_guard lock(mutex_);
        const auto position = readers_.find(number);
        return position == readers_.end() ? nullptr : position->second.reader;
    }

    void close(std::uint64_t number) {
        std::shared_ptr<DirectoryReader> last;  // destroyed after the lock is dropped
        const std::lock_guard lock(mutex_);
        const auto position = readers_.find(number);
        if (position == readers_.end()) return;
        last = std::move(position->second.reader);
        readers_.erase(position);
    }

    // --- to and from another process. Both while nobody else calls anything ----------------------
    void adopt(std::uint64_t number, NodeId node, std::unique_ptr<DirectoryReader> reader) {
        const std::lock_guard lock(mutex_);
        readers_.emplace(number, Open{node, std::move(reader)});
    }
    void each(const std::function<void(std::uint64_t number, NodeId node)>& look) const {
        const std::lock_guard lock(mutex_);
        for (const auto& [number, open] : readers_) look(number, open.node);
    }
    std::uint64_t next_number() const { return next_number_; }
    void set_next_number(std::uint64_t number) { next_number_ = number; }

   private:
    struct Open {
        NodeId node;
        std::shared_ptr<DirectoryReader> reader;
    };

    mutable std::mutex mutex_;
    std::uint64_t next_number_ = 1;
    std::unordered_map<std::uint64_t, Open> readers_;
};

}  // namespace umbra
