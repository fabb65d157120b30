#include "snapstore/undo_log.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "snapstore/bytes.h"
#include "snapstore/volume_files.h"

namespace umbra {

namespace {

constexpr std::array<std::byte, kRecordAlignment> kPadding{};
// Space is reserved this far ahead, so that a sync rarely has to commit an allocation.
constexpr std::uint64_t kAllocateAhead = 8ull << 20;
constexpr std::size_t kMaxOpenFiles = 64;
constexpr std::uint64_t kAllocateAheadFrom =
    128ull << 10;  // for records larger than this; ZeroAhead serves the others

struct iovec part_of(const void* data, std::size_t length) {
    return {const_cast<void*>(data), length};
}

tl::unexpected<Error> damaged(const std::string& what) {
    return error_of(ErrorKind::kDiffArea, EIO, "undo log: " + what + "; run 'umbra storage scrub'");
}

tl::unexpected<Error> append_error(int code, const std::string& file) {
    if (code == ENOSPC || code == EDQUOT)
        return error_of(ErrorKind::kNeedsSpace, ENOSPC,
                        "appending to undo log file " + file + ": no space left");
    return error_of(ErrorKind::kDiffArea, code,
                    "appending to undo log file " + file + ": " + Error{code, {}, {}}.text());
}

std::string encode_file_header(const std::string& uuid, std::uint64_t sequence, Epoch epoch) {
    return ByteWriter().put_text(uuid).put(sequence).put(epoch).take();
}

// A header that says: nothing in [offset, offset+length) is needed, and everything before it is
// durable.
Result<void> write_dead_record(int fd, const LogFile& file, std::uint64_t offset,
                               std::uint64_t length) {
    RecordHeader header;
    header.type = RecordType::kDead;
    header.length = static_cast<std::uint32_t>(length);
    header.epoch = file.epoch();
    header.synced_to = offset;
    std::string head = encode_record_header(header, file.sequence(), offset);
    ssize_t written;
    do written = pwrite(fd, head.data(), head.size(), static_cast<off_t>(offset));
    while (written < 0 && errno == EINTR);
    if (written == static_cast<ssize_t>(head.size())) return {};
    return append_error(written < 0 ? errno : EIO, file.name());
}

}  // namespace

std::string LogFile::name() const { return format_log_file_name({epoch_, sequence_}); }

Result<std::shared_ptr<UniqueFd>> LogFile::descriptor() {
    std::lock_guard lock(mutex_);
    if (fd_) return fd_;
    UniqueFd fd(openat(directory_, name().c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (!fd.valid() && errno == EROFS)
        fd.reset(openat(directory_, name().c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd.valid())
        return error_of(ErrorKind::kDiffArea, errno,
                        "opening undo log file " + name() + ": " + Error{errno, {}, {}}.text());
    fd_ = std::make_shared<UniqueFd>(std::move(fd));
    return fd_;
}

void LogFile::close_idle() {
    std::lock_guard lock(mutex_);
    fd_.reset();
}

Result<std::unique_ptr<UndoLog>> UndoLog::open(const Options& options) {
    std::unique_ptr<UndoLog> log(new UndoLog);
    log->options_ = options;
    UMBRA_TRY(log->load_files());
    UMBRA_ASSIGN(auto bytes, log->measure_bytes());
    static_cast<void>(bytes);
    return log;
}

UndoLog::~UndoLog() = default;

Result<void> UndoLog::load_files() {
    int fd = openat(options_.directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return errno_error(errno, "opening the undo log's directory");
    std::unique_ptr<DIR, int (*)(DIR*)> directory(fdopendir(fd), closedir);
    while (const struct dirent* entry = readdir(directory.get())) {
        auto name = parse_log_file_name(entry->d_name);
        if (!name) continue;
        files_[name->sequence] =
            std::make_shared<LogFile>(options_.directory, name->epoch, name->sequence);
        next_sequence_ = std::max(next_sequence_, name->sequence + 1);
    }
    return {};
}

Result<std::shared_ptr<LogFile>> UndoLog::find(std::uint64_t file) {
    std::lock_guard lock(files_mutex_);
    auto found = files_.find(file);
    if (found == files_.end())
        return damaged("file with sequence " + std::to_string(file) + " is missing");
    if (recent_.empty() || recent_.back() != found->second) {
        std::erase(recent_, found->second);
        recent_.push_back(found->second);
    }
    if (recent_.size() > kMaxOpenFiles) {
        recent_.front()->close_idle();
        recent_.pop_front();
    }
    return found->second;
}

std::vector<UndoLog::FileInfo> UndoLog::files() const {
    std::lock_guard lock(files_mutex_);
    std::vector<FileInfo> list;
    for (const auto& [sequence, file] : files_) list.push_back({sequence, file->epoch()});
    return list;
}

Result<void> UndoLog::write_all(int fd, std::vector<struct iovec> parts, std::uint64_t offset) {
    std::size_t at = 0;
    while (at < parts.size()) {
        auto count = static_cast<int>(std::min<std::size_t>(parts.size() - at, 512));
        ssize_t written = pwritev(fd, parts.data() + at, count, static_cast<off_t>(offset));
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return failure(append_error(errno, active_->name()));
        offset += static_cast<std::uint64_t>(written);
        auto left = static_cast<std::size_t>(written);
        while (at < parts.size() && left >= parts[at].iov_len) left -= parts[at++].iov_len;
        if (at < parts.size()) {
            parts[at].iov_base = static_cast<char*>(parts[at].iov_base) + left;
            parts[at].iov_len -= left;
        }
    }
    return {};
}

Result<LogPosition> UndoLog::append(RecordType type, Epoch epoch, ObjectId object,
                                    std::span<const struct iovec> payload,
                                    std::uint32_t checked_length,
                                    const std::function<Result<void>(LogPlace)>& applied) {
    if (failed_.load())
        return damaged(
            "an earlier sync failed, nothing more can be preserved until it is mounted again");
    std::uint64_t payload_length = 0;
    for (const auto& part : payload) payload_length += part.iov_len;
    std::uint64_t length = align_record(kRecordHeaderSize + payload_length);
    RecordHeader header{type,
                        static_cast<std::uint32_t>(length),
                        static_cast<std::uint32_t>(payload_length),
                        epoch,
                        object,
                        0,
                        0,
                        checked_length};
    if (checked_length > 0) {  // always covers whole leading parts
        Checksum sum;
        std::uint32_t left = checked_length;
        for (const auto& part : payload) {
            auto length_of_part =
                std::min<std::uint32_t>(left, static_cast<std::uint32_t>(part.iov_len));
            sum.add({static_cast<const std::byte*>(part.iov_base), length_of_part});
            left -= length_of_part;
        }
        header.payload_checksum = sum.value();
    }

    std::lock_guard lock(append_mutex_);
    if (!active_ || active_->epoch() != epoch || active_end_ + length > options_.max_file_bytes)
        UMBRA_TRY(start_file(epoch));
    UMBRA_ASSIGN(auto descriptor, active_->descriptor());
    int fd = descriptor->get();
    if (length > kAllocateAheadFrom) extend_ahead(fd);
    zero_ahead_.before_append(active_end_, length);
    header.synced_to = active_synced_.load();
    std::string head = encode_record_header(header, active_->sequence(), active_end_);
    std::vector<struct iovec> parts{part_of(head.data(), head.size())};
    parts.insert(parts.end(), payload.begin(), payload.end());
    if (auto padding = length - kRecordHeaderSize - payload_length; padding > 0)
        parts.push_back(part_of(kPadding.data(), padding));
    UMBRA_TRY(write_all(fd, std::move(parts), active_end_));
    LogPlace place{active_->sequence(), active_end_, static_cast<std::uint32_t>(length)};
    UMBRA_TRY(applied(place));
    active_end_ += length;
    appended_ += length;
    estimated_bytes_.fetch_add(length, std::memory_order_relaxed);
    zero_ahead_.after_append(active_end_, length);
    return appended_;
}

void UndoLog::extend_ahead(int fd) {
    if (active_end_ + kAllocateAhead / 2 < active_allocated_) return;
    // Best effort: a filesystem that cannot, or has no room for it, still takes the record itself.
    if (fallocate(fd, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(active_end_),
                  static_cast<off_t>(kAllocateAhead)) == 0)
        active_allocated_ = active_end_ + kAllocateAhead;
}

Result<void> UndoLog::start_file(Epoch epoch) {
    UMBRA_TRY(finish_active());
    auto file = std::make_shared<LogFile>(options_.directory, epoch, next_sequence_);
    UniqueFd fd(openat(options_.directory, file->name().c_str(),
                       O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (!fd.valid()) return append_error(errno, file->name());
    ++next_sequence_;
    active_ = file;
    active_end_ = 0;
    active_allocated_ = 0;
    active_synced_ = 0;

    std::string payload = encode_file_header(options_.volume_uuid, file->sequence(), epoch);
    std::uint64_t length = align_record(kRecordHeaderSize + payload.size());
    RecordHeader header{
        RecordType::kFileHeader,
        static_cast<std::uint32_t>(length),
        static_cast<std::uint32_t>(payload.size()),
        epoch,
        ObjectId{},
        0,
        checksum({reinterpret_cast<const std::byte*>(payload.data()), payload.size()}),
        static_cast<std::uint32_t>(payload.size())};
    std::string head = encode_record_header(header, file->sequence(), 0);
    auto written =
        write_all(fd.get(),
                  {part_of(head.data(), head.size()), part_of(payload.data(), payload.size()),
                   part_of(kPadding.data(), length - kRecordHeaderSize - payload.size())},
                  0);
    // The name must be durable before any record in the file can count as durable.
    if (written && (fdatasync(fd.get()) != 0 || fsync(options_.directory) != 0))
        written = append_error(errno, file->name());
    if (!written) {
        unlinkat(options_.directory, file->name().c_str(), 0);
        active_.reset();
        return forward_error(written);
    }
    active_end_ = length;
    active_synced_ = length;
    zero_ahead_.follow(file, active_end_);
    std::lock_guard lock(files_mutex_);
    files_[file->sequence()] = file;
    return {};
}

Result<void> UndoLog::finish_active() {
    if (!active_) return {};
    zero_ahead_.follow(nullptr, 0);
    UMBRA_TRY(sync_file(*active_));
    durable_.store(std::max(durable_.load(), appended_));
    UMBRA_ASSIGN(auto descriptor, active_->descriptor());
    int fd = descriptor->get();
    // Returns what was reserved ahead; a failure only wastes that space.
    static_cast<void>(ftruncate(fd, static_cast<off_t>(active_end_)));
    active_.reset();
    return {};
}

Result<void> UndoLog::finish_file() {
    std::lock_guard lock(append_mutex_);
    return finish_active();
}

void UndoLog::raise_sequence(std::uint64_t sequence) {
    std::lock_guard lock(append_mutex_);
    next_sequence_ = std::max(next_sequence_, sequence + 1);
}

Result<void> UndoLog::sync_file(LogFile& file) {
    UMBRA_ASSIGN(auto descriptor, file.descriptor());
    int fd = descriptor->get();
    if (fdatasync(fd) == 0) return {};
    // After a failed sync the kernel may have dropped the dirty pages: what was appended cannot be
    // trusted.
    int code = errno;
    failed_ = true;
    return failure(
        error_of(ErrorKind::kDiffArea, code,
                 "syncing undo log file " + file.name() + ": " + Error{code, {}, {}}.text()));
}

tl::unexpected<Error> UndoLog::failure(tl::unexpected<Error> error) {
    if (error.value().kind != ErrorKind::kNeedsSpace && options_.failing &&
        !failure_told_.exchange(true))
        options_.failing(error.value());
    return error;
}

Result<void> UndoLog::wait_durable(LogPosition position) {
    if (durable_.load() >= position) return {};
    std::unique_lock lock(sync_mutex_);
    while (durable_.load() < position) {
        if (failed_.load()) return damaged("a sync failed");
        if (syncing_) {
            sync_done_.wait(lock);
            continue;
        }
        syncing_ = true;
        lock.unlock();
        std::shared_ptr<LogFile> file;
        LogPosition target = 0;
        std::uint64_t end = 0;
        {
            std::lock_guard append_lock(append_mutex_);
            file = active_;
            target = appended_;
            end = active_end_;
        }
        Result<void> synced = file ? sync_file(*file) : Result<void>{};
        lock.lock();
        syncing_ = false;
        if (synced) {
            durable_.store(std::max(durable_.load(), target));
            std::unique_lock append_lock(append_mutex_, std::try_to_lock);
            if (append_lock && active_ == file)
                active_synced_ = std::max(active_synced_.load(), end);
        }
        sync_done_.notify_all();
        if (!synced) return synced;
    }
    return {};
}

Result<void> UndoLog::sync_all() { return wait_durable(position()); }

LogPosition UndoLog::position() {
    std::lock_guard lock(append_mutex_);
    return appended_;
}

Result<void> UndoLog::read(std::uint64_t file, std::uint64_t offset, std::span<std::byte> buffer) {
    UMBRA_ASSIGN(auto log_file, find(file));
    UMBRA_ASSIGN(auto descriptor, log_file->descriptor());
    int fd = descriptor->get();
    while (!buffer.empty()) {
        ssize_t count = pread(fd, buffer.data(), buffer.size(), static_cast<off_t>(offset));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0)
            return error_of(ErrorKind::kDiffArea, errno,
                            "reading undo log file " + log_file->name());
        if (count == 0) return damaged("file " + log_file->name() + " ends too early");
        buffer = buffer.subspan(static_cast<std::size_t>(count));
        offset += static_cast<std::uint64_t>(count);
    }
    return {};
}

Result<void> UndoLog::truncate_tail(std::uint64_t file, std::uint64_t end) {
    UMBRA_ASSIGN(auto log_file, find(file));
    UMBRA_ASSIGN(auto descriptor, log_file->descriptor());
    int fd = descriptor->get();
    if (ftruncate(fd, static_cast<off_t>(end)) != 0 || fdatasync(fd) != 0)
        return errno_error(errno, "truncating the torn tail of undo log file " + log_file->name());
    return {};
}

Result<void> UndoLog::free_ranges(std::uint64_t file, std::span<const Range> whole_records) {
    if (whole_records.empty()) return {};
    UMBRA_ASSIGN(auto log_file, find(file));
    UMBRA_ASSIGN(auto descriptor, log_file->descriptor());
    int fd = descriptor->get();
    std::vector<Range> insides;
    for (Range range : whole_records) {
        // A dead record may cover at most what its length field can say.
        while (range.length > 0) {
            std::uint64_t length = std::min(range.length, kMaxRecordLength);
            UMBRA_TRY(write_dead_record(fd, *log_file, range.offset, length));
            insides.push_back({range.offset + kRecordHeaderSize, length - kRecordHeaderSize});
            range.offset += length;
            range.length -= length;
        }
    }
    // The headers first: a power cut must not leave a hole that none of them explains.
    UMBRA_TRY(sync_file(*log_file));
    for (const Range& inside : insides) UMBRA_TRY(punch(file, inside));
    return {};
}

Result<void> UndoLog::seal(std::uint64_t file) {
    UMBRA_ASSIGN(auto outcome,
                 scan(file, 0, Check::kHeader,
                      [](const RecordHeader&, std::uint64_t) { return Visit::kContinue; }));
    std::lock_guard append_lock(append_mutex_);
    {
        std::lock_guard lock(files_mutex_);
        if (files_.empty() || files_.rbegin()->first != file) return {};
    }
    UMBRA_ASSIGN(auto log_file, find(file));
    UMBRA_ASSIGN(auto descriptor, log_file->descriptor());
    int fd = descriptor->get();
    if (active_ == log_file || outcome.torn)
        return error_of(ErrorKind::kRefused, EBUSY,
                        "undo log file " + log_file->name() + " has no settled end");
    // What was reserved ahead goes; then nothing lies between the last record and the seal.
    if (ftruncate(fd, static_cast<off_t>(outcome.end)) != 0)
        return append_error(errno, log_file->name());
    UMBRA_TRY(write_dead_record(fd, *log_file, outcome.end, kRecordHeaderSize));
    return sync_file(*log_file);
}

Result<void> UndoLog::punch(std::uint64_t file, Range data) {
    UMBRA_ASSIGN(auto log_file, find(file));
    UMBRA_ASSIGN(auto descriptor, log_file->descriptor());
    int fd = descriptor->get();
    if (data.length == 0) return {};
    if (fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(data.offset),
                  static_cast<off_t>(data.length)) != 0 &&
        errno != EOPNOTSUPP)
        return append_error(errno, log_file->name());
    return {};
}

Result<void> UndoLog::remove_file(std::uint64_t file) {
    std::lock_guard append_lock(append_mutex_);
    if (active_ && active_->sequence() == file) UMBRA_TRY(finish_active());
    UMBRA_ASSIGN(auto log_file, find(file));
    if (unlinkat(options_.directory, log_file->name().c_str(), 0) != 0 && errno != ENOENT)
        return errno_error(errno, "removing undo log file " + log_file->name());
    std::lock_guard lock(files_mutex_);
    std::erase(recent_, log_file);
    files_.erase(file);
    return {};
}

Result<std::uint64_t> UndoLog::bytes_of(const FileInfo& file) {
    std::uint64_t active = 0;
    std::uint64_t active_end = 0;
    {
        std::lock_guard lock(append_mutex_);
        if (active_) active = active_->sequence();
        active_end = active_end_;
    }
    struct stat status {};
    std::string name = format_log_file_name({file.epoch, file.sequence});
    if (fstatat(options_.directory, name.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) return std::uint64_t{0};
        return errno_error(errno, "reading the size of undo log file " + name);
    }
    auto on_disk = static_cast<std::uint64_t>(status.st_blocks) * 512;
    // What is reserved ahead in the active file is not used yet.
    return file.sequence == active ? std::min(on_disk, active_end) : on_disk;
}

Result<std::uint64_t> UndoLog::measure_bytes() {
    std::uint64_t bytes = 0;
    for (const auto& file : files()) {
        UMBRA_ASSIGN(std::uint64_t of_file, bytes_of(file));
        bytes += of_file;
    }
    estimated_bytes_ = bytes;
    return bytes;
}

}  // namespace umbra
