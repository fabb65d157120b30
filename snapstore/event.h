// What an administrator must know. Every event has a number and a name that never change
// (docs/events.md lists them, with the VolSnap events of Windows that they correspond to).
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace umbra {

// The values are the numbers that people see; they are never given another meaning.
enum class EventId : std::uint16_t {
    // 1xx: snapshots
    kSnapshotCreated = 101,
    kSnapshotDeleted = 102,
    kSnapshotEvicted = 103,
    kSnapshotFailed = 104,
    kSnapshotHeld = 105,
    kSnapshotReleased = 106,
    kDeletionResumed = 107,
    // 2xx: space
    kAreaFilling = 201,
    kAreaAlmostFull = 202,
    kAreaNearlyFull = 203,
    kAreaFull = 204,
    kAreaHasRoom = 205,
    kWritersThrottled = 206,
    kWritersReleased = 207,
    kAreaResized = 208,
    // 3xx: opening
    kAreaMissing = 301,
    kWaitingForArea = 302,
    kAreaAppeared = 303,
    kUncleanEnd = 304,
    kLogTailTruncated = 305,
    kIndexRebuilt = 306,
    kDeferredWriteLost = 307,
    kDeferredWriteDropped = 308,
    kDeferredWritesWaiting = 309,
    kDeferredWriteFailed = 310,
    kChangedOutside = 311,
    kAreaRefused = 312,
    // 4xx: damage
    kRecordDamaged = 401,
    kScrubFinished = 402,
    kScrubFoundDamage = 403,
    kAreaFailed = 404,
    // 5xx: who owns the volume
    kOwnershipTakenOver = 501,
    kOwnershipLost = 502,
    kLeaseNotRenewed = 503,
    // 6xx: Umbra itself
    kEventCommandFailed = 601,
    // 7xx: restores
    kRestoreBegun = 701,
    kRestoreFinished = 702,
    kRestoreIncomplete = 703,
};

enum class Severity : std::uint8_t { kInformation, kWarning, kError };

// What is the same for every event of one kind.
struct EventKind {
    EventId id;
    std::string_view name;  // stable, e.g. "snapshot-evicted"
    Severity severity;
    std::string_view volsnap;  // corresponding VolSnap event ids, "" where there is none
};

// All kinds, ascending by number.
std::span<const EventKind> event_kinds();
const EventKind& event_kind(EventId id);
std::optional<EventId> event_id_of(std::string_view name);
std::string_view severity_name(Severity severity);  // "information", "warning", "error"

struct Event {
    EventId id{};
    std::string message;         // one sentence
    std::uint64_t sequence = 0;  // its place in the volume's event log, from 1; 0: not in it
    std::int64_t time = 0;       // seconds since 1970, when it was put into the event log

    std::uint16_t number() const { return static_cast<std::uint16_t>(id); }
    std::string_view name() const { return event_kind(id).name; }
    Severity severity() const { return event_kind(id).severity; }
};

}  // namespace umbra
