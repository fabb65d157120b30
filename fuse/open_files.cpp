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

FileHandle* OpenFiles::add(FileHandle handle, bool keep_times) {
    auto kept = std::make_shared<FileHandle>(std::move(handle));
    FileHandle* result = kept.get();
    if (keep_times && kept->live()) kept->times = times_of(*kept->live());
    Shard& shard = shard_of(result->node);
    const std::lock_guard lock(shard.mutex);
    const auto other = shard.handles.find(result->node);
    if (keep_times && other != shard.handles.end() && other->second->times) {
        kept->times = other->second->times;
    }
    shard.handles.emplace(result->node, std::move(kept));
    return result;
}

void OpenFiles::close(FileHandle* handle) {
    std::shared_ptr<FileHandle> last;  // closes the descriptor after the lock is dropped
    Shard& shard = shard_of(handle->node);
    const std::lock_guard lock(shard.mutex);
    auto [position, end] = shard.handles.equal_range(handle->node);
    for (; position != end; ++position) {
        if (position->second.get() != handle) continue;
        last = std::move(position->second);
        shard.handles.erase(position);
        return;
    }
}

std::shared_ptr<FileHandle> OpenFiles::any_of(NodeId node) const {
    const Shard& shard = shard_of(node);
    const std::lock_guard lock(shard.mutex);
    const auto position = shard.handles.find(node);
    return position == shard.handles.end() ? nullptr : position->second;
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
