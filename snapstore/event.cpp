#include "snapstore/event.h"

#include <algorithm>
#include <array>
#include <cassert>

namespace umbra {

namespace {

constexpr auto kInformation = Severity::kInformation;
constexpr auto kWarning = Severity::kWarning;
constexpr auto kError = Severity::kError;

constexpr std::array kKinds{
    EventKind{EventId::kSnapshotCreated, "snapshot-created", kInformation, ""},
    EventKind{EventId::kSnapshotDeleted, "snapshot-deleted", kInformation, ""},
    EventKind{EventId::kSnapshotEvicted, "snapshot-evicted", kWarning, "33"},
    EventKind{EventId::kSnapshotFailed, "snapshot-failed", kError, "8, 9, 10, 12, 67"},
    EventKind{EventId::kSnapshotHeld, "snapshot-held", kInformation, ""},
    EventKind{EventId::kSnapshotReleased, "snapshot-released", kInformation, ""},
    EventKind{EventId::kDeletionResumed, "deletion-resumed", kInformation, "30, 63"},
    EventKind{EventId::kAreaFilling, "diff-area-filling", kWarning, "24, 38"},
    EventKind{EventId::kAreaAlmostFull, "diff-area-almost-full", kWarning, "24, 38"},
    EventKind{EventId::kAreaNearlyFull, "diff-area-nearly-full", kError, "24, 38"},
    EventKind{EventId::kAreaFull, "diff-area-full", kError, "13, 22, 23, 25, 35, 36"},
    EventKind{EventId::kAreaHasRoom, "diff-area-has-room", kInformation, ""},
    EventKind{EventId::kWritersThrottled, "writers-throttled", kWarning, ""},
    EventKind{EventId::kWritersReleased, "writers-released", kInformation, ""},
    EventKind{EventId::kAreaResized, "diff-area-resized", kInformation, ""},
    EventKind{EventId::kAreaMissing, "diff-area-missing", kWarning, "32, 59, 60"},
    EventKind{EventId::kWaitingForArea, "waiting-for-diff-area", kWarning, "32, 59"},
    EventKind{EventId::kAreaAppeared, "diff-area-appeared", kInformation, ""},
    EventKind{EventId::kUncleanEnd, "unclean-end", kWarning, ""},
    EventKind{EventId::kLogTailTruncated, "log-tail-truncated", kWarning, ""},
    EventKind{EventId::kIndexRebuilt, "index-rebuilt", kWarning, "5, 20"},
    EventKind{EventId::kDeferredWriteLost, "deferred-write-lost", kError, ""},
    EventKind{EventId::kDeferredWriteDropped, "deferred-write-dropped", kWarning, ""},
    EventKind{EventId::kDeferredWritesWaiting, "deferred-writes-waiting", kWarning, ""},
    EventKind{EventId::kDeferredWriteFailed, "deferred-write-failed", kError, ""},
    EventKind{EventId::kChangedOutside, "changed-outside", kWarning, ""},
    EventKind{EventId::kAreaRefused, "diff-area-refused", kError, "27, 29, 31"},
    EventKind{EventId::kRecordDamaged, "record-damaged", kError, "28, 29"},
    EventKind{EventId::kScrubFinished, "scrub-finished", kInformation, ""},
    EventKind{EventId::kScrubFoundDamage, "scrub-found-damage", kError, "28, 29"},
    EventKind{EventId::kAreaFailed, "diff-area-failed", kError, "14, 16"},
    EventKind{EventId::kOwnershipTakenOver, "ownership-taken-over", kWarning, "40"},
    EventKind{EventId::kOwnershipLost, "ownership-lost", kError, "40, 60"},
    EventKind{EventId::kLeaseNotRenewed, "lease-not-renewed", kError, ""},
    EventKind{EventId::kEventCommandFailed, "event-command-failed", kWarning, ""},
    EventKind{EventId::kRestoreBegun, "restore-begun", kInformation, ""},
    EventKind{EventId::kRestoreFinished, "restore-finished", kInformation, ""},
    EventKind{EventId::kRestoreIncomplete, "restore-incomplete", kWarning, ""},
};

static_assert(std::is_sorted(kKinds.begin(), kKinds.end(),
                             [](const auto& a, const auto& b) { return a.id < b.id; }));

}  // namespace

std::span<const EventKind> event_kinds() { return kKinds; }

const EventKind& event_kind(EventId id) {
    const auto found = std::lower_bound(kKinds.begin(), kKinds.end(), id,
                                        [](const auto& kind, EventId at) { return kind.id < at; });
    assert(found != kKinds.end() && found->id == id);
    return *found;
}

std::optional<EventId> event_id_of(std::string_view name) {
    const auto found = std::find_if(kKinds.begin(), kKinds.end(),
                                    [&](const auto& kind) { return kind.name == name; });
    if (found == kKinds.end()) return std::nullopt;
    return found->id;
}

std::string_view severity_name(Severity severity) {
    return severity == Severity::kError     ? "error"
           : severity == Severity::kWarning ? "warning"
                                            : "information";
}

}  // namespace umbra
