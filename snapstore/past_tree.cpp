// Names and attributes of the past. Contents: past_tree_data.cpp.
#include "snapstore/past_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <map>
#include <memory>

#include "snapstore/live_change.h"
#include "snapstore/log_format.h"
#include "snapstore/volume_core.h"

namespace umbra {

namespace {

// What a look at the live tree said about one name.
struct LiveName {
    ObjectId id;
    std::uint8_t type = 0;
};

Result<std::optional<LiveName>> live_name(const VolumeCore& core, ObjectId directory,
                                          const std::string& name) {
    using Outcome = std::optional<LiveName>;
    auto fd = open_parent(core, directory);
    if (!fd && fd.error().code == ESTALE)
        return Outcome{};  // the directory is gone: records are all there is
    if (!fd) return forward_error(fd);
    struct stat status {};
    if (fstatat(fd->get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) return Outcome{};
        return errno_only(errno);
    }
    auto id = core.mount.codec.identify(fd->get(), name.c_str());
    if (!id && id.error().code == ENOENT) return Outcome{};
    if (!id) return forward_error(id);
    return Outcome{LiveName{*id, static_cast<std::uint8_t>(IFTODT(status.st_mode))}};
}

// All names of a live directory; none when it is gone.
Result<std::map<std::string, std::uint8_t>> live_names(const VolumeCore& core, ObjectId directory) {
    std::map<std::string, std::uint8_t> names;
    auto fd = core.mount.open_object(directory, O_RDONLY | O_DIRECTORY | O_NOATIME);
    if (!fd && fd.error().code == ESTALE) return names;
    if (!fd) return forward_error(fd);
    std::unique_ptr<DIR, int (*)(DIR*)> stream(fdopendir(fd->release()), closedir);
    if (!stream) return errno_only(errno);
    for (;;) {
        errno = 0;
        const struct dirent* entry = readdir(stream.get());
        if (entry == nullptr) break;
        std::string name = entry->d_name;
        if (name == "." || name == ".." || core.live.hidden(directory, name.c_str())) continue;
        names[name] = entry->d_type;
    }
    if (errno != 0) return errno_only(errno);
    return names;
}

Result<Attributes> stored_attributes(VolumeCore& core, ObjectId object, const LogPlace& place) {
    auto damaged = [&] {
        return error_of(ErrorKind::kDiffArea, EIO,
                        "attributes of inode " + std::to_string(object.inode) +
                            " are damaged in undo log file " + std::to_string(place.file) +
                            " at offset " + std::to_string(place.offset));
    };
    std::vector<std::byte> bytes(place.length);
    UMBRA_TRY(core.log->read(place.file, place.offset, bytes));
    auto header = decode_record_header(bytes, place.file, place.offset);
    if (!header || header->type != RecordType::kAttributes || header->object != object ||
        header->length > bytes.size())
        return damaged();
    auto payload =
        std::span<const std::byte>(bytes).subspan(kRecordHeaderSize, header->payload_length);
    if (checksum(payload) != header->payload_checksum) return damaged();
    UMBRA_ASSIGN(auto attributes, decode_attributes(payload));
    attributes.status.st_ino = object.inode;
    return attributes;
}

}  // namespace

ObjectId PastTree::root() const { return core_->mount.root_id; }

Result<void> PastTree::check_alive() const {
    // Asked after every read: a snapshot that is being deleted loses its records, and must not fall
    // through to newer ones.
    if (!core_->catalog->exists(snapshot_)) return errno_only(ESTALE);
    return {};
}

Result<PastEntry> PastTree::lookup(ObjectId directory, const std::string& name) {
    if (core_->without_diff_area) return errno_only(ESTALE);
    UMBRA_TRY(check_old_name(*core_, directory, name));
    std::optional<LiveName> found;
    UMBRA_ASSIGN(auto record, core_->index->entry(directory, name, snapshot_));
    if (!record) {
        UMBRA_ASSIGN(found, live_name(*core_, directory, name));
        UMBRA_ASSIGN(record,
                     core_->index->entry(directory, name, snapshot_));  // changed while we looked?
    }
    UMBRA_TRY(check_alive());
    if (record) {
        found.reset();
        if (record->object.valid()) found = LiveName{record->object, record->type};
    }
    if (!found) return errno_only(ENOENT);
    UMBRA_ASSIGN(auto status_then, status(found->id));
    return PastEntry{found->id, status_then};
}

// A directory that was renamed since has a record that says where it was; one without a record is
// where it was then.
Result<ObjectId> PastTree::parent(ObjectId directory) {
    auto then = attributes(directory);
    if (then && then->location.known()) return then->location.parent;
    auto live = core_->live.lookup_parent(directory);
    then = attributes(directory);  // renamed while we looked?
    if (!then) return forward_error(then);
    if (then->location.known()) return then->location.parent;
    UMBRA_ASSIGN(auto record, core_->index->attributes(directory, snapshot_));
    if (record) return errno_only(ESTALE);  // it does not say where the directory was
    UMBRA_TRY(check_alive());
    if (!live) return forward_error(live);
    return live->id;
}

// What is gone or has changed since has a record of its attributes. Where the inode number was used
// again, the oldest record is that of the object that was there at the snapshot.
Result<ObjectId> PastTree::find_inode(std::uint64_t inode) {
    if (core_->without_diff_area) return errno_only(ESTALE);
    const auto look = [&] { return core_->index->object_with_attributes(inode, snapshot_); };
    UMBRA_ASSIGN(auto recorded, look());
    if (!recorded) {
        auto live = core_->live.find_inode(inode);
        UMBRA_ASSIGN(recorded, look());  // changed while we looked?
        UMBRA_TRY(check_alive());
        if (!recorded) return live;
    }
    UMBRA_TRY(check_alive());
    return *recorded;
}

Result<Attributes> PastTree::attributes(ObjectId object) {
    if (core_->without_diff_area) return errno_only(ESTALE);
    UMBRA_ASSIGN(auto record, core_->index->attributes(object, snapshot_));
    std::optional<Attributes> result;
    if (!record) {
        auto fd = core_->mount.open_object(object, O_PATH | O_NOFOLLOW);
        if (fd) {
            UMBRA_ASSIGN(result, read_attributes(fd->get()));
        }
        UMBRA_ASSIGN(record, core_->index->attributes(object, snapshot_));
        if (!record && !fd) return forward_error(fd);
    }
    if (record) {
        auto stored = stored_attributes(*core_, object, record->place);
        UMBRA_TRY(check_alive());
        if (!stored) return forward_error(stored);
        result = std::move(*stored);
    }
    UMBRA_TRY(check_alive());
    core_->hide_traces(object, result->status);
    return std::move(*result);
}

Result<struct stat> PastTree::status(ObjectId object) {
    if (core_->without_diff_area) return errno_only(ESTALE);
    UMBRA_ASSIGN(auto record, core_->index->attributes(object, snapshot_));
    if (!record) {
        // Without xattrs and target: this is the hot path of listing.
        struct stat live {};
        auto fd = core_->mount.open_object(object, O_PATH | O_NOFOLLOW);
        bool read = fd && fstatat(fd->get(), "", &live, AT_EMPTY_PATH) == 0;
        UMBRA_ASSIGN(record, core_->index->attributes(object, snapshot_));
        if (!record) {
            UMBRA_TRY(check_alive());
            if (!read) return errno_only(ESTALE);
            core_->hide_traces(object, live);
            return live;
        }
    }
    UMBRA_ASSIGN(auto stored, attributes(object));
    return stored.status;
}

Result<std::string> PastTree::read_link(ObjectId object) {
    UMBRA_ASSIGN(auto then, attributes(object));
    if (!S_ISLNK(then.status.st_mode)) return errno_only(EINVAL);
    return then.symlink_target;
}

Result<std::string> PastTree::get_extended(ObjectId object, const std::string& name) {
    UMBRA_ASSIGN(auto then, attributes(object));
    for (auto& [known, value] : then.extended)
        if (known == name) return std::move(value);
    return errno_only(ENODATA);
}

Result<std::vector<std::string>> PastTree::list_extended(ObjectId object) {
    UMBRA_ASSIGN(auto then, attributes(object));
    std::vector<std::string> names;
    for (auto& attribute : then.extended) names.push_back(std::move(attribute.name));
    return names;
}

Result<std::vector<PastDirectoryEntry>> PastTree::list(ObjectId directory) {
    if (core_->without_diff_area) return errno_only(ESTALE);
    // Live names first, then the records: whatever changed meanwhile has left one.
    UMBRA_ASSIGN(auto live, live_names(*core_, directory));
    std::map<std::string, PastDirectoryEntry> recorded;
    std::vector<PastDirectoryEntry> result;
    UMBRA_ASSIGN(bool all_recorded,
                 core_->index->for_each_entry(
                     directory, snapshot_, [&](std::string_view name, const IndexedEntry& entry) {
                         live.erase(std::string(name));
                         if (entry.object.valid())
                             result.push_back({std::string(name), entry.object, entry.type});
                     }));
    if (all_recorded) live.clear();
    UMBRA_TRY(check_alive());
    auto fd = open_parent(*core_, directory);
    for (const auto& [name, type] : live) {
        auto id = fd ? core_->mount.codec.identify(fd->get(), name.c_str())
                     : Result<ObjectId>(errno_only(ENOENT));
        if (id) {
            result.push_back({name, *id, type});
            continue;
        }
        if (id.error().code == EXDEV) continue;  // another filesystem: not part of the share
        // It went away after the records were read: by now it has one.
        UMBRA_ASSIGN(auto record, core_->index->entry(directory, name, snapshot_));
        if (record && record->object.valid())
            result.push_back({name, record->object, record->type});
    }
    // A name that changed between the listing and its identification has a record by now as well.
    UMBRA_ASSIGN(
        all_recorded,
        core_->index->for_each_entry(
            directory, snapshot_, [&](std::string_view name, const IndexedEntry& entry) {
                recorded[std::string(name)] = {std::string(name), entry.object, entry.type};
            }));
    if (all_recorded) result.clear();
    if (!recorded.empty()) {
        std::erase_if(result, [&](const PastDirectoryEntry& entry) {
            return recorded.count(entry.name) != 0;
        });
        for (auto& [name, entry] : recorded)
            if (entry.id.valid()) result.push_back(std::move(entry));
    }
    UMBRA_TRY(check_alive());
    std::sort(result.begin(), result.end(),
              [](const auto& a, const auto& b) { return a.name < b.name; });
    return result;
}

Result<PastEntry> PastTree::resolve(const std::string& path) {
    UMBRA_ASSIGN(auto root_status, status(root()));
    PastEntry at{root(), root_status};
    std::size_t start = 0;
    while (start < path.size()) {
        std::size_t end = std::min(path.find('/', start), path.size());
        if (end > start) {
            if (!S_ISDIR(at.status.st_mode)) return errno_only(ENOTDIR);
            UMBRA_ASSIGN(at, lookup(at.id, path.substr(start, end - start)));
        }
        start = end + 1;
    }
    return at;
}

}  // namespace umbra
