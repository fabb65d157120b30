// Every name that Umbra writes on disk is built and parsed here (docs/format.md, "Names").
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "snapstore/object_id.h"

namespace umbra {

inline constexpr const char* kControlDirectoryName = ".umbra";  // in SHARE; reachable for nobody
inline constexpr const char* kVolumeFileName = "volume.toml";   // in SHARE/.umbra
inline constexpr const char* kVolumeLockName = "lock";          // in SHARE/.umbra
inline constexpr const char* kOwnerFileName = "owner";          // in SHARE/.umbra
inline constexpr const char* kSequenceFileName = "sequence";    // in SHARE/.umbra
inline constexpr const char* kEventsFileName = "events.jsonl";  // in SHARE/.umbra
inline constexpr const char* kOlderEventsFileName = "events.1.jsonl";  // in SHARE/.umbra
inline constexpr const char* kWritersDirectoryName = "writers.d";      // in SHARE/.umbra
inline constexpr const char* kWriterSuffix = ".toml";                  // writers.d/NAME.toml
inline constexpr const char* kWriterReportsName = "last.json";         // in SHARE/.umbra/writers.d
inline constexpr const char* kLimboDirectoryName = "limbo";            // in SHARE/.umbra
inline constexpr const char* kDefaultDiffAreaName = "diff";            // in SHARE/.umbra
inline constexpr const char* kAreaFileName = "area.toml";              // in the diff area
inline constexpr const char* kLogDirectoryName = "log";                // in the diff area
inline constexpr const char* kIndexDirectoryName = "index";            // in the diff area
inline constexpr const char* kCatalogFileName = "catalog.ulog";        // in DIFF_AREA/log
inline constexpr const char* kReserveName = "reserve";  // in the diff area: set aside
inline constexpr const char* kRebuildMarkName =
    "rebuild-index";  // in the diff area: the next open makes the index anew
inline constexpr const char* kJobsDirectoryName = "jobs";  // in the diff area: restore jobs
inline constexpr const char* kJournalSuffix = ".journal";  // DIFF_AREA/jobs/JOB.journal
inline constexpr const char* kCleanMarkName = "clean";     // in the diff area: closed cleanly

// DIFF_AREA/log/EPOCH-SEQUENCE.ulog, both in hexadecimal with fixed width, so that names sort by
// age.
struct LogFileName {
    Epoch epoch = 0;
    std::uint64_t sequence = 0;
};
std::string format_log_file_name(const LogFileName& name);
std::optional<LogFileName> parse_log_file_name(std::string_view name);

// SHARE/.umbra/limbo/EPOCH/INODE-GENERATION, in hexadecimal; EPOCH is when the object lost its last
// name.
std::string format_limbo_directory_name(Epoch epoch);
std::optional<Epoch> parse_limbo_directory_name(std::string_view name);
// The id of a restore job, which is the name of its journal: YYYYMMDD-HHMMSS-xxxxxx.
bool is_job_id(std::string_view text);

std::string format_limbo_name(ObjectId object);
std::optional<ObjectId> parse_limbo_name(std::string_view name);

}  // namespace umbra
