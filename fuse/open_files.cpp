#include "fuse/open_files.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <utility>

namespace umbra {

namespace {

bool opened_for(const OpenFile& file, OpenedFor kind) {
    const int mode = file.flags & O_ACCMODE;
    return mode == O_RDWR || (mode == O_WRONLY && kind == OpenedFor::kWriting);
}

std::shared_ptr<KeptTimes> times_of(const OpenFile& file) {
    struct stat status {};
    if (::fstat(file.fd.get(), &status) != 0) return nullptr;
    return std::make_shared<KeptTimes>(status.st_mtim);
}

}  // namespace

std::uint64_t OpenFiles::add(FileHandle handle, bool keep_times) {
    auto kept = std::make_shared<FileHandle>(std::move(handle));
    if (keep_times && kept->live()) kept->times = times_of(*kept->live());
    const std::uint64_t number = next_number_++;
    keep(number, std::move(kept));
    return number;
}

void OpenFiles::adopt(std::uint64_t number, FileHandle handle) {
    handle.pages.note();
    keep(number, std::make_shared<FileHandle>(std::move(handle)));
}

void OpenFiles::keep(std::uint64_t number, std::shared_ptr<FileHandle> kept) {
    {
        Shard& shard = shard_of(kept->node);
        const std::lock_guard lock(shard.mutex);
        const auto other = shard.handles.find(kept->node);
        if (kept->times && other != shard.handles.end() && other->second->times)
            kept->times = other->second->times;
        shard.handles.emplace(kept->node, kept);
    }
    // Whoever finds it by its number finds it complete.
    NumberShard& shard = shard_of(number);
    const std::lock_guard lock(shard.mutex);
    shard.handles.emplace(number, std::move(kept));
}

std::shared_ptr<FileHandle> OpenFiles::find(std::uint64_t number) const {
    const NumberShard& shard = shard_of(number);
    const std::lock_guard lock(shard.mutex);
    const auto position = shard.handles.find(number);
    return position == shard.handles.end() ? nullptr : position->second;
}

void OpenFiles::each(
    const std::function<void(std::uint64_t number, FileHandle& handle)>& look) const {
    for (const NumberShard& shard : numbers_) {
        const std::lock_guard lock(shard.mutex);
        for (const auto& [number, handle] : shard.handles) look(number, *handle);
    }
}

void OpenFiles::close(std::uint64_t number) {
    std::shared_ptr<FileHandle> handle;  // closes the descriptor after the locks are dropped
    {
        NumberShard& shard = shard_of(number);
        const std::lock_guard lock(shard.mutex);
        const auto position = shard.handles.find(number);
        if (position == shard.handles.end()) return;
        handle = std::move(position->second);
        shard.handles.erase(position);
    }
    Shard& shard = shard_of(handle->node);
    const std::lock_guard lock(shard.mutex);
    const auto [first, end] = shard.handles.equal_range(handle->node);
    auto closed = first;
    while (closed != end && closed->second != handle) ++closed;
    if (closed == end) return;
    shard.handles.erase(closed);
    // Its pages stay cached: another handle knows of them from now on.
    const auto other = shard.handles.find(handle->node);
    if (other != shard.handles.end() && handle->pages.possible()) other->second->pages.note();
}

std::shared_ptr<FileHandle> OpenFiles::any_of(NodeId node) const {
    const Shard& shard = shard_of(node);
    const std::lock_guard lock(shard.mutex);
    const auto position = shard.handles.find(node);
    return position == shard.handles.end() ? nullptr : position->second;
}

bool OpenFiles::maybe_cached(NodeId node) const {
    const Shard& shard = shard_of(node);
    const std::lock_guard lock(shard.mutex);
    auto [position, end] = shard.handles.equal_range(node);
    for (; position != end; ++position)
        if (position->second->pages.possible()) return true;
    return false;
}

std::vector<NodeId> OpenFiles::nodes_opened(OpenedFor kind) const {
    std::vector<NodeId> nodes;
    for (const Shard& shard : shards_) {
        const std::lock_guard lock(shard.mutex);
        for (const auto& [node, handle] : shard.handles) {  // equal nodes are neighbours
            const OpenFile* file = handle->live();
            if (file == nullptr || !opened_for(*file, kind)) continue;
            if (nodes.empty() || nodes.back() != node) nodes.push_back(node);
        }
    }
    return nodes;
}

std::size_t OpenFiles::size() const {
    std::size_t count = 0;
    for (const Shard& shard : shards_) {
        const std::lock_guard lock(shard.mutex);
        count += shard.handles.size();
    }
    return count;
}

}  // namespace umbra
