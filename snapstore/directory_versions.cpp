#include "snapstore/directory_versions.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <utility>

#include "snapstore/directory_changes.h"
#include "snapstore/volume_core.h"

namespace umbra {

namespace {

bool is_absence(const Error& error) {
    return error.code == ENOENT || error.code == ENOTDIR || error.code == ESTALE;
}

}  // namespace

Result<std::string> DirectoryVersions::live_path(ObjectId directory) const {
    UMBRA_ASSIGN(auto path, Moment(core_, std::nullopt).path_of(directory));
    if (!path) return errno_only(ESTALE);
    return std::move(*path);
}

Result<std::vector<ObjectId>> DirectoryVersions::resolve(Epoch snapshot,
                                                         const std::string& path) const {
    PastTree past(core_, snapshot);
    std::vector<ObjectId> way{past.root()};
    for (std::size_t start = 0; start < path.size();) {
        const std::size_t end = std::min(path.find('/', start), path.size());
        UMBRA_ASSIGN(const PastEntry entry,
                     past.lookup(way.back(), path.substr(start, end - start)));
        if (!S_ISDIR(entry.status.st_mode)) return errno_only(ENOENT);
        way.push_back(entry.id);
        start = end + 1;
    }
    return way;
}

Result<std::vector<ObjectId>> DirectoryVersions::way_to(Epoch snapshot, ObjectId directory,
                                                        const std::string& live_path) const {
    auto way = resolve(snapshot, live_path);
    if (way || way.error().code != ENOENT) return way;
    UMBRA_ASSIGN(const auto old_path, Moment(core_, snapshot).path_of(directory));
    if (!old_path) return errno_only(ENOENT);
    return resolve(snapshot, *old_path);
}

Result<std::vector<ObjectId>> DirectoryVersions::way_to(Epoch snapshot, ObjectId directory) {
    UMBRA_ASSIGN(const std::string path, live_path(directory));
    return way_to(snapshot, directory, path);
}

Result<std::vector<Snapshot>> DirectoryVersions::differing(ObjectId directory) {
    const std::uint64_t sequence = core_.catalog->sequence();
    std::vector<Snapshot> snapshots = core_.catalog->snapshots();
    if (snapshots.empty() || core_.without_diff_area) return std::vector<Snapshot>{};
    core_.settle_all();  // sizes and times are as they will be
    UMBRA_ASSIGN(const std::string path, live_path(directory));
    std::optional<Known> known;
    {
        const std::lock_guard lock(mutex_);
        const auto found = known_.find(directory);
        if (found != known_.end() && found->second.catalog_sequence == sequence &&
            found->second.path == path) {
            known = found->second;
        }
    }

    // Who the folder was at each snapshot, and is now.
    const std::size_t count = snapshots.size();
    const std::size_t first = known ? count - 1 : 0;
    std::vector<ObjectId> who(count);
    for (std::size_t i = first; i < count; ++i) {
        auto way = way_to(snapshots[i].epoch, directory, path);
        if (way) who[i] = way->back();
        if (!way && !is_absence(way.error())) return forward_error(way);
    }
    who.push_back(directory);

    DirectoryChanges changes(core_, snapshots, kMostObjects);
    std::map<ObjectId, std::vector<bool>> asked;
    for (std::size_t i = first; i < count; ++i) {
        if (!who[i].valid()) continue;
        if (who[i] != who[i + 1])
            changes.set(i);
        else
            asked.try_emplace(who[i], count, false).first->second[i] = true;
    }
    for (const auto& [folder, intervals] : asked) changes.look(folder, intervals);

    const auto differs = [&](std::size_t i) {
        if (!known || i + 1 == count) return static_cast<bool>(changes.differs()[i]);
        return std::binary_search(known->differing.begin(), known->differing.end(),
                                  snapshots[i].epoch);
    };
    std::vector<Snapshot> result;
    Known now{sequence, path, {}};
    for (std::size_t i = 0; i < count; ++i) {
        if (!differs(i)) continue;
        if (i + 1 < count) now.differing.push_back(snapshots[i].epoch);
        result.push_back(std::move(snapshots[i]));
    }
    if (!known) {
        const std::lock_guard lock(mutex_);
        if (known_.size() >= kMostKnown) known_.clear();
        known_[directory] = std::move(now);
    }
    return result;
}

std::vector<Snapshot> thinned(std::vector<Snapshot> snapshots, std::size_t most) {
    if (snapshots.size() <= most) return snapshots;
    const std::size_t newest = most - most / 2;
    const std::size_t older = snapshots.size() - newest;
    std::size_t room = most / 2;
    std::vector<bool> chosen(snapshots.size());
    std::fill(chosen.begin() + static_cast<std::ptrdiff_t>(older), chosen.end(), true);
    if (room > 0) {
        chosen[0] = true;
        --room;
    }
    // By the last bits of their epochs, so that the choice does not move on with every snapshot:
    // every 2^k-th one, k as small as possible; what room is left is for the next finer ones.
    const auto count_with = [&](unsigned bits) {
        std::size_t count = 0;
        for (std::size_t i = 1; i < older; ++i)
            if (snapshots[i].epoch % (Epoch{1} << bits) == 0) ++count;
        return count;
    };
    unsigned bits = 0;
    while (bits < 63 && count_with(bits) > room) ++bits;
    for (std::size_t i = 1; i < older; ++i) {
        if (snapshots[i].epoch % (Epoch{1} << bits) != 0) continue;
        chosen[i] = true;
        --room;
    }
    for (std::size_t i = older; bits > 0 && room > 0 && i-- > 1;) {
        if (chosen[i] || snapshots[i].epoch % (Epoch{1} << (bits - 1)) != 0) continue;
        chosen[i] = true;
        --room;
    }
    std::vector<Snapshot> result;
    for (std::size_t i = 0; i < snapshots.size(); ++i)
        if (chosen[i]) result.push_back(std::move(snapshots[i]));
    return result;
}

}  // namespace umbra
