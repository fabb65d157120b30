#include "snapstore/scrub.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <mutex>

#include "snapstore/scrub_check.h"
#include "snapstore/volume_files.h"

namespace umbra {

namespace {

Result<void> look(ScrubCheck& check, ScrubCursor& cursor) {
    switch (cursor.stage) {
        case ScrubStage::kSettings:
            return check.settings(cursor);
        case ScrubStage::kLog:
            return check.log(cursor);
        default:
            return check.index(cursor);
    }
}

// How far we are, and of how much; what is appended or deleted meanwhile counts.
void measure(VolumeCore& core, const ScrubCursor& cursor, ScrubSlice& slice) {
    std::uint64_t log_bytes = 0;
    for (const auto& file : core.log->files()) {
        struct stat status {};
        std::string name = format_log_file_name({file.epoch, file.sequence});
        if (fstatat(core.log_directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
            continue;
        auto size = static_cast<std::uint64_t>(status.st_size);
        log_bytes += size;
        if (cursor.stage == ScrubStage::kIndex || file.sequence < cursor.file)
            slice.done_bytes += size;
        else if (file.sequence == cursor.file)
            slice.done_bytes += std::min(size, cursor.offset);
    }
    std::uint64_t index_bytes = core.index->disk_bytes().value_or(0);
    slice.total_bytes = log_bytes + index_bytes;
    if (cursor.stage == ScrubStage::kIndex)
        slice.done_bytes += std::min(index_bytes, cursor.offset);
    if (cursor.stage == ScrubStage::kSettings) slice.done_bytes = slice.total_bytes;
}

}  // namespace

Result<ScrubSlice> scrub_slice(VolumeCore& core, const std::string& text) {
    auto cursor = parse_cursor(text);
    if (!cursor)
        return error_of(ErrorKind::kUsage, EINVAL,
                        "'" + text.substr(0, 100) + "' is no cursor of a scrub");
    ScrubCursor from = *cursor;
    ScrubSlice result;
    {
        ScrubCheck check(core, false);
        UMBRA_TRY(look(check, *cursor));
        result.findings = std::move(check.findings);
    }
    if (!result.findings.empty() && from.stage != ScrubStage::kSettings) {
        // Perhaps it was given back by a deletion meanwhile: once more, while there is none.
        std::lock_guard lock(core.snapshot_mutex);
        *cursor = from;
        ScrubCheck check(core, true);
        UMBRA_TRY(look(check, *cursor));
        result.findings = std::move(check.findings);
    }
    cursor->found += result.findings.size();
    measure(core, *cursor, result);
    if (cursor->stage != ScrubStage::kSettings) {
        result.cursor = format_cursor(*cursor);
    } else if (cursor->found == 0) {
        core.tell(EventId::kScrubFinished, "scrub of share '" + core.identity.share +
                                               "' has read the whole history: no damage");
    } else {
        core.tell(EventId::kScrubFoundDamage,
                  "scrub of share '" + core.identity.share + "' found damage in " +
                      std::to_string(cursor->found) +
                      " places of its history; 'umbra storage scrub' names them");
    }
    return result;
}

}  // namespace umbra
