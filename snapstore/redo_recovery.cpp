// Deferred writes (deferred_writes.h) that a killed daemon had no time to write to their files.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>

#include "snapstore/log_format.h"
#include "snapstore/volume_core.h"
#include "snapstore/volume_files.h"

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

// A deferred write reaches its file soon. What was changed much later than the daemon's last
// append was changed by somebody else, who must not lose that.
constexpr std::int64_t kSoonSeconds = 30;

Result<void> apply(VolumeCore& core, const Redo& redo, std::int64_t last_append) {
    std::vector<std::byte> payload(redo.header.payload_length);
    UMBRA_TRY(core.log->read(redo.file, redo.offset + kRecordHeaderSize, payload));
    auto write = decode_redo(payload);
    const std::string inode = "inode " + std::to_string(redo.header.object.inode);
    if (checksum(payload) != redo.header.payload_checksum || !write) {
        core.tell(Event::Severity::kError, "deferred-write-lost",
                  "the last write to " + inode + " is damaged in undo log file " +
                      std::to_string(redo.file) + " and could not be repeated");
        return {};
    }
    auto fd = core.mount.open_object(redo.header.object, O_RDWR | O_NOFOLLOW | O_NONBLOCK);
    if (!fd && fd.error().code == ESTALE) return {};  // removed since
    if (!fd) return errno_error(fd.error().code, "opening " + inode + " to repeat its last write");
    struct stat status {};
    if (fstat(fd->get(), &status) != 0)
        return errno_error(errno, "looking at " + inode + " to repeat its last write");
    if (status.st_ctim.tv_sec > last_append + kSoonSeconds) {
        core.tell(Event::Severity::kWarning, "deferred-write-dropped",
                  inode +
                      " was changed while the share was not mounted: the last write to it "
                      "through the mount is not repeated over that");
        return {};
    }
    auto size = static_cast<std::uint64_t>(status.st_size);
    auto data = write->data.first(
        std::min<std::uint64_t>(write->data.size(), size - std::min(size, write->offset)));
    if (data.empty()) return {};
    ssize_t written =
        pwrite(fd->get(), data.data(), data.size(), static_cast<off_t>(write->offset));
    if (written != static_cast<ssize_t>(data.size()) || fdatasync(fd->get()) != 0)
        return errno_error(written < 0 ? errno : EIO, "repeating the last write to " + inode);
    return {};
}

}  // namespace

Result<std::int64_t> last_append_seconds(const VolumeCore& core) {
    const auto files = core.log->files();
    if (files.empty()) return 0;
    struct stat status {};
    std::string name = format_log_file_name({files.back().epoch, files.back().sequence});
    if (fstatat(core.log_directory.get(), name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
        return errno_error(errno, "reading the time of undo log file " + name);
    return status.st_mtim.tv_sec;
}

Result<void> recover_deferred_writes(VolumeCore& core, std::int64_t last_append) {
    UMBRA_ASSIGN(auto redos, unapplied(core));
    if (redos.empty()) return {};
    struct statvfs filesystem {};
    if (fstatvfs(core.mount.root.get(), &filesystem) == 0 && (filesystem.f_flag & ST_RDONLY) != 0) {
        core.tell(Event::Severity::kWarning, "deferred-writes-waiting",
                  "the last writes before the daemon was killed are not in their files yet: the "
                  "filesystem of the share is read-only");
        return {};
    }
    for (const Redo& redo : redos) UMBRA_TRY(apply(core, redo, last_append));
    // Crossed out only when all are in their files.
    for (const Redo& redo : redos) {
        const UndoLog::Range record{redo.offset, redo.header.length};
        UMBRA_TRY(core.log->free_ranges(redo.file, {&record, 1}));
    }
    return {};
}

}  // namespace umbra
