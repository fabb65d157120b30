// The list of snapshots of a volume. Kept whole in memory; every change is appended durably to
// log/catalog.ulog before it takes effect (docs/format.md, "catalog").
#pragma once

#include <cstdint>
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <shared_mutex>
#include <string>
#include <vector>

#include "snapstore/object_id.h"
#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

struct Hold {
    std::string reason;
    std::optional<std::int64_t> expires;  // seconds since 1970, UTC
    bool operator==(const Hold&) const = default;
    bool in_force(std::int64_t now) const { return !expires || *expires > now; }
    bool ends_before(const Hold& other) const {
        return expires && (!other.expires || *expires < *other.expires);
    }
};

struct Snapshot {
    Epoch epoch = 0;
    std::string token;           // @GMT-YYYY.MM.DD-HH.MM.SS
    struct timespec created {};  // when the cut was made
    std::string label;           // empty: none
    std::vector<Hold> holds;
    // How applications stood at the cut, as text of who asked them (restore/writer_report.h); "":
    // none was asked.
    std::string writers;

    bool held(std::int64_t now) const;
};

// Reads an existing snapshot list or starts an empty one. Thread-safe: readers share, changes
// exclude.
class Catalog {
   public:
    // log_directory: descriptor of DIFF_AREA/log, borrowed for the lifetime of the catalog.
    // `least_sequence`: as last noted by the share; kDiffArea, and nothing changed, when the
    // catalog is older than that.
    static Result<std::unique_ptr<Catalog>> open(int log_directory, bool read_only,
                                                 std::uint64_t least_sequence = 0);
    ~Catalog();

    // Ascending by epoch.
    std::vector<Snapshot> snapshots() const;
    std::optional<Snapshot> find(Epoch epoch) const;
    std::optional<Snapshot> find_name(const std::string& token_or_label) const;
    bool exists(Epoch epoch) const;
    // Newest existing snapshot, or 0.
    Epoch newest() const;
    Epoch oldest() const;
    // Is there a snapshot s with after < s <= until? The rule of keeping.
    bool any_in(Epoch after, Epoch until) const;
    // The nearest existing snapshots around an epoch; 0 / no value where there is none.
    Epoch previous_of(Epoch epoch) const;
    std::optional<Epoch> next_of(Epoch epoch) const;
    // Highest epoch ever given out; the current epoch of the volume.
    Epoch last_epoch() const;
    // Raised by every durable change of the catalog; tells an older copy of a diff area from this
    // one.
    std::uint64_t sequence() const;

    // Each of these is durable when it returns without an error.
    Result<void> add(const Snapshot& snapshot);
    // Starts a deletion: the snapshot is no longer listed; [epoch, next) is to be reclaimed.
    Result<void> begin_delete(Epoch epoch);
    Result<void> finish_delete(Epoch epoch);
    Result<void> set_holds(Epoch epoch, const std::vector<Hold>& holds);
    Result<void> set_writers(Epoch epoch, const std::string& writers);
    // Deletions begun and not finished (a crash in between).
    std::vector<Epoch> unfinished_deletions() const;
    // Makes sure that no later epoch is at or below this one.
    void raise_last_epoch(Epoch epoch);
    // Called with sequence() after every durable change, before it is reported as done. Set it
    // before the first one.
    void set_change_hook(std::function<void(std::uint64_t)> hook) {
        change_hook_ = std::move(hook);
    }

    // Reads the file again: the offset of the first record that is not as it was written.
    Result<std::optional<std::uint64_t>> damaged_at() const;
    // Writes the file anew from what is in memory.
    Result<void> write_anew();

    // A free token for this moment: later than every token there is, in the first free second.
    std::string free_token(std::int64_t now) const;

   private:
    Catalog() = default;
    Result<void> load(std::uint64_t least_sequence);
    Result<void> append(const std::string& payload);  // mutex_ held exclusively
    Result<void> rewrite();
    void apply(const std::string& payload);  // mutex_ held exclusively, or while loading

    int log_directory_ = -1;
    bool read_only_ = false;
    std::function<void(std::uint64_t)> change_hook_;
    UniqueFd file_;
    std::uint64_t end_ = 0;
    std::uint64_t dead_ = 0;
    mutable std::shared_mutex mutex_;  // guards all below
    std::map<Epoch, Snapshot> snapshots_;
    std::vector<Epoch> unfinished_;
    Epoch last_epoch_ = 0;
    std::uint64_t sequence_ = 0;
    std::string last_token_;
};

// Label rules: 1 to 128 bytes of UTF-8 without control characters and '/', not "." or "..", not
// shaped like a token (beginning with "@GMT-"). The error names the rule that was broken.
Result<void> check_label(const std::string& label);

}  // namespace umbra
