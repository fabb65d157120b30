#include "snapstore/difference.h"

#include <dirent.h>
#include <sys/stat.h>

#include "snapstore/log_format.h"

namespace umbra {

namespace {

std::string join(const std::string& directory, const std::string& name) {
    return directory.empty() ? name : directory + "/" + name;
}

}  // namespace

Result<std::vector<Difference>> DifferenceFinder::find() {
    UMBRA_TRY(collect());
    UMBRA_TRY(add_new_names());
    for (const auto& [directory, name] : names_) UMBRA_TRY(compare_name(directory, name));
    UMBRA_TRY(pair_renames());
    UMBRA_TRY(list_names());
    UMBRA_TRY(list_objects());
    std::vector<Difference> result;
    for (auto& [path, difference] : differences_) result.push_back(std::move(difference));
    return result;
}

Result<void> DifferenceFinder::collect() {
    for (const auto& file : core_.log->files()) {
        if (file.epoch < from_epoch_ || (to_epoch_ && file.epoch >= *to_epoch_)) continue;
        Result<void> failure;
        UMBRA_TRY(core_.log->scan(file.sequence, 0, UndoLog::Check::kHeader,
                                  [&](const RecordHeader& header, std::uint64_t offset) {
                                      if (header.type == RecordType::kAttributes)
                                          objects_[header.object].attributes = true;
                                      if (header.type == RecordType::kContent)
                                          objects_[header.object].content = true;
                                      if (header.type != RecordType::kEntry)
                                          return UndoLog::Visit::kContinue;
                                      std::vector<std::byte> payload(header.checked_length);
                                      failure = core_.log->read(
                                          file.sequence, offset + kRecordHeaderSize, payload);
                                      if (!failure) return UndoLog::Visit::kStop;
                                      auto record = decode_entry(payload);
                                      if (record && checksum(payload) == header.payload_checksum)
                                          take_name(header.object, record->name);
                                      return UndoLog::Visit::kContinue;
                                  }));
        UMBRA_TRY(std::move(failure));
    }
    return {};
}

void DifferenceFinder::take_name(ObjectId directory, const std::string& name) {
    if (name == kEveryOtherName)
        whole_directories_.insert(directory);
    else
        names_.emplace(directory, name);
}

// Where every other name was recorded to be absent, what is new has no record.
Result<void> DifferenceFinder::add_new_names() {
    for (ObjectId directory : whole_directories_) {
        UMBRA_ASSIGN(auto path, to_.path_of(directory));
        if (!path) continue;
        UMBRA_ASSIGN(auto entries, to_.list(directory));
        for (auto& entry : entries) names_.emplace(directory, std::move(entry.name));
    }
    return {};
}

Result<void> DifferenceFinder::compare_name(ObjectId directory, const std::string& name) {
    UMBRA_ASSIGN(auto old_directory, from_.path_of(directory));
    UMBRA_ASSIGN(auto new_directory, to_.path_of(directory));
    std::optional<Moment::Found> before, after;
    if (old_directory) {
        UMBRA_ASSIGN(before, from_.lookup(directory, name));
    }
    if (new_directory) {
        UMBRA_ASSIGN(after, to_.lookup(directory, name));
    }
    if (before && after && before->id == after->id) return {};
    if (before) removed_.emplace(before->id, Place{join(*old_directory, name), before->type});
    if (after) UMBRA_TRY(add_tree(after->id, {join(*new_directory, name), after->type}));
    return {};
}

// A directory that is new has no records of what was made in it: its contents are listed as they
// are.
Result<void> DifferenceFinder::add_tree(ObjectId object, const Place& place) {
    // What was made there in a later epoch than the directory has a record besides.
    auto [first, last] = added_.equal_range(object);
    for (auto known = first; known != last; ++known)
        if (known->second.path == place.path) return {};
    added_.emplace(object, place);
    if (place.type != DT_DIR) return {};
    UMBRA_ASSIGN(auto existed, from_.path_of(object));
    if (existed) return {};  // renamed: what changed in it has records
    UMBRA_ASSIGN(auto entries, to_.list(object));
    for (const auto& entry : entries)
        UMBRA_TRY(add_tree(entry.id, {join(place.path, entry.name), entry.type}));
    return {};
}

Result<std::optional<std::uint64_t>> DifferenceFinder::size_at(Moment& moment, ObjectId object,
                                                               unsigned char type) {
    if (type != DT_REG) return std::optional<std::uint64_t>{};
    UMBRA_ASSIGN(auto attributes, moment.attributes(object));
    return std::optional(static_cast<std::uint64_t>(attributes.status.st_size));
}

Result<void> DifferenceFinder::pair_renames() {
    for (auto old = removed_.begin(); old != removed_.end();) {
        auto now = added_.find(old->first);
        if (now == added_.end()) {
            ++old;
            continue;
        }
        Difference difference{DifferenceKind::kRenamed,
                              now->second.path,
                              old->second.path,
                              false,
                              now->second.type,
                              {},
                              {}};
        difference.content_changed = objects_[old->first].content;
        UMBRA_ASSIGN(difference.old_size, size_at(from_, old->first, old->second.type));
        UMBRA_ASSIGN(difference.new_size, size_at(to_, old->first, now->second.type));
        report(std::move(difference));
        added_.erase(now);
        old = removed_.erase(old);
    }
    return {};
}

Result<void> DifferenceFinder::list_names() {
    std::map<std::string, Difference> gone;
    for (const auto& [object, place] : removed_) {
        Difference difference{DifferenceKind::kRemoved, place.path, {}, false, place.type, {}, {}};
        UMBRA_ASSIGN(difference.old_size, size_at(from_, object, place.type));
        gone[place.path] = difference;
    }
    for (const auto& [object, place] : added_) {
        Difference difference{DifferenceKind::kAdded, place.path, {}, false, place.type, {}, {}};
        UMBRA_ASSIGN(difference.new_size, size_at(to_, object, place.type));
        // Another object under the same name: to people that is a change of the file (editors save
        // that way).
        if (auto replaced = gone.find(place.path); replaced != gone.end()) {
            difference.kind = replaced->second.type == place.type ? DifferenceKind::kModified
                                                                  : DifferenceKind::kTypeChanged;
            difference.content_changed = true;
            difference.old_size = replaced->second.old_size;
            gone.erase(replaced);
        }
        report(std::move(difference));
    }
    // A name that something else was renamed to is told by that rename.
    for (auto& [path, difference] : gone)
        if (differences_.count(path) == 0) report(std::move(difference));
    return {};
}

Result<bool> DifferenceFinder::metadata_differs(ObjectId object) {
    UMBRA_ASSIGN(auto before, from_.attributes(object));
    UMBRA_ASSIGN(auto after, to_.attributes(object));
    const auto& a = before.status;
    const auto& b = after.status;
    bool differs = a.st_mode != b.st_mode || a.st_uid != b.st_uid || a.st_gid != b.st_gid ||
                   a.st_rdev != b.st_rdev || before.extended != after.extended;
    if (S_ISDIR(a.st_mode))
        return differs;  // a directory's times and size follow its names, which are told themselves
    return differs || a.st_size != b.st_size || a.st_mtim.tv_sec != b.st_mtim.tv_sec ||
           a.st_mtim.tv_nsec != b.st_mtim.tv_nsec;
}

Result<void> DifferenceFinder::list_objects() {
    for (const auto& [object, changed] : objects_) {
        UMBRA_ASSIGN(auto location, from_.location_of(object));
        if (location) {
            UMBRA_TRY(list_object(object, *location));
            continue;
        }
        // Not there before, or told already as removed; or nobody knew where it was.
        UMBRA_ASSIGN(auto believed, from_.believed_location_of(object));
        if (!believed.known() && object != core_.mount.root_id) nameless_.insert(object);
    }
    // Rare, and then only a walk can tell.
    if (!nameless_.empty()) return find_nameless(core_.mount.root_id);
    return {};
}

Result<void> DifferenceFinder::find_nameless(ObjectId directory) {
    UMBRA_ASSIGN(auto entries, from_.list(directory));
    for (const auto& entry : entries) {
        if (nameless_.count(entry.id) != 0)
            UMBRA_TRY(list_object(entry.id, {directory, entry.name}));
        if (entry.type == DT_DIR) UMBRA_TRY(find_nameless(entry.id));
    }
    return {};
}

Result<void> DifferenceFinder::list_object(ObjectId object, const Location& location) {
    const Changed& changed = objects_[object];
    UMBRA_ASSIGN(auto still, to_.lookup(location.parent, location.name));
    if (!still || still->id != object) return {};  // told as removed, renamed or replaced
    UMBRA_ASSIGN(auto directory, to_.path_of(location.parent));
    if (!directory) return {};
    bool metadata = false;
    if (!changed.content) {
        UMBRA_ASSIGN(metadata, metadata_differs(object));
    }
    if (!changed.content && !metadata) return {};
    Difference difference{changed.content ? DifferenceKind::kModified : DifferenceKind::kMetadata,
                          join(*directory, location.name),
                          {},
                          changed.content,
                          still->type,
                          {},
                          {}};
    UMBRA_ASSIGN(difference.old_size, size_at(from_, object, still->type));
    UMBRA_ASSIGN(difference.new_size, size_at(to_, object, still->type));
    if (auto told = differences_.find(difference.path); told != differences_.end()) {
        if (told->second.kind != DifferenceKind::kRemoved) return {};
        // Folders that changed places brought it to where the removed one was: the path shows
        // something else now, as in list_names().
        difference.kind = told->second.type == difference.type ? DifferenceKind::kModified
                                                               : DifferenceKind::kTypeChanged;
        difference.content_changed = true;
        difference.old_size = told->second.old_size;
    }
    report(std::move(difference));
    return {};
}

}  // namespace umbra
