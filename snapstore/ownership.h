// Who may write a volume. On one machine the lock of the volume says so; a volume on storage that
// several hosts reach, one after the other or by mistake at once, has an owner record in
// SHARE/.umbra besides, with a lease: its owner renews it, and stops writing by itself when it
// could not; another host waits until it has run out, or is told to take over.
//
// docs/operating.md, "Moving to another host"; docs/format.md, "Owner record".
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

struct OwnerRecord {
    std::string nonce;  // of this one opening of the volume
    std::string host;
    std::string machine;       // its machine-id(5), may be empty
    std::string boot_id;       // of the running kernel: within it the volume's lock is the truth
    std::int64_t process = 0;  // in the host's terms
    std::int64_t renewed = 0;  // seconds since 1970
    std::int64_t lease_seconds = 0;  // it is the owner's until renewed + lease_seconds
};

// Errors of parsing: kDiffArea.
Result<OwnerRecord> parse_owner_record(const std::string& text);
std::string format_owner_record(const OwnerRecord& record);

// Thread-safe. Its lock is a leaf.
class Ownership {
   public:
    static constexpr std::chrono::seconds kDefaultLease{60};
    static constexpr std::chrono::seconds kShortestLease{3};
    static constexpr std::chrono::seconds kLongestLease{3600};

    struct Options {
        std::chrono::seconds lease = kDefaultLease;
        bool take_over = false;  // the former owner is known not to write any more
    };

    // Takes the volume's lock and the owner record, and renews it from now on.
    // Refused (kRefused) with EBUSY where another process of this machine has the volume, with
    // EAGAIN where the lease of another host has not run out; both name the holder. A lease counts
    // as run out a quarter of its time after its end, for clocks that differ.
    static Result<std::unique_ptr<Ownership>> take(int control_directory, const std::string& share,
                                                   const Options& options);

    // Gives the volume back, unless it has been lost.
    ~Ownership();
    Ownership(const Ownership&) = delete;
    Ownership& operator=(const Ownership&) = delete;

    // The owner that this one took over from, who had not given the volume back and might still
    // hold it open.
    const std::optional<OwnerRecord>& taken_from() const { return taken_from_; }
    // Whoever had the volume last and did not give it back: killed, or taken from.
    const std::optional<OwnerRecord>& former() const { return former_; }
    OwnerRecord record() const;

    // To be asked before anything is written. Costs a look at the clock while the lease runs; where
    // it has run out (the machine slept, the record could not be written) it is renewed, if nobody
    // has taken the volume meanwhile. Errors: kRefused with EIO.
    Result<void> check() {
        if (boot_nanoseconds() < valid_until_.load(std::memory_order_relaxed)) return {};
        return renew();
    }
    bool lost() const { return lost_.load(); }

    // `lost` is called once, from any thread, holding no lock of ours, when another host is found
    // to have taken the volume; `failing` when the record cannot be written, and not again before
    // it could be. Set before the volume is used.
    void set_hooks(std::function<void(const OwnerRecord& by)> lost,
                   std::function<void(const Error&)> failing);

   private:
    Ownership() = default;
    static std::int64_t boot_nanoseconds();
    Result<void> renew();
    Result<void> renew_locked(std::optional<OwnerRecord>& lost_to);
    void begin(std::chrono::seconds lease);

    UniqueFd directory_;
    UniqueFd lock_file_;
    std::string share_;
    std::optional<OwnerRecord> former_;
    std::optional<OwnerRecord> taken_from_;
    std::atomic<std::int64_t> valid_until_{0};  // by the clock that goes on while a machine sleeps
    std::atomic<bool> lost_{false};

    mutable std::mutex mutex_;  // guards what follows
    std::function<void(const OwnerRecord&)> lost_hook_;
    std::function<void(const Error&)> failing_hook_;
    OwnerRecord record_;
    bool failing_ = false;
    bool ending_ = false;
    std::condition_variable end_;
    std::thread thread_;
};

}  // namespace umbra
