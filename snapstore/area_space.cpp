#include "snapstore/area_space.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <array>

#include "snapstore/log_format.h"
#include "snapstore/volume_core.h"

namespace umbra {

namespace {

using SteadyClock = std::chrono::steady_clock;

constexpr auto kLookEvery = std::chrono::milliseconds(250);
constexpr auto kMeasureIndexEvery = std::chrono::seconds(2);
constexpr auto kMeasureLimboEvery = std::chrono::seconds(10);
constexpr std::uint64_t kLookAfterPartOfRoom = 64;
// A warning is given again once it has been so many per cent less full.
constexpr unsigned kRearmPercent = 5;
constexpr unsigned kReleaseBelowPercent = WriterPace::kFromPercent - 2;
constexpr int kMostMeasurements = 5;

struct Warning {
    unsigned percent;
    EventId id;
};
constexpr std::array<Warning, 3> kWarnings{
    {{80, EventId::kAreaFilling}, {90, EventId::kAreaAlmostFull}, {95, EventId::kAreaNearlyFull}}};

std::uint64_t sum(std::uint64_t a, std::uint64_t b) {
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

struct FilesystemSize {
    std::uint64_t all = 0;
    std::uint64_t free = 0;
};

std::uint64_t product(std::uint64_t a, std::uint64_t b) {
    std::uint64_t result = 0;
    return __builtin_mul_overflow(a, b, &result) ? UINT64_MAX : result;
}

std::optional<FilesystemSize> size_of_filesystem(int directory) {
    struct statvfs filesystem {};
    if (fstatvfs(directory, &filesystem) != 0) return std::nullopt;
    return FilesystemSize{product(filesystem.f_blocks, filesystem.f_frsize),
                          product(filesystem.f_bavail, filesystem.f_frsize)};
}

std::string readable(std::uint64_t bytes) {
    static constexpr std::array kUnits{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    std::size_t unit = 0;
    std::uint64_t tenths = bytes > UINT64_MAX / 10 ? bytes / 1024 * 10 : bytes * 10;
    if (bytes > UINT64_MAX / 10) unit = 1;
    for (; tenths >= 10240 && unit + 1 < kUnits.size(); ++unit) tenths /= 1024;
    std::string text = std::to_string(tenths / 10);
    if (tenths < 100 && unit > 0) text += "." + std::to_string(tenths % 10);
    return text + " " + kUnits.at(unit);
}

std::string readable(std::chrono::seconds time) {
    const auto count = [](std::int64_t number, const char* unit) {
        return std::to_string(number) + " " + unit + (number == 1 ? "" : "s");
    };
    const std::int64_t seconds = time.count();
    if (seconds < 120) return count(seconds, "second");
    if (seconds < 2 * 3600) return count(seconds / 60, "minute");
    if (seconds < 2 * 86400) return count(seconds / 3600, "hour");
    return count(seconds / 86400, "day");
}

// So much room at least, and it is no longer called full.
std::uint64_t room_enough(std::uint64_t limit) {
    return std::min(limit / 10, std::max(limit / 100, kMaxExtentBlocks * kBlockSize * 2));
}

}  // namespace

unsigned AreaSpace::Room::percent() const {
    if (limit == 0) return 100;
    const auto exact = static_cast<unsigned __int128>(used) * 100 / limit;
    return exact > 100 ? 100 : static_cast<unsigned>(exact);
}

Result<void> AreaSpace::configure(const SizeLimit& max_size, OnFull on_full) {
    const std::lock_guard lock(mutex_);
    std::optional<FilesystemSize> size = size_of_filesystem(core_.diff_area.get());
    for (int i = 0; i < kMostMeasurements; ++i) {
        const auto again = size_of_filesystem(core_.diff_area.get());
        if (again && size && again->all == size->all) break;
        size = again;
    }
    if (!size)
        return errno_error(errno,
                           "reading the size of the filesystem of " + core_.identity.diff_area);
    filesystem_bytes_ = size->all;
    filesystem_bytes_other_.reset();
    free_bytes_ = free_bytes_before_ = size->free;
    max_size_ = max_size;
    on_full_ = on_full;
    apply_limit();
    next_look_ = 0;
    return {};
}

void AreaSpace::apply_limit() { limit_ = max_size_.bytes(filesystem_bytes_).value_or(UINT64_MAX); }

SizeLimit AreaSpace::max_size() const {
    const std::lock_guard lock(mutex_);
    return max_size_;
}

std::optional<std::uint64_t> AreaSpace::limit_bytes() const {
    const std::uint64_t limit = limit_.load();
    if (limit == UINT64_MAX) return std::nullopt;
    return limit;
}

std::uint64_t AreaSpace::used() const {
    return core_.log->estimated_bytes() + core_.limbo->bytes() + core_.jobs->bytes() +
           core_.index_bytes.load(std::memory_order_relaxed);
}

Result<void> AreaSpace::look_closely() {
    bool limbo = false;
    {
        const std::lock_guard lock(mutex_);
        const auto now = SteadyClock::now();
        limbo = now - limbo_measured_ >= kMeasureLimboEvery;
        if (limbo) limbo_measured_ = now;
    }
    if (limbo) UMBRA_TRY(core_.limbo->measure_bytes());
    UMBRA_TRY(core_.log->measure_bytes());
    UMBRA_TRY(core_.jobs->measure_bytes());
    UMBRA_ASSIGN(const std::uint64_t index, core_.index->disk_bytes());
    core_.index_bytes = index;
    return {};
}

Result<void> AreaSpace::check(std::uint64_t bytes) const {
    const std::uint64_t limit = limit_.load(std::memory_order_relaxed);
    if (limit == UINT64_MAX || sum(used(), bytes) <= limit) return {};
    return tl::make_unexpected(
        Error{EDQUOT, ErrorKind::kNeedsSpace, "the diff area has reached its limit"});
}

std::chrono::nanoseconds AreaSpace::after_change(std::uint64_t bytes) {
    const auto now = SteadyClock::now();
    if (grown_.fetch_add(bytes, std::memory_order_relaxed) + bytes >= look_after_.load() ||
        now.time_since_epoch().count() >= next_look_.load(std::memory_order_relaxed)) {
        // Who finds another one looking goes on.
        const std::unique_lock lock(mutex_, std::try_to_lock);
        if (lock) look_locked();
    }
    if (!throttling_.load(std::memory_order_relaxed)) return {};
    return pace_.charge(bytes, used(), effective_limit_.load(), now);
}

void AreaSpace::look() {
    const std::lock_guard lock(mutex_);
    look_locked();
}

void AreaSpace::look_locked() {
    const Room room = measure();
    next_look_ = (SteadyClock::now() + kLookEvery).time_since_epoch().count();
    grown_ = 0;
    look_after_ = room.left() / kLookAfterPartOfRoom + 1;
    tell_fill(room);
    tell_throttling(room);
    tell_room(room);
}

AreaSpace::Room AreaSpace::measure() {
    measure_filesystem();
    const auto now = SteadyClock::now();
    if (now - index_measured_ >= kMeasureIndexEvery) {
        index_measured_ = now;
        if (const auto index = core_.index->disk_bytes()) core_.index_bytes = *index;
    }
    Room room;
    room.used = used();
    room.limit = std::min(limit_.load(), sum(room.used, std::max(free_bytes_, free_bytes_before_)));
    effective_limit_ = room.limit;
    forecast_.observe(room.used, now);
    return room;
}

void AreaSpace::measure_filesystem() {
    const auto size = size_of_filesystem(core_.diff_area.get());
    if (!size || size->all == 0) return;
    free_bytes_before_ = std::exchange(free_bytes_, size->free);
    if (size->all == filesystem_bytes_) {
        filesystem_bytes_other_.reset();
    } else if (filesystem_bytes_other_ == size->all) {
        filesystem_bytes_ = size->all;
        filesystem_bytes_other_.reset();
        apply_limit();
    } else {
        filesystem_bytes_other_ = size->all;
    }
}

std::string AreaSpace::fill_sentence(const Room& room) const {
    std::string text = "the diff area " + core_.identity.diff_area + " is " +
                       std::to_string(room.percent()) + " % full (" + readable(room.used) + " of " +
                       readable(room.limit) + ")";
    if (const auto lasts = forecast_.lasts(room.left()))
        text += "; as it has been growing it is full in " + readable(*lasts);
    return text;
}

void AreaSpace::tell_fill(const Room& room) {
    const unsigned percent = room.percent();
    while (told_ > 0 && percent + kRearmPercent < kWarnings.at(told_ - 1).percent) --told_;
    for (; told_ < kWarnings.size() && percent >= kWarnings.at(told_).percent; ++told_)
        core_.tell(kWarnings.at(told_).id, fill_sentence(room));
}

void AreaSpace::tell_throttling(const Room& room) {
    const bool policy = on_full_.load() == OnFull::kThrottle;
    const unsigned percent = room.percent();
    if (!throttling_.load() && policy && percent >= WriterPace::kFromPercent) {
        throttling_ = true;
        core_.tell(EventId::kWritersThrottled,
                   fill_sentence(room) + "; writers are slowed, the more the less room is left");
    } else if (throttling_.load() && (!policy || percent < kReleaseBelowPercent)) {
        throttling_ = false;
        core_.tell(EventId::kWritersReleased,
                   fill_sentence(room) + "; writers are slowed no longer");
    }
}

void AreaSpace::tell_room(const Room& room) {
    if (!full_.load() || room.left() < room_enough(room.limit)) return;
    full_ = false;
    core_.tell(EventId::kAreaHasRoom, "the diff area " + core_.identity.diff_area +
                                          " has room again (" + readable(room.left()) +
                                          "); changes are accepted");
}

void AreaSpace::note_full(const std::string& why) {
    if (full_.exchange(true)) return;
    core_.tell(EventId::kAreaFull, "the diff area " + core_.identity.diff_area + " is full and " +
                                       why + ": changes that history would grow by are refused");
}

void AreaSpace::describe(SpaceUse& use) {
    const std::lock_guard lock(mutex_);
    static_cast<void>(measure());
    Room room;
    room.used = use.used_bytes();
    room.limit = std::min(limit_.load(), sum(room.used, std::max(free_bytes_, free_bytes_before_)));
    use.limit_bytes = limit_bytes();
    use.effective_limit_bytes = room.limit;
    use.used_percent = room.percent();
    use.filesystem_free_bytes = free_bytes_;
    use.growth_bytes_per_second = static_cast<std::int64_t>(forecast_.bytes_per_second());
    if (const auto lasts = forecast_.lasts(room.left())) use.full_in_seconds = lasts->count();
}

}  // namespace umbra
