// What a restore script acts upon: the shares of this machine, as the command line reaches them.
// Everything is done with the rights of who runs the script, and no others.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "restore/restore_job.h"
#include "restore/restore_status.h"
#include "snapstore/result.h"

namespace umbra {

struct ScriptShare {
    std::string root;  // where it is seen: its mount point
    std::string uuid;
};

struct ScriptSnapshot {
    ScriptShare share;
    std::string token;
    std::string label;
    std::string created;               // ISO 8601, UTC
    std::vector<std::string> writers;  // that took part, as far as that is known
    bool held = false;
    bool future = false;  // a script that is only checked would have made it
};

// Which writers take part.
struct ScriptWriters {
    bool none = false;
    std::vector<std::string> exclude;
};

struct ScriptWriter {
    ScriptShare share;
    std::string name;
    std::string state;
    std::string last_error;
};

// A line `restore` or `revert`.
struct ScriptRestore {
    JobKind kind = JobKind::kRestore;
    ScriptSnapshot snapshot;
    std::vector<std::string> paths;  // as written; one: the share's root, of a revert
    std::optional<std::string> to;
    ComponentSpec component;  // without paths
};

struct ScriptRestored {
    std::string job;  // "": it was simulated
    bool complete = false;
    bool interrupted = false;
    ReportedStatus status;  // of the component
};

struct ScriptExposure {
    ScriptSnapshot snapshot;  // share and token
    std::string mountpoint;
};

class ScriptHost {
   public:
    virtual ~ScriptHost() = default;

    // A share that is mounted, by any path in it, or by its volume's UUID. kNotFound where there is
    // none, kRefused where it is not mounted.
    virtual Result<ScriptShare> find_share(const std::string& path) = 0;
    virtual Result<ScriptShare> find_volume(const std::string& uuid) = 0;
    virtual Result<std::vector<ScriptShare>> shares() = 0;
    // The snapshot that SHARE/.snapshots/TOKEN is.
    virtual Result<ScriptSnapshot> find_snapshot(const std::string& path) = 0;
    // Oldest first.
    virtual Result<std::vector<ScriptSnapshot>> snapshots(const ScriptShare& share) = 0;

    // One of each share, or none at all: those that were made are deleted again.
    virtual Result<std::vector<ScriptSnapshot>> create(const std::vector<ScriptShare>& shares,
                                                       const ScriptWriters& writers) = 0;
    virtual Result<void> remove(const ScriptSnapshot& snapshot) = 0;

    virtual Result<std::vector<ScriptWriter>> writers(const ScriptShare& share) = 0;
    // The writers whose files these restores change, by name.
    virtual Result<std::vector<std::string>> involved(const std::vector<ScriptRestore>& restores,
                                                      const ScriptWriters& writers) = 0;
    // Pre-restore; until end_restores() these writers are not asked again. Where it fails, nothing
    // may be touched, and those that had been asked are told so.
    virtual Result<void> begin_restores(const std::vector<ScriptRestore>& restores,
                                        const ScriptWriters& writers) = 0;
    // Post-restore, with what became of the restores since. Nothing to do: nothing is done.
    virtual Result<void> end_restores() = 0;
    // A job; what is not restored is in the result, an error is one of the job itself.
    virtual Result<ScriptRestored> restore(const ScriptRestore& restore,
                                           const ScriptWriters& writers) = 0;
    // Shows what would be done.
    virtual Result<ScriptRestored> simulate(const ScriptRestore& restore) = 0;
    // Whether the paths, and the snapshot if it is there already, are of one share.
    virtual Result<void> check(const ScriptRestore& restore) = 0;

    virtual Result<std::vector<ScriptExposure>> exposures() = 0;
    virtual Result<void> check_mountpoint(const std::string& path) = 0;
    virtual Result<void> expose(const ScriptSnapshot& snapshot, const std::string& path) = 0;
    virtual Result<void> unexpose(const std::string& mountpoint) = 0;

    virtual Result<void> check_program(const std::string& file) = 0;
    // Waits for it. An error where it cannot be started or does not end with 0.
    virtual Result<void> exec(const std::vector<std::string>& command,
                              const std::vector<std::string>& environment) = 0;

    virtual bool interrupted() = 0;
    // A result, as text for people (may have many lines) or as an object for programs.
    virtual void say(const std::string& text, nlohmann::json event) = 0;
    virtual void note(const std::string& text) = 0;
};

}  // namespace umbra
