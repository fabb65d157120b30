#include "fuse/view_nodes.h"

namespace umbra {

std::size_t ViewNodes::PlaceHash::operator()(const Place& place) const noexcept {
    const auto& [parent, epoch, inode, generation] = place;
    std::uint64_t mixed = parent;
    for (const std::uint64_t part : {epoch, inode, std::uint64_t{generation}})
        mixed = (mixed ^ part) * 0x9E3779B97F4A7C15ULL;
    return static_cast<std::size_t>(mixed ^ (mixed >> 32));
}

ViewNodes::Place ViewNodes::place_of(const ViewNode& view) {
    return {view.parent.value(), view.epoch, view.id.inode, view.id.generation};
}

NodeId ViewNodes::node_of(const ViewNode& view) {
    const std::lock_guard lock(mutex_);
    if (known_.size() >= next_sweep_) sweep();
    const auto [place, added] = by_place_.try_emplace(place_of(view));
    if (added) {
        place->second = NodeId::view(++last_number_);
        known_[place->second].view = view;
    }
    known_[place->second].sweep = sweeps_;
    return place->second;
}

std::optional<ViewNode> ViewNodes::find(NodeId node) const {
    const std::lock_guard lock(mutex_);
    const auto found = known_.find(node);
    if (found == known_.end()) return std::nullopt;
    return found->second.view;
}

// What was asked for since the last sweep may be on its way to the kernel: it stays.
void ViewNodes::sweep() {
    for (auto known = known_.begin(); known != known_.end();) {
        if (known->second.sweep == sweeps_ || in_use_(known->first)) {
            ++known;
            continue;
        }
        by_place_.erase(place_of(known->second.view));
        known = known_.erase(known);
    }
    ++sweeps_;
    next_sweep_ = known_.size() + kMostUnused;
}

}  // namespace umbra
