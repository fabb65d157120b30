// Settings and the list of snapshots; and what all stages share: whose history a record is.
#include "snapstore/scrub_check.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>

#include "snapstore/keys.h"
#include "snapstore/locate.h"
#include "snapstore/volume_config.h"
#include "snapstore/volume_files.h"

namespace umbra {

namespace {

// Looking for a name in all of the index takes long: only so often in one slice.
constexpr int kMostNameSearches = 16;

}  // namespace

void ScrubCheck::add(ScrubFinding finding, const std::vector<Snapshot>& concerned) {
    for (const auto& snapshot : concerned) finding.tokens.push_back(snapshot.token);
    // Blocks of one file, or its parts: one line.
    if (!findings.empty() && finding.object.valid()) {
        const ScrubFinding& last = findings.back();
        if (last.object == finding.object && last.file == finding.file &&
            last.what == finding.what && last.tokens == finding.tokens)
            return;
    }
    findings.push_back(std::move(finding));
}

Moment& ScrubCheck::moment(Epoch epoch) {
    return moments_.try_emplace(epoch, core_, std::optional(epoch)).first->second;
}

std::optional<UndoLog::FileInfo> ScrubCheck::file_of(std::uint64_t sequence, bool or_later) const {
    for (const auto& file : core_.log->files())
        if (file.sequence == sequence || (or_later && file.sequence > sequence)) return file;
    return std::nullopt;
}

Result<std::uint64_t> ScrubCheck::size_of(const UndoLog::FileInfo& file) const {
    struct stat status {};
    std::string name = format_log_file_name({file.epoch, file.sequence});
    if (fstatat(core_.log_directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
        return errno_only(errno);
    return static_cast<std::uint64_t>(status.st_size);
}

Result<std::vector<Snapshot>> ScrubCheck::between(ObjectId object, Epoch previous, Epoch epoch) {
    UMBRA_ASSIGN(auto birth, core_.index->birth(object));
    std::vector<Snapshot> list;
    for (auto& snapshot : core_.catalog->snapshots())
        if (snapshot.epoch > std::max(previous, birth.value_or(0)) && snapshot.epoch <= epoch)
            list.push_back(std::move(snapshot));
    return list;
}

Result<std::vector<Snapshot>> ScrubCheck::concerned_by(const IndexedItem& item) {
    Index& index = *core_.index;
    Epoch previous = 0;
    if (item.kind == KeyKind::kEntry) {
        UMBRA_ASSIGN(previous, index.previous_entry_epoch(item.object, item.name, item.epoch));
    } else if (item.kind == KeyKind::kAttributes) {
        UMBRA_ASSIGN(previous, index.previous_attributes_epoch(item.object, item.epoch));
    } else {
        std::uint64_t block =
            item.kind == KeyKind::kContent ? item.content.tail_block : item.block_number;
        UMBRA_ASSIGN(previous, index.previous_covering_content(item.object, block, item.epoch));
        if (item.kind == KeyKind::kExtent) {
            UMBRA_ASSIGN(Epoch older, index.previous_block_epoch(item.object, block, item.epoch));
            previous = std::max(previous, older);
        }
    }
    return between(item.object, previous, item.epoch);
}

std::optional<std::string> ScrubCheck::path_by_entries(ObjectId object) {
    if (auto known = searched_.find(object); known != searched_.end()) return known->second;
    if (searched_.size() >= kMostNameSearches) return std::nullopt;
    std::optional<std::string> path;
    auto searched = core_.index->for_each_item(std::string(1, static_cast<char>(KeyKind::kEntry)),
                                               [&](const IndexedItem& item) {
                                                   if (item.kind != KeyKind::kEntry) return false;
                                                   if (item.entry.object != object) return true;
                                                   auto concerned = concerned_by(item);
                                                   if (concerned && !concerned->empty())
                                                       path = path_of(item, *concerned);
                                                   return !path;
                                               });
    if (!searched) path.reset();
    searched_[object] = path;
    return path;
}

std::optional<std::string> ScrubCheck::path_of(const IndexedItem& item,
                                               const std::vector<Snapshot>& concerned) {
    // A record of every other name speaks of its directory.
    if (item.kind == KeyKind::kEntry && item.name == kEveryOtherName)
        return path_of({{}, KeyKind::kAttributes, item.object, {}, 0, item.epoch, {}, {}, {}, {}},
                       concerned);
    if (item.object == core_.mount.root_id && item.kind != KeyKind::kEntry) return "";
    for (auto snapshot = concerned.rbegin(); snapshot != concerned.rend(); ++snapshot) {
        Location place{item.object, item.name};
        if (item.kind != KeyKind::kEntry) {
            auto found = moment(snapshot->epoch).location_of(item.object);
            auto location = found && *found ? *found : live_location(item.object, snapshot->epoch);
            if (!location) continue;
            place = *location;
        }
        if (auto path = path_in(snapshot->epoch, place)) return path;
    }
    return item.kind == KeyKind::kEntry ? std::nullopt : path_by_entries(item.object);
}

std::optional<std::string> ScrubCheck::path_in(Epoch snapshot, const Location& place) {
    auto directory = moment(snapshot).path_of(place.parent);
    if (!directory || !*directory) return std::nullopt;
    return (*directory)->empty() ? place.name : **directory + "/" + place.name;
}

std::optional<Location> ScrubCheck::live_location(ObjectId object, Epoch snapshot) {
    auto fd = core_.mount.open_object(object, O_PATH | O_NOFOLLOW);
    if (!fd) return std::nullopt;
    Location location = locate(core_.mount, object, fd->get());
    if (!location.known()) return std::nullopt;
    auto record = core_.index->entry(location.parent, location.name, snapshot);
    if (!record || (*record && (*record)->object != object)) return std::nullopt;
    return location;
}

Result<void> ScrubCheck::settings(ScrubCursor& cursor) {
    auto check = [&](int directory, const char* name, const std::string& shown, auto parse) {
        auto text = read_small_file(directory, name);
        if (!text) {
            findings.push_back({shown, {}, text.error().text(), {}, {}, {}});
            return;
        }
        auto parsed = parse(*text, shown);
        if (!parsed)
            findings.push_back({shown, {}, parsed.error().text(), {}, {}, {}});
        else if (parsed->uuid != core_.identity.uuid)
            findings.push_back({shown, {}, "it names volume " + parsed->uuid, {}, {}, {}});
    };
    check(core_.control_directory.get(), kVolumeFileName,
          core_.identity.share + "/" + kControlDirectoryName + "/" + kVolumeFileName,
          parse_volume_config);
    check(core_.diff_area.get(), kAreaFileName, kAreaFileName, parse_area_config);
    std::string catalog = std::string(kLogDirectoryName) + "/" + kCatalogFileName;
    auto damaged = core_.catalog->damaged_at();
    if (!damaged) {
        findings.push_back({catalog, {}, damaged.error().text(), {}, {}, {}});
    } else if (*damaged) {
        auto repaired = core_.catalog->write_anew();
        add({catalog,
             **damaged,
             std::string("the list of snapshots is damaged on disk, not in memory; ") +
                 (repaired ? "it has been written anew"
                           : "writing it anew failed: " + repaired.error().text()),
             {},
             {},
             {}},
            core_.catalog->snapshots());
    }
    cursor.stage = ScrubStage::kLog;
    return {};
}

}  // namespace umbra
