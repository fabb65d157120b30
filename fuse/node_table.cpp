#include "fuse/node_table.h"

namespace umbra {

void NodeTable::remember(NodeId node, std::uint32_t generation, NodeId parent) {
    Shard& shard = shard_of(node);
    const std::lock_guard lock(shard.mutex);
    auto [position, added] =
        shard.records.try_emplace(node, Record{parent.value(), 0, generation, false});
    Record& record = position->second;
    if (!added && record.generation != generation) {
        record.generation = generation;
        record.unlinked = false;
        shard.removed_directories.erase(node);
        shard.removed_files.erase(node);
    }
    // A node found by "." says nothing of where it is.
    if (parent != node) record.parent = parent.value();
    ++record.references;
}

void NodeTable::forget(NodeId node, std::uint64_t count) {
    Shard& shard = shard_of(node);
    UniqueFd removed;  // closed after the lock is given back: that may free a large file
    const std::lock_guard lock(shard.mutex);
    const auto position = shard.records.find(node);
    if (position == shard.records.end()) return;
    std::uint64_t& references = position->second.references;
    if (references > count) {
        references -= count;
    } else {
        shard.records.erase(position);
        shard.removed_directories.erase(node);
        if (const auto kept = shard.removed_files.find(node); kept != shard.removed_files.end()) {
            removed = std::move(kept->second);
            shard.removed_files.erase(kept);
        }
    }
}

std::optional<NodeTable::Node> NodeTable::find(NodeId node) const {
    const Shard& shard = shard_of(node);
    const std::lock_guard lock(shard.mutex);
    const auto position = shard.records.find(node);
    if (position == shard.records.end()) return std::nullopt;
    const Record& record = position->second;
    return Node{NodeId(record.parent), record.generation, record.unlinked};
}

void NodeTable::set_unlinked(NodeId node, std::uint32_t generation, bool unlinked) {
    Shard& shard = shard_of(node);
    const std::lock_guard lock(shard.mutex);
    const auto position = shard.records.find(node);
    if (position == shard.records.end() || position->second.generation != generation) return;
    position->second.unlinked = unlinked;
}

void NodeTable::keep_removed_directory(NodeId node, std::uint32_t generation,
                                       const struct stat& status) {
    Shard& shard = shard_of(node);
    const std::lock_guard lock(shard.mutex);
    const auto position = shard.records.find(node);
    if (position == shard.records.end() || position->second.generation != generation) return;
    shard.removed_directories.insert_or_assign(node, status);
}

std::optional<struct stat> NodeTable::removed_directory(NodeId node) const {
    const Shard& shard = shard_of(node);
    const std::lock_guard lock(shard.mutex);
    const auto position = shard.removed_directories.find(node);
    if (position == shard.removed_directories.end()) return std::nullopt;
    return position->second;
}

void NodeTable::keep_removed_file(NodeId node, std::uint32_t generation, UniqueFd fd) {
    Shard& shard = shard_of(node);
    const std::lock_guard lock(shard.mutex);
    const auto position = shard.records.find(node);
    if (position == shard.records.end() || position->second.generation != generation) return;
    if (shard.removed_files.size() >= kMostRemovedFiles) return;
    shard.removed_files.insert_or_assign(node, std::move(fd));
}

std::size_t NodeTable::size() const {
    std::size_t count = 0;
    for (const Shard& shard : shards_) {
        const std::lock_guard lock(shard.mutex);
        count += shard.records.size();
    }
    return count;
}

void NodeTable::each(const std::function<void(const Known&)>& look) const {
    for (const Shard& shard : shards_) {
        const std::lock_guard lock(shard.mutex);
        for (const auto& [node, record] : shard.records) {
            Known known{node, NodeId(record.parent), record.references, record.generation,
                        record.unlinked};
            const auto directory = shard.removed_directories.find(node);
            if (directory != shard.removed_directories.end())
                known.removed_directory = &directory->second;
            const auto file = shard.removed_files.find(node);
            if (file != shard.removed_files.end()) known.removed_file = file->second.get();
            look(known);
        }
    }
}

void NodeTable::adopt(const Known& known) {
    Shard& shard = shard_of(known.node);
    const std::lock_guard lock(shard.mutex);
    shard.records.insert_or_assign(known.node, Record{known.parent.value(), known.references,
                                                      known.generation, known.unlinked});
    if (known.removed_directory != nullptr)
        shard.removed_directories.insert_or_assign(known.node, *known.removed_directory);
    if (known.removed_file >= 0)
        shard.removed_files.insert_or_assign(known.node, UniqueFd(known.removed_file));
}

}  // namespace umbra
