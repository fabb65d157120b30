// Walking a log file: records in order, what is torn and what is damaged.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "snapstore/undo_log.h"

namespace umbra {

namespace {

// Reads ahead in large steps; headers of neighbouring small records come from one read.
class BufferedReader {
   public:
    explicit BufferedReader(int fd) : fd_(fd), buffer_(256 * 1024) {}

    // Exactly `length` bytes at `offset`, or what is there of them.
    Result<std::span<const std::byte>> at(std::uint64_t offset, std::size_t length) {
        if (length > buffer_.size()) buffer_.resize(length);
        if (offset < start_ || offset + length > start_ + filled_) {
            ssize_t count;
            do count = pread(fd_, buffer_.data(), buffer_.size(), static_cast<off_t>(offset));
            while (count < 0 && errno == EINTR);
            if (count < 0) return errno_error(errno, "reading the undo log");
            start_ = offset;
            filled_ = static_cast<std::size_t>(count);
        }
        std::size_t from = offset - start_;
        return std::span<const std::byte>(buffer_).subspan(from, std::min(length, filled_ - from));
    }

   private:
    int fd_;
    std::vector<std::byte> buffer_;
    std::uint64_t start_ = 0;
    std::size_t filled_ = 0;
};

bool all_zero(std::span<const std::byte> bytes) {
    return std::all_of(bytes.begin(), bytes.end(), [](std::byte b) { return b == std::byte{0}; });
}

struct Found {
    RecordHeader header;
    std::uint64_t offset = 0;
};

// The next valid header at or after `offset`, if any.
Result<std::optional<Found>> find_header(BufferedReader& reader, std::uint64_t file,
                                         std::uint64_t offset, std::uint64_t size) {
    for (; offset + kRecordHeaderSize <= size; offset += kRecordAlignment) {
        UMBRA_ASSIGN(auto bytes, reader.at(offset, kRecordHeaderSize));
        if (auto header = decode_record_header(bytes, file, offset);
            header && offset + header->length <= size)
            return Found{*header, offset};
    }
    return std::optional<Found>{};
}

// Does any record from `offset` on say that `place` had been durable when it was written? The next
// one need not know: a sync under way shows only in later records.
Result<bool> was_durable(BufferedReader& reader, std::uint64_t file, std::uint64_t place,
                         std::uint64_t offset, std::uint64_t size) {
    for (;;) {
        UMBRA_ASSIGN(auto next, find_header(reader, file, offset, size));
        if (!next) return false;
        if (next->header.synced_to > place) return true;
        offset = next->offset + next->header.length;
    }
}

Result<bool> payload_intact(BufferedReader& reader, const RecordHeader& header,
                            std::uint64_t offset) {
    if (header.checked_length == 0) return true;
    UMBRA_ASSIGN(auto bytes, reader.at(offset + kRecordHeaderSize, header.checked_length));
    return bytes.size() == header.checked_length && checksum(bytes) == header.payload_checksum;
}

Result<bool> data_intact(BufferedReader& reader, const RecordHeader& header, std::uint64_t offset) {
    UMBRA_ASSIGN(auto payload, reader.at(offset + kRecordHeaderSize, header.payload_length));
    if (payload.size() != header.payload_length) return false;
    auto head = decode_extent_head(payload.first(header.checked_length), false);
    if (!head) return false;
    auto data = payload.subspan(header.checked_length);
    for (std::uint32_t i = 0; i < head->count; ++i) {
        ExtentBlock block = extent_block_at(*head, i);
        if (block.length > data.size() || checksum(data.first(block.length)) != block.checksum)
            return false;
        data = data.subspan(block.length);
    }
    return true;
}

}  // namespace

Result<UndoLog::ScanOutcome> UndoLog::scan(
    std::uint64_t file, std::uint64_t from, Check check,
    const std::function<Visit(const RecordHeader&, std::uint64_t)>& visit) {
    UMBRA_ASSIGN(auto log_file, find(file));
    UMBRA_ASSIGN(auto descriptor, log_file->descriptor());
    int fd = descriptor->get();
    struct stat status {};
    if (fstat(fd, &status) != 0)
        return errno_error(errno, "reading the size of undo log file " + log_file->name());
    auto size = static_cast<std::uint64_t>(status.st_size);
    {
        // Of the active file only what has been appended whole is looked at.
        std::lock_guard lock(append_mutex_);
        if (active_ == log_file) size = active_end_;
    }
    BufferedReader reader(fd);
    ScanOutcome outcome;
    outcome.end = from;
    std::uint64_t offset = from;
    while (offset + kRecordHeaderSize <= size) {
        UMBRA_ASSIGN(auto bytes, reader.at(offset, kRecordHeaderSize));
        auto header = decode_record_header(bytes, file, offset);
        bool whole = header && offset + header->length <= size;
        if (whole && check != Check::kHeader) {
            UMBRA_ASSIGN(whole, payload_intact(reader, *header, offset));
        }
        if (whole && check == Check::kData && header->type == RecordType::kExtent) {
            UMBRA_ASSIGN(whole, data_intact(reader, *header, offset));
        }
        if (whole) {
            if (header->type != RecordType::kFileHeader && header->type != RecordType::kDead &&
                visit(*header, offset) == Visit::kStop)
                return outcome;
            offset += header->length;
            outcome.end = offset;
            continue;
        }
        // Unreadable. If a later record says that this place had been durable, it is damage in the
        // middle: go on behind it. Otherwise the tail was torn by a crash (or this is reserved,
        // never written space).
        UMBRA_ASSIGN(auto next, find_header(reader, file, offset + kRecordAlignment, size));
        bool durable = false;
        if (next) {
            UMBRA_ASSIGN(durable, was_durable(reader, file, offset, next->offset, size));
        }
        if (!durable) {
            UMBRA_ASSIGN(auto rest,
                         reader.at(offset, std::min<std::uint64_t>(size - offset, 4096)));
            outcome.torn = next.has_value() || !all_zero(rest);
            return outcome;
        }
        outcome.damaged.push_back(offset);
        offset = next->offset;
    }
    outcome.torn = offset < size;
    return outcome;
}

}  // namespace umbra
