// What a restore job is to do, and what has come of it: made again from its journal, record by
// record (docs/format.md, "Restore jobs"). The journal is never trusted: what is malformed, out of
// order or against the rules of statuses is refused.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "restore/restore_plan.h"
#include "restore/restore_status.h"
#include "snapstore/result.h"

namespace umbra {

enum class RestoreMethod : std::uint8_t {
    kMerge = 0,         // each file by itself: what fails is named, the rest goes on
    kReplace = 1,       // all or nothing
    kIfMissing = 2,     // all or nothing, and nothing if any of it is there
    kIfCanReplace = 3,  // all or nothing, and nothing if any of it is open anywhere
    kMirror = 4,        // all or nothing, and what the snapshot does not have goes
};

// "merge", "replace", "if-missing", "if-can-replace", "mirror".
const char* restore_method_name(RestoreMethod method);
std::optional<RestoreMethod> restore_method_of(std::string_view name);
inline bool all_or_nothing(RestoreMethod method) { return method != RestoreMethod::kMerge; }

struct RestorePath {
    std::string source;  // in the snapshot's root
    std::string target;  // in the target root
};

struct ComponentSpec {
    std::string name;
    RestoreMethod method = RestoreMethod::kMerge;
    std::vector<RestorePath> paths;
    // fnmatch patterns of paths in the component, or of names where they have no '/'.
    std::vector<std::string> include;
    std::vector<std::string> exclude;
    bool exact = false;         // these paths and nothing below them (an undo)
    bool in_place = false;      // only what differs is written, into the file as it is
    bool replace_open = false;  // also files that are open for writing
};

enum class JobKind : std::uint8_t { kRestore = 0, kRevert = 1, kUndo = 2 };
const char* job_kind_name(JobKind kind);

struct JobSpec {
    JobKind kind = JobKind::kRestore;
    std::string token;        // of the snapshot that is restored
    bool in_share = true;     // is the target root a folder of the share?
    std::string target_root;  // relative to the share, or absolute
    std::string undo_of;      // the job, of an undo
    std::vector<ComponentSpec> components;
};

// What an object is, whatever its name: survives a rename and a restart.
struct ObjectIdentity {
    std::uint64_t inode = 0;
    std::string handle;  // name_to_handle_at(2); empty where the filesystem has none
    bool known() const { return inode != 0; }
    bool operator==(const ObjectIdentity&) const = default;
};

// One path that a run changes, removes or could not restore.
struct JobEntry {
    std::string path;    // relative to the target root
    std::string source;  // in the snapshot's root
    RestoreAction action = RestoreAction::kUnchanged;
    unsigned char type = 0;  // DT_*
    std::uint64_t size = 0;
    std::uint32_t within = 0;  // of the same run: made or removed with that entry, number + 1
    bool in_place = false;
    bool on_the_way = false;  // a folder that was missing on the way
    ReportedStatus status;
    // Before the switch; `made` stands aside, `present` at its name. Known: it was staged.
    ObjectIdentity made;
    ObjectIdentity present;
    bool touched = false;  // contents or attributes are being changed in place
};

struct JobComponent {
    ComponentSpec spec;
    ReportedStatus status;
    std::uint32_t run = 0;          // the last run that began with it; entries are of that one
    bool cleaned = true;            // nothing of that run stands aside any more
    std::vector<JobEntry> entries;  // of the last run
    // Of earlier runs: what they changed.
    std::vector<JobEntry> earlier;

    bool finished() const { return status.status == RestoreStatus::kAll && status.run == run; }
};

struct JobRun {
    std::string before;  // token of the held snapshot of what was there; "": none
    bool ended = false;
};

struct RestoreJob {
    std::optional<JobSpec> spec;  // no value: it died before it began
    std::vector<JobRun> runs;
    std::vector<JobComponent> components;
    bool undone = false;

    // The run that goes on, 0 where none does.
    std::uint32_t running() const {
        return runs.empty() || runs.back().ended ? 0 : static_cast<std::uint32_t>(runs.size());
    }
    // Applies one record of the journal. kDiffArea where it cannot be one.
    Result<void> apply(std::string_view record);
};

Result<RestoreJob> read_job(const std::vector<std::string>& records);

// The records, as bytes.
namespace job_record {
std::string job(const JobSpec& spec);
// Those of a component, as many records as they need.
std::vector<std::string> paths(std::uint32_t component, const std::vector<RestorePath>& paths);
std::string run_begun(const std::string& before);
std::string component_begun(std::uint32_t component);
std::string entry(std::uint32_t component, const JobEntry& entry);
std::string staged(std::uint32_t component, std::uint32_t number, const JobEntry& entry);
std::string entry_status(std::uint32_t component, std::uint32_t number,
                         const ReportedStatus& status);
// Entries first..last that have no status in this run are ALL.
std::string entries_done(std::uint32_t component, std::uint32_t first, std::uint32_t last);
std::string component_status(std::uint32_t component, const ReportedStatus& status);
std::string cleaned(std::uint32_t component);
std::string run_ended();
std::string undone();
}  // namespace job_record

}  // namespace umbra
