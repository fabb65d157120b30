#include "snapstore/moment.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <memory>

#include "snapstore/locate.h"

namespace umbra {

namespace {

// Answers that mean "not there" rather than failure.
bool is_absence(int code) { return code == ENOENT || code == ESTALE || code == ENOTDIR; }

Result<std::vector<PastDirectoryEntry>> list_live(VolumeCore& core, ObjectId directory) {
    UMBRA_ASSIGN(auto fd, core.live.open_directory(directory));
    std::unique_ptr<DIR, int (*)(DIR*)> stream(fdopendir(fd.release()), closedir);
    if (!stream) return errno_only(errno);
    std::vector<PastDirectoryEntry> entries;
    while (const struct dirent* entry = readdir(stream.get())) {
        std::string name = entry->d_name;
        if (name == "." || name == "..") continue;
        auto found = core.live.entry_at(dirfd(stream.get()), directory, name.c_str());
        if (found)
            entries.push_back(
                {name, found->id, static_cast<unsigned char>(IFTODT(found->status.st_mode))});
    }
    return entries;
}

}  // namespace

Result<std::optional<Moment::Found>> Moment::lookup(ObjectId directory, const std::string& name) {
    auto convert = [](const auto& entry) -> Result<std::optional<Found>> {
        if (entry)
            return std::optional(
                Found{entry->id, static_cast<unsigned char>(IFTODT(entry->status.st_mode))});
        if (is_absence(entry.error().code)) return std::optional<Found>{};
        return tl::make_unexpected(entry.error());
    };
    return snapshot_ ? convert(PastTree(core_, *snapshot_).lookup(directory, name))
                     : convert(core_.live.lookup(directory, name));
}

Result<Attributes> Moment::attributes(ObjectId object) {
    if (snapshot_) return PastTree(core_, *snapshot_).attributes(object);
    UMBRA_ASSIGN(auto fd, core_.mount.open_object(object, O_PATH | O_NOFOLLOW));
    return read_attributes(fd.get());
}

Result<std::vector<PastDirectoryEntry>> Moment::list(ObjectId directory) {
    if (snapshot_) return PastTree(core_, *snapshot_).list(directory);
    return list_live(core_, directory);
}

Result<Location> Moment::believed_location_of(ObjectId object) {
    if (snapshot_) {
        UMBRA_ASSIGN(auto record, core_.index->attributes(object, *snapshot_));
        // Every rename preserves attributes first, so the place recorded is the place at that
        // snapshot.
        if (record) {
            UMBRA_ASSIGN(auto then, PastTree(core_, *snapshot_).attributes(object));
            return then.location;
        }
    }
    auto fd = core_.mount.open_object(object, O_PATH | O_NOFOLLOW);
    return fd ? locate(core_.mount, object, fd->get()) : Location{};
}

Result<std::optional<Location>> Moment::location_of(ObjectId object) {
    UMBRA_ASSIGN(auto location, believed_location_of(object));
    if (!location.known()) return std::optional<Location>{};
    UMBRA_ASSIGN(auto found, lookup(location.parent, location.name));
    if (!found || found->id != object) return std::optional<Location>{};
    return std::optional(location);
}

Result<std::optional<std::string>> Moment::path_of(ObjectId directory) {
    if (directory == core_.mount.root_id) return std::optional(std::string());
    if (auto known = paths_.find(directory); known != paths_.end()) return known->second;
    paths_[directory] = std::nullopt;  // ends a cycle that damage might have made
    UMBRA_ASSIGN(auto location, location_of(directory));
    if (!location) return std::optional<std::string>{};
    UMBRA_ASSIGN(auto parent, path_of(location->parent));
    if (!parent) return std::optional<std::string>{};
    std::string path = parent->empty() ? location->name : *parent + "/" + location->name;
    paths_[directory] = path;
    return std::optional(path);
}

}  // namespace umbra
