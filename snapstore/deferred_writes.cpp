#include "snapstore/deferred_writes.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <span>

#include "snapstore/write_whole.h"

namespace umbra {

namespace {

// How long a write may be left before the log is synced for it, when nobody waits.
constexpr std::chrono::milliseconds kPatience{10};
constexpr std::size_t kBytesWorthASync = 1 << 20;

struct iovec part_of(const std::string& text) {
    return {const_cast<char*>(text.data()), text.size()};
}

}  // namespace

Result<LogPosition> mark_applied(UndoLog& log, Epoch epoch, const LogEnd& end) {
    std::string payload = encode_applied(end);
    struct iovec part = part_of(payload);
    return log.append(RecordType::kApplied, epoch, ObjectId{}, {&part, 1},
                      static_cast<std::uint32_t>(payload.size()),
                      [](LogPlace) { return Result<void>{}; });
}

DeferredWrites::DeferredWrites(UndoLog& log, std::size_t most_bytes,
                               std::function<Result<void>()> may_write,
                               std::function<void(ObjectId, const Error&)> failed)
    : log_(log),
      most_bytes_(most_bytes),
      may_write_(std::move(may_write)),
      failed_(std::move(failed)) {}

DeferredWrites::~DeferredWrites() {
    settle_all();
    {
        std::lock_guard lock(mutex_);
        stopping_ = true;
    }
    work_to_do_.notify_all();
    if (thread_.joinable()) thread_.join();
}

bool DeferredWrites::pending(ObjectId object) const {
    if (!any_.load()) return false;
    std::lock_guard lock(mutex_);
    return objects_.count(object) != 0;
}

bool DeferredWrites::has_room(std::size_t bytes) const {
    if (bytes > kMostBytesOfOne) return false;
    if (!any_.load()) return true;
    std::lock_guard lock(mutex_);
    return bytes_ + bytes <= most_bytes_ && objects_.size() < kMostObjects;
}

Result<void> DeferredWrites::add(Epoch epoch, ObjectId object, int fd, std::uint64_t offset,
                                 std::string data) {
    Write write{object, nullptr, offset, std::move(data), epoch, {}, {}};
    {
        std::lock_guard lock(mutex_);
        if (auto known = objects_.find(object); known != objects_.end())
            write.fd = known->second.fd;
        if (!thread_.joinable()) thread_ = std::thread([this] { work(); });
    }
    if (!write.fd) {
        write.fd = std::make_shared<UniqueFd>(fcntl(fd, F_DUPFD_CLOEXEC, 0));
        if (!write.fd->valid()) return errno_only(errno);
    }
    std::string head = encode_redo_head(offset);
    struct iovec parts[] = {part_of(head), part_of(write.data)};
    auto checked = static_cast<std::uint32_t>(head.size() + write.data.size());
    auto queue = [&](LogPlace place) -> Result<void> {
        write.start = {place.file, place.offset};
        write.end = {place.file, place.offset + place.length};
        std::lock_guard lock(mutex_);
        bytes_ += write.data.size();
        objects_[object] = {write.fd, ++added_};
        queue_.push_back(std::move(write));
        any_ = true;
        if (queue_.size() == 1 || bytes_ >= kBytesWorthASync) work_to_do_.notify_one();
        return {};
    };
    auto appended = log_.append(RecordType::kRedo, epoch, object, parts, checked, queue);
    if (!appended) return forward_error(appended);
    return {};
}

void DeferredWrites::settle_up_to(std::unique_lock<std::mutex>& lock, std::uint64_t number) {
    if (applied_ >= number) return;
    wanted_ = std::max(wanted_, number);
    work_to_do_.notify_one();
    settled_.wait(lock, [&] { return applied_ >= number; });
}

void DeferredWrites::settle(ObjectId object) {
    if (!any_.load()) return;
    std::unique_lock lock(mutex_);
    auto found = objects_.find(object);
    if (found != objects_.end()) settle_up_to(lock, found->second.last);
}

void DeferredWrites::settle_all() {
    if (!any_.load()) return;
    std::unique_lock lock(mutex_);
    settle_up_to(lock, added_);
}

Result<void> DeferredWrites::before_change(ObjectId object, bool durable) {
    settle(object);
    if (!any_marker_.load()) return {};
    LogPosition position = 0;
    {
        std::lock_guard lock(mutex_);
        auto marker = markers_.find(object);
        if (marker == markers_.end()) return {};
        marker->second.changed_since = true;
        if (durable) position = marker->second.position;
    }
    return position == 0 ? Result<void>{} : log_.wait_durable(position);
}

Result<void> DeferredWrites::before_sync(ObjectId object) {
    settle(object);
    if (!any_marker_.load()) return {};
    LogPosition position = 0;
    {
        std::lock_guard lock(mutex_);
        if (auto failure = failures_.find(object); failure != failures_.end()) {
            int code = failure->second;
            failures_.erase(failure);
            return errno_error(code, "writing what had been answered for");
        }
        auto marker = markers_.find(object);
        if (marker != markers_.end() && marker->second.changed_since)
            position = marker->second.position;
    }
    return position == 0 ? Result<void>{} : log_.wait_durable(position);
}

LogEnd DeferredWrites::needless_before() const {
    std::lock_guard lock(mutex_);
    if (!any_.load()) return {UINT64_MAX, UINT64_MAX};
    return applied_end_;
}

void DeferredWrites::wait_for_work(std::unique_lock<std::mutex>& lock) {
    work_to_do_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
    work_to_do_.wait_for(lock, kPatience, [&] {
        return stopping_ || wanted_ > applied_ || bytes_ >= kBytesWorthASync;
    });
}

void DeferredWrites::work() {
    std::unique_lock lock(mutex_);
    for (;;) {
        wait_for_work(lock);
        if (queue_.empty()) {
            if (stopping_) return;
            continue;
        }
        std::deque<Write> batch = std::move(queue_);
        queue_.clear();
        std::uint64_t last = added_;
        lock.unlock();
        const bool applied = apply(batch);
        finish(batch, last, applied);
        lock.lock();
    }
}

// False: none of it was written, and none of it will be here.
bool DeferredWrites::apply(const std::deque<Write>& batch) {
    if (auto may = may_write_(); !may) {
        // Whoever has the volume now finds them in the log.
        std::lock_guard lock(mutex_);
        for (const Write& write : batch) failures_[write.object] = may.error().code;
        return false;
    }
    // What is in the queue is in the log, but for the instant in which it is put there.
    auto durable = log_.wait_durable(log_.position());
    // Bytes that were answered for are not given up for the sake of the past, but it is said.
    if (!durable) failed_(batch.front().object, durable.error());
    for (const Write& write : batch) {
        int code = write_whole(write.fd->get(), std::as_bytes(std::span(write.data)), write.offset);
        if (code == 0) continue;
        failed_(write.object, Error{code, ErrorKind::kSystem, "writing deferred data"});
        std::lock_guard lock(mutex_);
        failures_[write.object] = code;
    }
    return true;
}

void DeferredWrites::finish(const std::deque<Write>& batch, std::uint64_t last, bool applied) {
    Result<LogPosition> marked = errno_only(EIO);
    if (applied) marked = mark_applied(log_, batch.back().epoch, batch.back().end);
    if (applied && !marked) {
        // No room, even for that: the records themselves are crossed out.
        for (const Write& write : batch) {
            const UndoLog::Range record{write.start.offset, write.end.offset - write.start.offset};
            auto crossed_out = log_.free_ranges(write.start.file, {&record, 1});
            if (!crossed_out) failed_(write.object, crossed_out.error());
        }
    }
    std::lock_guard lock(mutex_);
    std::erase_if(markers_, [&](const auto& item) { return log_.durable(item.second.position); });
    for (const Write& write : batch) {
        bytes_ -= write.data.size();
        auto waiting = objects_.find(write.object);
        if (waiting != objects_.end() && waiting->second.last <= last) objects_.erase(waiting);
        if (marked) markers_[write.object].position = *marked;  // changed_since stays
    }
    applied_end_ = batch.back().end;
    applied_ = last;
    any_ = applied_ < added_;
    any_marker_ = !markers_.empty() || !failures_.empty();
    settled_.notify_all();
}

}  // namespace umbra
