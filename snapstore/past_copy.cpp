#include "snapstore/past_copy.h"

#include <algorithm>
#include <cerrno>
#include <vector>

#include "snapstore/log_format.h"
#include "snapstore/write_whole.h"

namespace umbra {

namespace {

constexpr std::size_t kMostAtOnce = 16 << 20;  // bounds how long one request takes
constexpr std::size_t kChunk = 1 << 20;

// One call's parties.
struct Copy {
    PastTree& past;
    const PastFile& in;
    LiveTree& live;
    OpenFile& out;
    const CopiedRange& range;
    const Caller& caller;
    const LiveTree::After& after;

    std::uint64_t target(std::uint64_t offset) const {
        return range.out_offset + (offset - range.in_offset);
    }

    Result<std::vector<ByteRange>> preserved(std::uint64_t begin, std::uint64_t end) const {
        const std::uint64_t first = begin / kBlockSize;
        return past.preserved_ranges(in, first, (end - 1) / kBlockSize - first + 1);
    }

    // Through memory; returns where it has got to, as share() does.
    Result<std::uint64_t> move(std::uint64_t begin, std::uint64_t end) const {
        std::vector<std::byte> buffer(std::min<std::uint64_t>(kChunk, end - begin));
        while (begin < end) {
            const std::span wanted =
                std::span(buffer).first(std::min<std::uint64_t>(buffer.size(), end - begin));
            UMBRA_ASSIGN(const std::size_t count, past.read(in, begin, wanted));
            if (count == 0) return errno_only(EIO);  // within its size there is something
            UMBRA_TRY(write(begin, wanted.first(count)));
            begin += count;
        }
        return begin;
    }

    Result<void> write(std::uint64_t offset, std::span<const std::byte> bytes) const {
        const auto perform = [&](int fd) -> ssize_t {
            if (const int code = write_whole(fd, bytes, target(offset)); code != 0) return -code;
            if (after) after(fd);
            return static_cast<ssize_t>(bytes.size());
        };
        UMBRA_TRY(live.write(out, target(offset), bytes.size(), caller, perform));
        return {};
    }

    // What had no record a moment ago; returns where it has got to.
    Result<std::uint64_t> share(std::uint64_t begin, std::uint64_t end) const {
        const auto copied =
            in.fd.valid() ? live.copy_range(in.id, in.fd.get(), begin, out, target(begin),
                                            static_cast<std::size_t>(end - begin), caller, after)
                          : Result<std::size_t>(std::size_t{0});
        if (!copied || *copied == 0) {
            // A filesystem that cannot, or a live file that is shorter now: reading finds out.
            const std::uint64_t until = std::min<std::uint64_t>(end, begin + kChunk);
            UMBRA_TRY(move(begin, until));
            return until;
        }
        // Looked up again afterwards, as when reading: a write in between has left a record.
        const std::uint64_t until = begin + *copied;
        UMBRA_ASSIGN(const auto changed, preserved(begin, until));
        for (const ByteRange& range_changed : changed) {
            UMBRA_TRY(move(std::max(begin, range_changed.offset),
                           std::min(until, range_changed.offset + range_changed.length)));
        }
        return until;
    }
};

}  // namespace

Result<std::size_t> copy_from_past(PastTree past, const PastFile& in, LiveTree& live, OpenFile& out,
                                   const CopiedRange& range, const Caller& caller,
                                   const LiveTree::After& after) {
    if (in.id == out.id) return errno_only(EXDEV);
    if (range.in_offset >= in.size) return std::size_t{0};
    const std::uint64_t end =
        range.in_offset +
        std::min<std::uint64_t>({range.length, kMostAtOnce, in.size - range.in_offset});
    const Copy copy{past, in, live, out, range, caller, after};
    // What has a record keeps it: only ranges without one are looked up again.
    UMBRA_ASSIGN(const auto records, copy.preserved(range.in_offset, end));
    auto record = records.begin();
    std::uint64_t position = range.in_offset;
    while (position < end) {
        while (record != records.end() && record->offset + record->length <= position) ++record;
        const bool recorded = record != records.end() && record->offset <= position;
        const std::uint64_t until =
            record == records.end()
                ? end
                : std::min(end, recorded ? record->offset + record->length : record->offset);
        auto reached = recorded ? copy.move(position, until) : copy.share(position, until);
        // What has been copied has been copied; the next call meets the error again.
        if (!reached && position > range.in_offset) break;
        UMBRA_ASSIGN(position, std::move(reached));
    }
    return static_cast<std::size_t>(position - range.in_offset);
}

}  // namespace umbra
