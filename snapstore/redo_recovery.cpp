// Deferred writes (deferred_writes.h) that a killed daemon had no time to write to their files.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <map>

#include "snapstore/log_format.h"
#include "snapstore/volume_core.h"
#include "snapstore/volume_files.h"
#include "snapstore/write_whole.h"

namespace umbra {

namespace {

struct Redo {
    std::uint64_t file = 0;
    std::uint64_t offset = 0;
    RecordHeader header;
};

// The redo records that no later record calls applied, in the order of the log. All are in the
// newest files: they were applied before the epoch was raised.
Result<std::vector<Redo>> unapplied(VolumeCore& core) {
    std::vector<Redo> found;
    LogEnd applied;
    auto files = core.log->files();
    for (auto file = files.rbegin(); file != files.rend(); ++file) {
        if (file->epoch != files.back().epoch || applied != LogEnd{}) break;
        std::vector<Redo> here;
        auto visit = [&](const RecordHeader& header, std::uint64_t offset) {
            if (header.type == RecordType::kRedo) here.push_back({file->sequence, offset, header});
            if (header.type != RecordType::kApplied) return UndoLog::Visit::kContinue;
            std::vector<std::byte> payload(header.checked_length);
            auto read = core.log->read(file->sequence, offset + kRecordHeaderSize, payload);
            auto end = decode_applied(payload);
            if (read && end && checksum(payload) == header.payload_checksum)
                applied = std::max(applied, *end);
            return UndoLog::Visit::kContinue;
        };
        UMBRA_TRY(core.log->scan(file->sequence, 0, UndoLog::Check::kHeader, visit));
        found.insert(found.begin(), here.begin(), here.end());
    }
    std::erase_if(found, [&](const Redo& redo) {
        return LogEnd{redo.file, redo.offset} < applied;
    });
    return found;
}

std::string newest_file(const VolumeCore& core) {
    const auto newest = core.log->files().back();
    return format_log_file_name({newest.epoch, newest.sequence});
}

// A deferred write reaches its file soon. What was changed much later than the daemon's last
// append was changed by somebody else, who must not lose that. (Or by btrfs: replaying its log
// after a power cut, it dates the file whose second name goes. Then nothing is owed: what had not
// been synced may be lost, and what had been is in the file.)
constexpr std::int64_t kSoonSeconds = 30;

class Replay {
   public:
    Replay(VolumeCore& core, std::int64_t last_append) : core_(core), last_append_(last_append) {}

    // Errors: no space for it. What cannot be written for another reason is told and given up.
    Result<void> apply(const Redo& redo);

   private:
    bool changed_by_others(ObjectId object, const struct stat& status);
    void tell_lost(ObjectId object, const std::string& why) const {
        core_.tell(EventId::kDeferredWriteLost, "the last write to inode " +
                                                    std::to_string(object.inode) +
                                                    " before the daemon ended is lost: " + why);
    }

    VolumeCore& core_;
    std::int64_t last_append_;
    // Decided before the first write to a file, since each changes its times.
    std::map<ObjectId, bool> changed_by_others_;
};

bool Replay::changed_by_others(ObjectId object, const struct stat& status) {
    auto [known, first] =
        changed_by_others_.try_emplace(object, status.st_ctim.tv_sec > last_append_ + kSoonSeconds);
    if (first && known->second)
        core_.tell(
            EventId::kDeferredWriteDropped,
            "inode " + std::to_string(object.inode) +
                " was changed since the daemon ended, by hand or by its filesystem's own "
                "recovery: what was last written to it through the mount, and not synced, is "
                "not repeated over that");
    return known->second;
}

Result<void> Replay::apply(const Redo& redo) {
    const ObjectId object = redo.header.object;
    std::vector<std::byte> payload(redo.header.payload_length);
    UMBRA_TRY(core_.log->read(redo.file, redo.offset + kRecordHeaderSize, payload));
    auto write = decode_redo(payload);
    if (checksum(payload) != redo.header.payload_checksum || !write) {
        tell_lost(object, "it is damaged in undo log file " + std::to_string(redo.file));
        return {};
    }
    auto fd = core_.mount.open_object(object, O_RDWR | O_NOFOLLOW | O_NONBLOCK);
    if (!fd && fd.error().code == ESTALE) return {};  // removed since
    struct stat status {};
    if (!fd || fstat(fd->get(), &status) != 0) {
        tell_lost(object, fd ? Error{errno, {}, {}}.text() : fd.error().text());
        return {};
    }
    if (changed_by_others(object, status)) return {};
    auto size = static_cast<std::uint64_t>(status.st_size);
    auto data = write->data.first(
        std::min<std::uint64_t>(write->data.size(), size - std::min(size, write->offset)));
    const int code = write_whole(fd->get(), data, write->offset);
    if (code == ENOSPC || code == EDQUOT)
        return error_of(ErrorKind::kSystem, code,
                        "repeating the last write to inode " + std::to_string(object.inode) +
                            ": no space left on the filesystem of share '" + core_.identity.share +
                            "'; free some and mount again");
    if (code != 0) tell_lost(object, Error{code, {}, {}}.text());
    return {};
}

// Says durably that all of them are applied.
Result<void> settle_record(VolumeCore& core, const std::vector<Redo>& redos) {
    const Redo& last = redos.back();
    auto marked =
        mark_applied(*core.log, last.header.epoch, {last.file, last.offset + last.header.length});
    if (marked) return core.log->wait_durable(*marked);
    // No room, even for that: crossed out instead, each durably before the next, so that an
    // earlier one is never repeated without a later one.
    for (const Redo& redo : redos) {
        const UndoLog::Range record{redo.offset, redo.header.length};
        UMBRA_TRY(core.log->free_ranges(redo.file, {&record, 1}));
    }
    return {};
}

}  // namespace

Result<std::int64_t> last_append_seconds(const VolumeCore& core) {
    if (core.log->files().empty()) return 0;
    struct stat status {};
    const std::string name = newest_file(core);
    if (fstatat(core.log_directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
        return errno_error(errno, "reading the time of undo log file " + name);
    return status.st_mtim.tv_sec;
}

Result<void> recover_deferred_writes(VolumeCore& core, std::int64_t last_append) {
    UMBRA_ASSIGN(auto redos, unapplied(core));
    if (redos.empty()) return {};
    struct statvfs filesystem {};
    if (fstatvfs(core.mount.root.get(), &filesystem) == 0 && (filesystem.f_flag & ST_RDONLY) != 0) {
        core.tell(EventId::kDeferredWritesWaiting,
                  "the last writes before the daemon was killed are not in their files yet: the "
                  "filesystem of the share is read-only");
        return {};
    }
    // Should this be interrupted, the files that were written to now are not taken for changed by
    // others the next time.
    const std::string newest = newest_file(core);
    if (utimensat(core.log_directory.get(), newest.c_str(), nullptr, AT_SYMLINK_NOFOLLOW) != 0)
        return errno_error(errno, "setting the time of undo log file " + newest);
    Replay replay(core, last_append);
    for (const Redo& redo : redos) UMBRA_TRY(replay.apply(redo));
    UMBRA_TRY(core.limbo->sync());  // the files, too: it is their filesystem
    return settle_record(core, redos);
}

}  // namespace umbra
