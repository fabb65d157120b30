// How a writer stands, in the terms and numbers of Windows (VSS_WS_*), why, and what it wants kept:
// recorded with each snapshot (docs/format.md, "Writers").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "restore/writer_definition.h"
#include "snapstore/result.h"

namespace umbra {

// VSS_WRITER_STATE. In a snapshot's record only kStable says that the application's files in it are
// consistent: anything else was found or left otherwise, also by a crash.
enum class WriterState : std::uint8_t {
    kUnknown = 0,
    kStable = 1,
    kWaitingForFreeze = 2,
    kFrozen = 3,  // VSS_WS_WAITING_FOR_THAW, "Frozen" to people
    kWaitingForPostSnapshot = 4,
    kWaitingForCompletion = 5,
    kFailedAtIdentify = 6,
    kFailedAtPrepare = 7,
    kFailedAtFreeze = 9,
    kFailedAtThaw = 10,
    kFailedAtPostSnapshot = 11,
    kFailedAtPreRestore = 13,
    kFailedAtPostRestore = 14,
    kFailedAtShutdown = 15,  // whoever asked was gone before it was done; it has been thawed
};

// "stable", "frozen", "failed_at_freeze" and so on.
const char* writer_state_name(WriterState state);
std::optional<WriterState> writer_state_of(std::string_view name);
inline bool writer_failed(WriterState state) { return state >= WriterState::kFailedAtIdentify; }
WriterState failed_at(WriterStep step);

enum class WriterError : std::uint8_t {
    kNone = 0,
    kRetryable,  // its command failed, and may do another time
    kTimedOut,
    kNonRetryable,  // there is no such program, or no such user
    kUnexpected,    // a signal ended it, or it said what cannot be understood
};
// "no_error", "retryable", "timed_out", "non_retryable", "unexpected".
const char* writer_error_name(WriterError error);

struct WriterReport {
    std::string name;
    WriterState state = WriterState::kUnknown;
    WriterError error = WriterError::kNone;
    std::string sentence;  // why, with the end of what the command said; "" where all went well
    // What thaw and post-snapshot printed: given back to pre-restore and post-restore.
    std::string document;

    bool failed() const { return writer_failed(state); }
};

bool any_writer_failed(const std::vector<WriterReport>& reports);
// "writer 'x': failed_at_freeze (timed_out): ..."; the failed ones, joined with "; ".
std::string failed_writers_text(const std::vector<WriterReport>& reports);

// As JSON text: [{"name", "state", "state_number", "last_error", "reason", "document"}].
std::string encode_writer_reports(const std::vector<WriterReport>& reports);
// Unknown states are kUnknown; what is no such text is kDiffArea.
Result<std::vector<WriterReport>> decode_writer_reports(std::string_view text);

}  // namespace umbra
