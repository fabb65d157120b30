// Contents of the past: blocks from the undo log, and from the live file where there is no record.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "snapstore/log_format.h"
#include "snapstore/past_tree.h"
#include "snapstore/volume_core.h"

namespace umbra {

namespace {

enum class Source { kLive, kZero, kLog };

struct BlockSource {
    Source source = Source::kLive;
    IndexedBlock block;  // kLog only
};

// Where each block of [first, first+count) is as of a snapshot. Empty: all live (the common case,
// one seek).
Result<std::vector<BlockSource>> find_sources(VolumeCore& core, ObjectId object, Epoch snapshot,
                                              std::uint64_t first, std::uint64_t count) {
    std::vector<IndexedContent> contents;
    UMBRA_TRY(core.index->for_each_content(object, snapshot, [&](const IndexedContent& content) {
        // Only those that reach further down than all before them say anything new.
        if (contents.empty() || content.tail_block < contents.back().tail_block)
            contents.push_back(content);
        return contents.back().tail_block > first;
    }));
    std::vector<BlockSource> sources;
    if (contents.empty()) return sources;
    UMBRA_ASSIGN(auto blocks, core.index->blocks(object, first, count, snapshot));
    sources.resize(count);
    for (std::uint64_t i = 0; i < count; ++i) {
        auto covering = std::find_if(
            contents.begin(), contents.end(),
            [&](const IndexedContent& content) { return content.tail_block <= first + i; });
        const auto& block = blocks[i];
        if (block && (covering == contents.end() || block->epoch <= covering->epoch))
            sources[i] = {block->hole ? Source::kZero : Source::kLog, *block};
        else if (covering != contents.end())
            sources[i].source = Source::kZero;
    }
    return sources;
}

bool same(const std::vector<BlockSource>& a, const std::vector<BlockSource>& b) {
    return std::equal(
        a.begin(), a.end(), b.begin(), b.end(), [](const BlockSource& x, const BlockSource& y) {
            return x.source == y.source &&
                   (x.source != Source::kLog ||
                    (x.block.file == y.block.file && x.block.offset == y.block.offset));
        });
}

// Whatever a snapshot needs of a removed file waits in limbo: if the object is gone all the same,
// that happened behind Umbra's back.
tl::unexpected<Error> removed_behind_our_back() {
    return error_of(ErrorKind::kDiffArea, EIO,
                    "contents that a snapshot needs are gone: the file was removed from the "
                    "share's folder while it was not mounted");
}

// Fills the buffer from the live object; what lies behind its end is zero.
Result<void> read_live(int fd, std::uint64_t offset, std::span<std::byte> buffer) {
    if (fd < 0) return removed_behind_our_back();
    std::size_t filled = 0;
    while (filled < buffer.size()) {
        ssize_t count = pread(fd, buffer.data() + filled, buffer.size() - filled,
                              static_cast<off_t>(offset + filled));
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return errno_only(errno);
        if (count == 0) break;
        filled += static_cast<std::size_t>(count);
    }
    std::memset(buffer.data() + filled, 0, buffer.size() - filled);
    return {};
}

// Reads the wanted part of a preserved block; the whole block is read, since its checksum covers
// all of it.
Result<void> read_preserved(VolumeCore& core, const IndexedBlock& block, std::size_t from,
                            std::span<std::byte> wanted) {
    std::byte bytes[kBlockSize];
    if (block.length > kBlockSize)
        return error_of(ErrorKind::kDiffArea, EIO, "index: a block longer than a block");
    std::span<std::byte> data(bytes, block.length);
    UMBRA_TRY(core.log->read(block.file, block.offset, data));
    if (checksum(data) != block.checksum)
        return error_of(ErrorKind::kDiffArea, EIO,
                        "preserved data is damaged in undo log file " + std::to_string(block.file) +
                            " at offset " + std::to_string(block.offset));
    std::size_t there =
        from < block.length ? std::min<std::size_t>(wanted.size(), block.length - from) : 0;
    std::memcpy(wanted.data(), bytes + from, there);
    std::memset(wanted.data() + there, 0, wanted.size() - there);
    return {};
}

// lseek(2) on the live object. No value: ENXIO.
Result<std::optional<std::uint64_t>> seek_live(const PastFile& file, std::uint64_t offset,
                                               bool want_data) {
    if (!file.fd.valid()) return removed_behind_our_back();
    off_t found =
        lseek(file.fd.get(), static_cast<off_t>(offset), want_data ? SEEK_DATA : SEEK_HOLE);
    if (found < 0 && errno != ENXIO) return errno_only(errno);
    if (found < 0) return std::optional<std::uint64_t>{};
    return std::optional(std::min<std::uint64_t>(static_cast<std::uint64_t>(found), file.size));
}

// Where lseek(2) stops within the blocks [first, first+sources.size()); no value: behind them.
Result<std::optional<std::uint64_t>> seek_blocks(const std::vector<BlockSource>& sources,
                                                 const PastFile& file, std::uint64_t first,
                                                 std::uint64_t offset, bool want_data) {
    for (std::uint64_t i = 0; i < sources.size(); ++i) {
        std::uint64_t start = std::max(offset, (first + i) * kBlockSize);
        std::uint64_t end = std::min(file.size, (first + i + 1) * kBlockSize);
        if (start >= end) continue;
        bool data = sources[i].source == Source::kLog;
        if (sources[i].source == Source::kLive) {
            UMBRA_ASSIGN(auto stop, seek_live(file, start, want_data));
            if (stop && *stop < end) return stop;
            data = !want_data;  // no hole in this block: data throughout, or the other way round
        }
        if (data == want_data) return std::optional(start);
    }
    return std::optional<std::uint64_t>{};
}

}  // namespace

Result<PastFile> PastTree::open(ObjectId object) {
    UMBRA_ASSIGN(auto then, status(object));
    if (!S_ISREG(then.st_mode)) return errno_only(S_ISDIR(then.st_mode) ? EISDIR : EINVAL);
    PastFile file{object, UniqueFd(), static_cast<std::uint64_t>(then.st_size)};
    auto fd = core_->mount.open_object(object, O_RDONLY | O_NOATIME);
    if (fd)
        file.fd = std::move(*fd);
    else if (fd.error().code != ESTALE)
        return forward_error(fd);
    return file;
}

Result<std::size_t> PastTree::read(const PastFile& file, std::uint64_t offset,
                                   std::span<std::byte> buffer) {
    if (offset >= file.size) return std::size_t{0};
    buffer = buffer.first(std::min<std::uint64_t>(buffer.size(), file.size - offset));
    if (buffer.empty()) return std::size_t{0};
    std::uint64_t first = offset / kBlockSize;
    std::uint64_t count = (offset + buffer.size() - 1) / kBlockSize - first + 1;
    UMBRA_ASSIGN(auto sources, find_sources(*core_, file.id, snapshot_, first, count));
    for (;;) {
        // Live blocks are read first and looked up again afterwards: a write in between has left a
        // record.
        if (sources.empty()) {
            UMBRA_TRY(read_live(file.fd.get(), offset, buffer));
        } else {
            for (std::uint64_t i = 0; i < count; ++i) {
                if (sources[i].source != Source::kLive) continue;
                std::uint64_t run = i;
                while (run + 1 < count && sources[run + 1].source == Source::kLive) ++run;
                std::uint64_t from = std::max(offset, (first + i) * kBlockSize);
                std::uint64_t to = std::min(offset + buffer.size(), (first + run + 1) * kBlockSize);
                UMBRA_TRY(read_live(file.fd.get(), from, buffer.subspan(from - offset, to - from)));
                i = run;
            }
        }
        UMBRA_ASSIGN(auto again, find_sources(*core_, file.id, snapshot_, first, count));
        bool stable = same(sources, again);
        sources = std::move(again);
        if (stable) break;
    }
    for (std::uint64_t i = 0; i < sources.size(); ++i) {
        if (sources[i].source == Source::kLive) continue;
        std::uint64_t block_start = (first + i) * kBlockSize;
        std::uint64_t from = std::max(offset, block_start);
        std::uint64_t to = std::min(offset + buffer.size(), block_start + kBlockSize);
        auto wanted = buffer.subspan(from - offset, to - from);
        if (sources[i].source == Source::kZero) {
            std::memset(wanted.data(), 0, wanted.size());
            continue;
        }
        auto read = read_preserved(*core_, sources[i].block, from - block_start, wanted);
        if (!read) {
            UMBRA_TRY(check_alive());  // space given back by a deletion is not damage
            return forward_error(read);
        }
    }
    UMBRA_TRY(check_alive());
    return buffer.size();
}

Result<bool> PastTree::needs_object(const PastFile& file) {
    constexpr std::uint64_t kStep = 1024;  // blocks looked at together
    std::uint64_t total = (file.size + kBlockSize - 1) / kBlockSize;
    for (std::uint64_t first = 0; first < total; first += kStep) {
        std::uint64_t count = std::min(kStep, total - first);
        UMBRA_ASSIGN(auto sources, find_sources(*core_, file.id, snapshot_, first, count));
        if (sources.empty()) return true;
        for (const auto& source : sources)
            if (source.source == Source::kLive) return true;
    }
    return false;
}

Result<std::vector<ByteRange>> PastTree::preserved_ranges(const PastFile& file, std::uint64_t first,
                                                          std::uint64_t count) {
    UMBRA_ASSIGN(const auto sources, find_sources(*core_, file.id, snapshot_, first, count));
    std::vector<ByteRange> ranges;
    for (std::uint64_t i = 0; i < sources.size(); ++i) {
        if (sources[i].source == Source::kLive) continue;
        const std::uint64_t begin = (first + i) * kBlockSize;
        const std::uint64_t length = std::min(file.size - begin, kBlockSize);
        if (!ranges.empty() && ranges.back().offset + ranges.back().length == begin)
            ranges.back().length += length;
        else
            ranges.push_back({begin, length});
    }
    UMBRA_TRY(check_alive());
    return ranges;
}

Result<std::uint64_t> PastTree::seek(const PastFile& file, std::uint64_t offset, int whence) {
    if (offset >= file.size) return errno_only(ENXIO);
    constexpr std::uint64_t kStep = 1024;  // blocks looked at together
    bool want_data = whence == SEEK_DATA;
    std::uint64_t total = (file.size + kBlockSize - 1) / kBlockSize;
    for (std::uint64_t first = offset / kBlockSize; first < total; first += kStep) {
        std::uint64_t count = std::min(kStep, total - first);
        UMBRA_ASSIGN(auto sources, find_sources(*core_, file.id, snapshot_, first, count));
        for (;;) {
            bool unchanged = sources.empty();  // all of the file: the live one knows
            auto stop = unchanged ? seek_live(file, offset, want_data)
                                  : seek_blocks(sources, file, first, offset, want_data);
            // As when reading: a change in between has left a record.
            UMBRA_ASSIGN(auto again, find_sources(*core_, file.id, snapshot_, first, count));
            bool stable = same(sources, again);
            sources = std::move(again);
            if (!stable) continue;
            UMBRA_TRY(check_alive());
            if (!stop) return forward_error(stop);
            if (*stop) return **stop;
            if (unchanged) return errno_only(ENXIO);
            break;
        }
    }
    UMBRA_TRY(check_alive());
    if (want_data) return errno_only(ENXIO);
    return file.size;
}

}  // namespace umbra
