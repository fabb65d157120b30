#include "snapstore/history.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>

#include "snapstore/difference.h"
#include "snapstore/moment.h"
#include "snapstore/volume_core.h"

namespace umbra {

namespace {

bool same_time(const struct timespec& a, const struct timespec& b) {
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

bool same_status(const struct stat& a, const struct stat& b) {
    return a.st_mode == b.st_mode && a.st_uid == b.st_uid && a.st_gid == b.st_gid &&
           a.st_size == b.st_size && same_time(a.st_mtim, b.st_mtim);
}

// What a path was at one moment.
struct Seen {
    ObjectId id;
    struct stat status {};
    std::vector<ExtendedAttribute> extended;
};

// Did contents of the object begin to change in [from, until)?
Result<bool> content_changed(VolumeCore& core, ObjectId object, Epoch from, Epoch until) {
    UMBRA_ASSIGN(auto record, core.index->content(object, from));
    return record && record->epoch < until;
}

Result<bool> same_version(VolumeCore& core, const Seen& older, Epoch older_epoch, const Seen& newer,
                          Epoch newer_epoch) {
    if (older.id != newer.id || !same_status(older.status, newer.status) ||
        older.extended != newer.extended)
        return false;
    if (!S_ISREG(older.status.st_mode)) return true;
    UMBRA_ASSIGN(bool changed, content_changed(core, older.id, older_epoch, newer_epoch));
    return !changed;
}

Result<std::optional<Seen>> seen_at(VolumeCore& core, Epoch snapshot, const std::string& path) {
    PastTree past(core, snapshot);
    auto entry = past.resolve(path);
    if (!entry) {
        int code = entry.error().code;
        if (code == ENOENT || code == ENOTDIR || code == ESTALE) return std::optional<Seen>{};
        return forward_error(entry);
    }
    UMBRA_ASSIGN(auto attributes, past.attributes(entry->id));
    return std::optional(Seen{entry->id, attributes.status, std::move(attributes.extended)});
}

Result<std::optional<Seen>> seen_now(VolumeCore& core, const std::string& path) {
    ObjectId at = core.mount.root_id;
    std::size_t start = 0;
    while (start < path.size()) {
        std::size_t end = std::min(path.find('/', start), path.size());
        if (end > start) {
            auto entry = core.live.lookup(at, path.substr(start, end - start));
            if (!entry) return std::optional<Seen>{};
            at = entry->id;
        }
        start = end + 1;
    }
    auto attributes = Moment(core, std::nullopt).attributes(at);
    if (!attributes) return std::optional<Seen>{};
    core.hide_traces(at, attributes->status);
    return std::optional(Seen{at, attributes->status, std::move(attributes->extended)});
}

}  // namespace

Result<std::vector<Version>> History::versions(const std::string& path) {
    core_.settle_all();  // sizes and times are as they will be
    auto snapshots = core_.catalog->snapshots();
    std::vector<Version> versions;
    UMBRA_ASSIGN(auto newer, seen_now(core_, path));
    Epoch newer_epoch = UINT64_MAX;
    bool newer_is_live = true;
    for (auto snapshot = snapshots.rbegin(); snapshot != snapshots.rend(); ++snapshot) {
        UMBRA_ASSIGN(auto seen, seen_at(core_, snapshot->epoch, path));
        bool same = false;
        if (seen && newer) {
            UMBRA_ASSIGN(same, same_version(core_, *seen, snapshot->epoch, *newer, newer_epoch));
        }
        if (seen && same && !newer_is_live)
            versions.back().first = *snapshot;
        else if (seen)
            versions.push_back(
                {*snapshot, *snapshot, same && newer_is_live, seen->id, seen->status});
        newer = std::move(seen);
        newer_epoch = snapshot->epoch;
        newer_is_live = false;
    }
    return versions;
}

Result<bool> History::contents_untouched(Epoch snapshot, const std::string& path) {
    PastTree past(core_, snapshot);
    UMBRA_ASSIGN(const PastEntry then, past.resolve(path));
    UMBRA_ASSIGN(const auto now, seen_now(core_, path));
    if (!now || now->id != then.id) return false;
    // Looked at before the index: what changes it from here on has left its record first.
    UMBRA_ASSIGN(const bool changed, content_changed(core_, then.id, snapshot, UINT64_MAX));
    return !changed;
}

Result<ChangedRanges> History::changed_ranges(Epoch snapshot, const std::string& path,
                                              std::uint64_t from) {
    constexpr std::uint64_t kStep = 1024;  // blocks looked at together
    constexpr std::size_t kMostRanges = 1024;
    PastTree past(core_, snapshot);
    ChangedRanges changed;
    UMBRA_ASSIGN(const PastEntry then, past.resolve(path));
    const auto now = seen_now(core_, path);
    if (!now || !*now || (*now)->id != then.id || !S_ISREG((*now)->status.st_mode)) return changed;
    changed.known = true;
    changed.inode = then.id.inode;
    UMBRA_ASSIGN(const PastFile file, past.open(then.id));
    const std::uint64_t total = (file.size + kBlockSize - 1) / kBlockSize;
    while (from < total && changed.ranges.size() < kMostRanges) {
        const std::uint64_t count = std::min(kStep, total - from);
        UMBRA_ASSIGN(const auto ranges, past.preserved_ranges(file, from, count));
        changed.ranges.insert(changed.ranges.end(), ranges.begin(), ranges.end());
        from += count;
    }
    changed.next = from < total ? from : 0;
    return changed;
}

Result<std::vector<Difference>> History::difference(Epoch from, std::optional<Epoch> to) {
    if (to && *to <= from)
        return error_of(ErrorKind::kUsage, EINVAL,
                        "the first snapshot of a diff must be the older one; exchange them");
    for (Epoch epoch : {from, to.value_or(from)})
        if (!core_.catalog->exists(epoch))
            return error_of(ErrorKind::kNotFound, ENOENT,
                            "there is no snapshot with epoch " + std::to_string(epoch));
    core_.settle_all();  // sizes and times are as they will be
    return DifferenceFinder(core_, from, to).find();
}

}  // namespace umbra
