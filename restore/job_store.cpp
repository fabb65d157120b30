#include "restore/job_store.h"

namespace umbra {

namespace {

constexpr std::size_t kWaitingBytes = 64 << 10;

}  // namespace

Result<std::string> MemoryJobStore::create() { return std::string("unrecorded"); }

Result<std::string> MemoryJobStore::begin_run(const std::string&, bool) {
    running_ = true;
    return std::string();
}

void MemoryJobStore::end_run(const std::string&, bool) { running_ = false; }

Result<void> MemoryJobStore::append(const std::string&, const std::vector<std::string>& records,
                                    bool) {
    if (!running_)
        return error_of(ErrorKind::kRefused, EPERM,
                        "nothing can be recorded in a restore job outside of a run");
    records_.insert(records_.end(), records.begin(), records.end());
    return {};
}

Result<std::vector<std::string>> MemoryJobStore::read(const std::string&) { return records_; }

Result<void> JobRecorder::add(std::string record) {
    UMBRA_TRY(job_.apply(record));
    waiting_bytes_ += record.size();
    waiting_.push_back(std::move(record));
    if (waiting_bytes_ >= kWaitingBytes) return flush(false);
    return {};
}

Result<void> JobRecorder::flush(bool sync) {
    if (waiting_.empty() && !sync) return {};
    UMBRA_TRY(store_.append(id_, waiting_, sync));
    waiting_.clear();
    waiting_bytes_ = 0;
    return {};
}

}  // namespace umbra
