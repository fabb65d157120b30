#include "snapstore/directory_changes.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <set>

#include "snapstore/keys.h"

namespace umbra {

namespace {

bool same_time(const struct timespec& a, const struct timespec& b) {
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

// A folder's times and size follow its names, which are compared themselves.
bool differ(const Attributes& before, const Attributes& after) {
    const struct stat& a = before.status;
    const struct stat& b = after.status;
    if (a.st_mode != b.st_mode || a.st_uid != b.st_uid || a.st_gid != b.st_gid ||
        a.st_rdev != b.st_rdev || before.extended != after.extended) {
        return true;
    }
    if (S_ISDIR(a.st_mode)) return false;
    return a.st_size != b.st_size || !same_time(a.st_mtim, b.st_mtim);
}

}  // namespace

DirectoryChanges::DirectoryChanges(VolumeCore& core, const std::vector<Snapshot>& snapshots,
                                   std::size_t most_objects)
    : core_(core), snapshots_(snapshots), differs_(snapshots.size()), left_(most_objects) {}

std::size_t DirectoryChanges::interval_of(Epoch epoch) const {
    const auto behind =
        std::upper_bound(snapshots_.begin(), snapshots_.end(), epoch,
                         [](Epoch at, const Snapshot& snapshot) { return at < snapshot.epoch; });
    return static_cast<std::size_t>(behind - snapshots_.begin()) - 1;
}

ObjectId DirectoryChanges::Name::at(Epoch snapshot) const {
    const auto record = until.lower_bound(snapshot);
    return record == until.end() ? now : record->second;
}

bool DirectoryChanges::open(const std::vector<bool>& asked) const {
    for (std::size_t i = 0; i < asked.size(); ++i)
        if (asked[i] && !differs_[i]) return true;
    return false;
}

void DirectoryChanges::give_up(const std::vector<bool>& asked) {
    for (std::size_t i = 0; i < asked.size(); ++i)
        if (asked[i]) differs_[i] = true;
}

// What is there now is read first: what changes meanwhile has left its record by then.
Result<DirectoryChanges::Names> DirectoryChanges::names_of(ObjectId directory) {
    Names names;
    auto live = Moment(core_, std::nullopt).list(directory);
    // Gone: the records are all there is.
    if (!live && live.error().code != ESTALE && live.error().code != ENOENT)
        return forward_error(live);
    if (live) {
        for (const auto& entry : *live) {
            Name& name = names[entry.name];
            name.now = entry.id;
            name.type = entry.type;
        }
    }
    std::vector<Epoch> others;
    UMBRA_TRY(core_.index->for_each_entry_record(
        directory, snapshots_.front().epoch, [&](std::string_view text, const IndexedEntry& entry) {
            if (text == kEveryOtherName) {
                others.push_back(entry.epoch);
                return;
            }
            Name& name = names[std::string(text)];
            name.until[entry.epoch] = entry.object;
            if (!name.now.valid()) name.type = entry.type;
        }));
    // Such a record says of each name without one of its own that it was absent.
    for (const Epoch epoch : others)
        for (auto& [text, name] : names) name.until.emplace(epoch, ObjectId{});
    return names;
}

void DirectoryChanges::compare_names(const Names& names, const std::vector<bool>& asked) {
    for (const auto& [text, name] : names) {
        for (const auto& [epoch, object] : name.until) {
            const std::size_t i = interval_of(epoch);
            if (!asked[i] || differs_[i]) continue;
            if (name.at(begin_of(i)) != name.at(end_of(i))) differs_[i] = true;
        }
    }
}

Result<bool> DirectoryChanges::attributes_differ(ObjectId object, std::size_t interval) {
    const auto at = [&](Epoch epoch) {
        return epoch == kNow ? std::optional<Epoch>{} : std::optional(epoch);
    };
    UMBRA_ASSIGN(const Attributes before, Moment(core_, begin_of(interval)).attributes(object));
    UMBRA_ASSIGN(const Attributes after, Moment(core_, at(end_of(interval))).attributes(object));
    return differ(before, after);
}

Result<void> DirectoryChanges::compare_object(ObjectId object, const std::vector<bool>& asked) {
    const Epoch oldest = snapshots_.front().epoch;
    UMBRA_TRY(core_.index->for_each_content(object, oldest, [&](const IndexedContent& content) {
        const std::size_t i = interval_of(content.epoch);
        if (asked[i]) differs_[i] = true;
        return true;
    }));
    for (Epoch from = oldest;;) {
        UMBRA_ASSIGN(const auto record, core_.index->attributes(object, from));
        if (!record) return {};
        const std::size_t i = interval_of(record->epoch);
        if (asked[i] && !differs_[i]) {
            const auto differs = attributes_differ(object, i);
            // What cannot be read is not passed over in silence.
            if (!differs || *differs) differs_[i] = true;
        }
        from = record->epoch + 1;
    }
}

void DirectoryChanges::look(ObjectId directory, std::vector<bool> asked) {
    if (!open(asked)) return;
    auto names = names_of(directory);
    if (!names || names->size() >= left_) return give_up(asked);
    left_ -= names->size() + 1;
    if (!compare_object(directory, asked)) return give_up(asked);
    compare_names(*names, asked);

    // In which of the intervals each object is there from beginning to end.
    std::map<ObjectId, std::vector<bool>> there;
    std::set<ObjectId> folders;
    const auto note = [&](const Name& name, ObjectId object, std::size_t i) {
        if (!object.valid() || name.at(end_of(i)) != object) return;
        auto& intervals = there.try_emplace(object, asked.size(), false).first->second;
        intervals[i] = true;
        if (name.type == DT_DIR) folders.insert(object);
    };
    for (const auto& [text, name] : *names) {
        for (std::size_t i = 0; i < asked.size(); ++i)
            if (asked[i] && !differs_[i]) note(name, name.at(begin_of(i)), i);
    }
    for (const auto& [object, intervals] : there) {
        if (!open(intervals)) continue;
        if (!compare_object(object, intervals)) give_up(intervals);
    }
    for (const ObjectId folder : folders) look(folder, there[folder]);
}

}  // namespace umbra
