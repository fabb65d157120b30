#include "snapstore/job_journal.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <optional>
#include <span>

#include "snapstore/bytes.h"
#include "snapstore/log_format.h"
#include "snapstore/volume_files.h"
#include "snapstore/write_whole.h"

namespace umbra {

namespace {

constexpr std::uint32_t kFileMagic = 0x4A424D55;    // "UMBJ"
constexpr std::uint32_t kRecordMagic = 0x72424D55;  // "UMBr"
constexpr std::uint32_t kJournalVersion = 1;
constexpr std::size_t kHeaderSize = 32;
constexpr std::size_t kFrameSize = 16;
constexpr std::size_t kSliceBytes = 1 << 20;
constexpr std::size_t kMaximumRecordBytes = 1 << 20;

std::uint64_t bound_checksum(std::string_view bytes, std::uint64_t position) {
    return checksum(std::as_bytes(std::span(bytes))) ^ (position * 0x9E3779B97F4A7C15ULL);
}

std::string encode_header(const std::string& id, uid_t uid, std::int64_t created) {
    std::string header = ByteWriter()
                             .put(kFileMagic)
                             .put(kJournalVersion)
                             .put(static_cast<std::uint32_t>(uid))
                             .put(std::uint32_t{0})
                             .put(created)
                             .take();
    // The name is part of it: a journal under another job's name is not that job's.
    return header + ByteWriter().put(bound_checksum(header + id, 0)).take();
}

std::string encode_record(std::string_view record, std::uint64_t position) {
    return ByteWriter()
        .put(kRecordMagic)
        .put(static_cast<std::uint32_t>(record.size()))
        .put(bound_checksum(record, position))
        .take()
        .append(record);
}

tl::unexpected<Error> no_such(const std::string& id) {
    return error_of(ErrorKind::kNotFound, ENOENT,
                    "there is no restore job '" + id + "': 'umbra restore list' shows yours");
}

tl::unexpected<Error> area_error(int code, const std::string& what) {
    return error_of(ErrorKind::kDiffArea, code, what + ": " + Error{code, {}, {}}.text());
}

tl::unexpected<Error> damaged(const std::string& id, const std::string& what) {
    return error_of(ErrorKind::kDiffArea, EIO,
                    "the journal of restore job '" + id + "' is damaged (" + what +
                        "): what it restored cannot be told; 'umbra restore forget' removes it");
}

Result<std::string> read_at(int fd, std::uint64_t position, std::size_t size) {
    std::string bytes(size, '\0');
    std::size_t done = 0;
    while (done < size) {
        const ssize_t count =
            ::pread(fd, bytes.data() + done, size - done, static_cast<off_t>(position + done));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return area_error(errno, "cannot read the journal of a restore job");
        if (count == 0) break;
        done += static_cast<std::size_t>(count);
    }
    bytes.resize(done);
    return bytes;
}

// The record at a position; no value where there is no valid one.
Result<std::optional<std::string>> record_at(int fd, std::uint64_t position) {
    UMBRA_ASSIGN(const std::string header, read_at(fd, position, kFrameSize));
    if (header.size() < kFrameSize) return std::optional<std::string>{};
    ByteReader reader{std::string_view(header)};
    const auto magic = reader.get<std::uint32_t>();
    const auto length = reader.get<std::uint32_t>();
    const auto sum = reader.get<std::uint64_t>();
    if (magic != kRecordMagic || length > kMaximumRecordBytes) return std::optional<std::string>{};
    UMBRA_ASSIGN(std::string record, read_at(fd, position + kFrameSize, length));
    if (record.size() < length || bound_checksum(record, position) != sum)
        return std::optional<std::string>{};
    return std::optional(std::move(record));
}

// A bad place with a good record behind it was not torn by a crash.
Result<bool> any_record_behind(int fd, std::uint64_t position, std::uint64_t size) {
    constexpr std::uint64_t kLookBytes = 4 << 20;
    UMBRA_ASSIGN(const std::string bytes,
                 read_at(fd, position, std::min(size - position, kLookBytes)));
    const std::string magic = ByteWriter().put(kRecordMagic).take();
    for (std::size_t at = bytes.find(magic, 1); at != std::string::npos;
         at = bytes.find(magic, at + 1)) {
        UMBRA_ASSIGN(const auto record, record_at(fd, position + at));
        if (record) return true;
    }
    return false;
}

// Later than the last one, within a second and when the clock is set back, too.
std::string new_id(std::int64_t now, const std::string& last) {
    struct tm parts {};
    const std::time_t seconds = now;
    ::gmtime_r(&seconds, &parts);
    std::uint32_t random = 0;
    if (::getrandom(&random, sizeof random, 0) != sizeof random)
        random = static_cast<std::uint32_t>(::getpid());
    char text[64];
    std::snprintf(text, sizeof text, "%04d%02d%02d-%02d%02d%02d-%06x",
                  (parts.tm_year + 1900) % 10000, (parts.tm_mon + 1) % 100, parts.tm_mday % 100,
                  parts.tm_hour % 100, parts.tm_min % 100, parts.tm_sec % 100, random & 0x3FFFFF);
    if (!is_job_id(last) || text > last) return text;
    constexpr std::size_t kMoment = 16;  // "YYYYMMDD-HHMMSS-"
    const unsigned long number = std::stoul(last.substr(kMoment), nullptr, 16);
    char next[16];
    std::snprintf(next, sizeof next, "%06lx", (number + 1 + random % 256) & 0xFFFFFF);
    return last.substr(0, kMoment) + next;
}

}  // namespace

Result<int> JobJournals::directory(bool make) {
    if (directory_.valid()) return directory_.get();
    if (diff_area_ < 0) return errno_only(ENOENT);
    constexpr int kFlags = O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW;
    if (make && ::mkdirat(diff_area_, kJobsDirectoryName, 0700) == 0) {
        if (::fsync(diff_area_) != 0) return area_error(errno, "cannot keep restore jobs");
    }
    directory_.reset(::openat(diff_area_, kJobsDirectoryName, kFlags));
    if (!directory_.valid()) return area_error(errno, "cannot open the folder of restore jobs");
    return directory_.get();
}

Result<JobInfo> JobJournals::create(uid_t uid, std::int64_t now) {
    if (read_only_ || diff_area_ < 0)
        return error_of(ErrorKind::kRefused, EROFS,
                        "the share is mounted read-only: no restore job can be recorded");
    if (uid != 0) {
        UMBRA_ASSIGN(const std::vector<JobInfo> all, list());
        const auto count =
            std::count_if(all.begin(), all.end(), [&](const auto& job) { return job.uid == uid; });
        if (static_cast<std::size_t>(count) >= limits_.user_jobs)
            return error_of(ErrorKind::kRefused, EDQUOT,
                            "you have " + std::to_string(count) +
                                " restore jobs, and no user may have more: forget old ones "
                                "('umbra restore list', 'umbra restore forget JOB')");
    }
    const std::lock_guard lock(mutex_);
    UMBRA_ASSIGN(const int folder, directory(true));
    UMBRA_ASSIGN(const std::vector<std::string> there, ids());
    for (;;) {
        auto journal = std::make_unique<Journal>();
        const std::string id = new_id(now, there.empty() ? "" : there.back());
        const std::string name = id + kJournalSuffix;
        journal->file.reset(::openat(folder, name.c_str(),
                                     O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
        if (!journal->file.valid() && errno == EEXIST) continue;
        if (!journal->file.valid()) return area_error(errno, "cannot make a restore job");
        const std::string header = encode_header(id, uid, now);
        int code = write_whole(journal->file.get(), std::as_bytes(std::span(header)), 0);
        if (code == 0 && ::fdatasync(journal->file.get()) != 0) code = errno;
        if (code == 0 && ::fsync(folder) != 0) code = errno;
        if (code != 0) {
            ::unlinkat(folder, name.c_str(), 0);
            return area_error(code, "cannot make a restore job");
        }
        journal->info = {id, uid, now, header.size(), false};
        journal->end = header.size();
        const JobInfo info = journal->info;
        open_[id] = std::move(journal);
        return info;
    }
}

Result<JobJournals::Journal*> JobJournals::open_journal(const std::string& id) {
    if (const auto found = open_.find(id); found != open_.end()) return found->second.get();
    if (!is_job_id(id)) return no_such(id);
    const auto folder = directory(false);
    if (!folder && folder.error().code == ENOENT) return no_such(id);
    if (!folder) return tl::make_unexpected(folder.error());
    auto journal = std::make_unique<Journal>();
    journal->file.reset(::openat(*folder, (id + kJournalSuffix).c_str(),
                                 (read_only_ ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NOFOLLOW));
    if (!journal->file.valid() && errno == ENOENT) return no_such(id);
    if (!journal->file.valid()) return area_error(errno, "cannot open the journal of a job");
    UMBRA_TRY(load(*journal, id, read_only_));
    return (open_[id] = std::move(journal)).get();
}

Result<void> JobJournals::load(Journal& journal, const std::string& id, bool read_only) {
    const int fd = journal.file.get();
    UMBRA_ASSIGN(const std::string header, read_at(fd, 0, kHeaderSize));
    ByteReader reader{std::string_view(header)};
    const auto magic = reader.get<std::uint32_t>();
    const auto version = reader.get<std::uint32_t>();
    const auto uid = reader.get<std::uint32_t>();
    reader.get<std::uint32_t>();
    const auto created = reader.get<std::int64_t>();
    if (!reader.ok() || magic != kFileMagic) return damaged(id, "its beginning is not a journal's");
    if (version > kJournalVersion)
        return error_of(ErrorKind::kRefused, EPROTONOSUPPORT,
                        "restore job '" + id + "' was recorded by a newer umbra; use that");
    if (encode_header(id, uid, created) != header) return damaged(id, "its beginning");
    struct stat status {};
    if (::fstat(fd, &status) != 0) return area_error(errno, "cannot read the journal of a job");
    const auto size = static_cast<std::uint64_t>(status.st_size);
    std::uint64_t end = kHeaderSize;
    for (;;) {
        UMBRA_ASSIGN(const auto record, record_at(fd, end));
        if (!record) break;
        end += kFrameSize + record->size();
    }
    if (end < size) {
        UMBRA_ASSIGN(const bool behind, any_record_behind(fd, end, size));
        if (behind) return damaged(id, "at offset " + std::to_string(end));
        if (!read_only && (::ftruncate(fd, static_cast<off_t>(end)) != 0 || ::fdatasync(fd) != 0))
            return area_error(errno, "cannot cut the torn end of the journal of a job");
    }
    journal.info = {id, uid, created, end, false};
    journal.end = end;
    return {};
}

Result<JobInfo> JobJournals::find(const std::string& id) {
    const std::lock_guard lock(mutex_);
    UMBRA_ASSIGN(const Journal* journal, open_journal(id));
    JobInfo info = journal->info;
    info.bytes = journal->end;
    info.running = runs(*journal);
    return info;
}

Result<std::vector<std::string>> JobJournals::ids() {
    std::vector<std::string> found;
    const auto folder = directory(false);
    if (!folder && folder.error().code == ENOENT) return found;
    if (!folder) return tl::make_unexpected(folder.error());
    UniqueFd own(::openat(*folder, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    DIR* stream = own.valid() ? ::fdopendir(own.get()) : nullptr;
    if (stream == nullptr) return area_error(errno, "cannot list the restore jobs");
    own.release();
    while (const dirent* entry = ::readdir(stream)) {
        const std::string name = entry->d_name;
        if (!name.ends_with(kJournalSuffix)) continue;
        std::string id = name.substr(0, name.size() - std::string_view(kJournalSuffix).size());
        if (is_job_id(id)) found.push_back(std::move(id));
    }
    ::closedir(stream);
    std::sort(found.begin(), found.end());
    return found;
}

Result<std::vector<JobInfo>> JobJournals::list() {
    std::vector<std::string> found;
    {
        const std::lock_guard lock(mutex_);
        UMBRA_ASSIGN(found, ids());
    }
    std::vector<JobInfo> jobs;
    for (const auto& id : found) {
        if (auto info = find(id)) jobs.push_back(std::move(*info));
    }
    return jobs;
}

bool JobJournals::runs(const Journal& journal) {
    if (journal.runner == 0) return false;
    struct pollfd process {
        journal.runner_process.get(), POLLIN, 0
    };
    return ::poll(&process, 1, 0) == 0;
}

Result<void> JobJournals::begin_run(const std::string& id, pid_t runner) {
    const std::lock_guard lock(mutex_);
    if (read_only_)
        return error_of(ErrorKind::kRefused, EROFS,
                        "the share is mounted read-only: nothing is restored into it");
    UMBRA_ASSIGN(Journal * journal, open_journal(id));
    if (runs(*journal))
        return error_of(ErrorKind::kRefused, EBUSY,
                        "restore job '" + id + "' is being run by process " +
                            std::to_string(journal->runner) + ": wait for its end, or stop it");
    UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, runner, 0)));
    if (!process.valid()) return errno_error(errno, "cannot watch who runs the restore");
    journal->runner = runner;
    journal->runner_process = std::move(process);
    return {};
}

bool JobJournals::end_run(const std::string& id, pid_t runner) {
    const std::lock_guard lock(mutex_);
    const auto found = open_.find(id);
    if (found == open_.end() || found->second->runner != runner) return false;
    open_.erase(found);  // and its descriptor: there may be many jobs
    return true;
}

Result<void> JobJournals::append(const std::string& id, pid_t runner, std::string_view record,
                                 bool sync) {
    const std::lock_guard lock(mutex_);
    UMBRA_ASSIGN(Journal * journal, open_journal(id));
    if (journal->runner != runner || !runs(*journal))
        return error_of(ErrorKind::kRefused, EPERM,
                        "restore job '" + id +
                            "' is not being run: nothing can be recorded in it outside of a run");
    const std::uint64_t most = journal->info.uid == 0 ? limits_.job_bytes : limits_.user_job_bytes;
    if (record.size() > limits_.record_bytes || journal->end + record.size() > most)
        return error_of(ErrorKind::kRefused, EFBIG,
                        "the journal of restore job '" + id + "' would have more than " +
                            std::to_string(most) + " bytes: restore fewer files at once");
    const int fd = journal->file.get();
    const std::string bytes = encode_record(record, journal->end);
    int code = write_whole(fd, std::as_bytes(std::span(bytes)), journal->end);
    if (code == 0 && sync && ::fdatasync(fd) != 0) code = errno;
    if (code != 0) {
        static_cast<void>(::ftruncate(fd, static_cast<off_t>(journal->end)));
        return area_error(code, "cannot record in restore job '" + id + "'");
    }
    journal->end += bytes.size();
    bytes_ += bytes.size();
    return {};
}

Result<void> JobJournals::sync(const std::string& id, pid_t runner) {
    const std::lock_guard lock(mutex_);
    UMBRA_ASSIGN(const Journal* journal, open_journal(id));
    if (journal->runner != runner) return no_such(id);
    if (::fdatasync(journal->file.get()) != 0)
        return area_error(errno, "cannot record in restore job '" + id + "'");
    return {};
}

Result<JobJournals::Slice> JobJournals::read(const std::string& id, std::uint64_t position) {
    const std::lock_guard lock(mutex_);
    UMBRA_ASSIGN(const Journal* journal, open_journal(id));
    Slice slice;
    std::uint64_t at = std::max<std::uint64_t>(position, kHeaderSize);
    for (std::size_t bytes = 0; at < journal->end && bytes < kSliceBytes;) {
        UMBRA_ASSIGN(auto record, record_at(journal->file.get(), at));
        if (!record) return damaged(id, "at offset " + std::to_string(at));
        at += kFrameSize + record->size();
        bytes += kFrameSize + record->size();
        slice.records.push_back(std::move(*record));
    }
    slice.next = at < journal->end ? at : 0;
    return slice;
}

Result<void> JobJournals::remove(const std::string& id) {
    const std::lock_guard lock(mutex_);
    if (read_only_) return error_of(ErrorKind::kRefused, EROFS, "the share is mounted read-only");
    if (!is_job_id(id)) return no_such(id);
    // A journal that is damaged can be removed, too.
    if (const auto found = open_.find(id); found != open_.end()) {
        if (runs(*found->second))
            return error_of(ErrorKind::kRefused, EBUSY,
                            "restore job '" + id + "' is being run: wait for its end, or stop it");
        open_.erase(found);
    }
    UMBRA_ASSIGN(const int folder, directory(false));
    if (::unlinkat(folder, (id + kJournalSuffix).c_str(), 0) != 0) {
        if (errno == ENOENT) return no_such(id);
        return area_error(errno, "cannot remove restore job '" + id + "'");
    }
    if (::fsync(folder) != 0) return area_error(errno, "cannot remove restore job '" + id + "'");
    return {};
}

Result<std::uint64_t> JobJournals::measure_bytes() {
    constexpr std::uint64_t kSector = 512;  // stat(2): st_blocks
    const std::lock_guard lock(mutex_);
    UMBRA_ASSIGN(const std::vector<std::string> all, ids());
    std::uint64_t bytes = 0;
    for (const auto& id : all) {
        struct stat status {};
        if (::fstatat(directory_.get(), (id + kJournalSuffix).c_str(), &status,
                      AT_SYMLINK_NOFOLLOW) == 0)
            bytes += static_cast<std::uint64_t>(status.st_blocks) * kSector;
    }
    bytes_ = bytes;
    return bytes;
}

}  // namespace umbra
