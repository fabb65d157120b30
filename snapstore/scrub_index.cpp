// The index: is what it speaks of there?
#include <dirent.h>
#include <fcntl.h>

#include "snapstore/scrub_check.h"
#include "snapstore/volume_files.h"

namespace umbra {

namespace {

constexpr std::uint64_t kSliceItems = 20000;  // some tens of milliseconds of work

}  // namespace

// What a snapshot needs of a file that has lost its last name waits in limbo.
Result<void> ScrubCheck::check_removed_file(const IndexedItem& item) {
    if (!item.entry.object.valid() || item.entry.type != DT_REG) return {};
    auto object = core_.mount.open_object(item.entry.object, O_PATH);
    if (object || object.error().code != ESTALE) return {};
    UMBRA_ASSIGN(auto concerned, concerned_by(item));
    if (concerned.empty()) return {};
    PastTree past(core_, concerned.back().epoch);
    auto file = past.open(item.entry.object);
    if (!file) return {};  // its attributes are damaged: said where they stand
    auto needed = past.needs_object(*file);
    if (!needed || !*needed) return {};
    add({std::string(kControlDirectoryName) + "/" + kLimboDirectoryName,
         {},
         "the removed file, of which contents are needed, is gone",
         item.entry.object,
         path_of(item, concerned),
         {}},
        concerned);
    return {};
}

Result<void> ScrubCheck::check_item(const IndexedItem& item) {
    if (item.kind == KeyKind::kEntry) UMBRA_TRY(check_removed_file(item));
    if (item.kind == KeyKind::kExtent && item.block.hole) return {};
    std::uint64_t file = 0, end = 0;
    auto take = [&](const LogPlace& place) {
        file = place.file;
        end = place.offset + place.length;
    };
    if (item.kind == KeyKind::kEntry) take(item.entry.place);
    if (item.kind == KeyKind::kAttributes) take(item.attributes.place);
    if (item.kind == KeyKind::kContent) take(item.content.place);
    if (item.kind == KeyKind::kExtent)
        take({item.block.file, item.block.offset, item.block.length});
    auto known = sizes_.find(file);
    if (known == sizes_.end()) {
        UndoLog::FileInfo info = file_of(file, false).value_or(UndoLog::FileInfo{file, item.epoch});
        known = sizes_.emplace(file, std::pair(info, size_of(info).value_or(0))).first;
    }
    auto [info, size] = known->second;
    if (end <= size) return {};
    // The active file has grown since it was looked at.
    if (size_of(info).value_or(0) >= end) return {};
    UMBRA_ASSIGN(auto concerned, concerned_by(item));
    if (concerned.empty()) return {};
    std::optional<std::uint64_t> offset;
    if (size > 0) offset = size;
    add({log_name(info),
         offset,
         size > 0 ? "the file ends too early: what stood behind is lost"
                  : "the file is missing or empty",
         item.object,
         path_of(item, concerned),
         {}},
        concerned);
    return {};
}

Result<void> ScrubCheck::index(ScrubCursor& cursor) {
    std::uint64_t items = 0;
    std::uint64_t bytes = 0;
    std::optional<std::string> next;
    Result<void> failure;
    auto looked = core_.index->for_each_item(cursor.key, [&](const IndexedItem& item) {
        if (items++ == kSliceItems) {
            next = item.key;
            return false;
        }
        bytes += item.key.size() + sizeof(IndexedBlock);
        failure = check_item(item);
        return failure.has_value();
    });
    if (looked && !failure) looked = std::move(failure);
    if (!looked)
        findings.push_back({kIndexDirectoryName,
                            {},
                            looked.error().text() +
                                "; the next mount makes it anew from the log, or 'umbra storage "
                                "rebuild-index' does",
                            {},
                            {},
                            {}});
    if (!looked || !next)
        cursor.stage = ScrubStage::kSettings;  // done
    else
        cursor = {ScrubStage::kIndex, 0, cursor.offset + bytes, *next, cursor.found};
    return {};
}

}  // namespace umbra
