// Restores files and folders of a snapshot to a place in the live tree or elsewhere.
//
// For each object: look at it in the snapshot and at its place, decide (restore/restore_plan.h),
// and if something is to be done, build it aside and put it in place in one step. Folders are
// merged: what the snapshot does not have stays. A run that is interrupted or killed leaves every
// file whole, either as it was or as restored.
//
// Everything is reached by descriptors below the two roots; symbolic links are never followed. Runs
// with the identity of the process: what that may not do is reported, and the rest goes on.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "restore/restore_plan.h"
#include "snapstore/attributes.h"
#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

// One object that was looked at. `error`: it could not be restored (kConflict always has one).
struct RestoredObject {
    RestoreAction action = RestoreAction::kUnchanged;
    std::string path;        // relative to the target root; "" is that itself
    unsigned char type = 0;  // DT_*
    std::uint64_t size = 0;  // of regular files
    std::optional<Error> error;
};

struct RestoreOptions {
    bool dry_run = false;
    MetadataScope scope;
    std::function<bool()> interrupted;  // empty: never
    std::function<void(const RestoredObject&)>
        on_object;  // a folder comes after what is in it; empty: nobody asks
};

struct RestoreSummary {
    std::uint64_t changed =
        0;  // created, replaced or given their metadata (or would be, in a dry run)
    std::uint64_t unchanged = 0;
    std::uint64_t failed = 0;
    std::uint64_t owners_left = 0;  // restored, but their owner could not be set
    std::uint64_t extended_left =
        0;  // restored, but not all their extended attributes could be set
    bool interrupted = false;
};

// Hard links are kept among everything that one Restorer restores to one target root. Not
// thread-safe.
class Restorer {
   public:
    // Both are descriptors of folders, borrowed: a snapshot's root, and where its paths are to
    // appear (-1 in a dry run into a folder that does not exist).
    Restorer(int source_root, int target_root, RestoreOptions options)
        : source_root_(source_root), target_root_(target_root), options_(std::move(options)) {}

    // Restores the object at `source` ("" is the root itself) to `target`. Folders missing on the
    // way to the target are made, as the snapshot has those on the way to the source if the paths
    // are equal. kNotFound when the snapshot has no such object; failures of single objects are in
    // the summary.
    Result<void> restore(const std::string& source, const std::string& target);

    const RestoreSummary& summary() const { return summary_; }

   private:
    struct Object {
        UniqueFd fd;  // O_PATH
        Attributes attributes;
    };
    // Where an object goes: a name in an open folder.
    struct Place {
        int folder = -1;  // -1 in a dry run whose folder does not exist yet
        std::string name;
        std::string path;
    };
    struct LinkGroup {
        std::string path;       // of the member restored first
        struct stat status {};  // of that, as it is now; st_ino 0 in a dry run that would make it
        std::uint64_t remaining = 0;
    };
    using LinkKey = std::pair<dev_t, ino_t>;

    static Result<Object> open_object(int folder, const std::string& name);
    static Result<std::optional<Object>> open_present(const Place& place);

    Result<void> restore_along(const std::string& source, const std::string& target);
    // What to open children of `target` in; made when missing.
    Result<UniqueFd> enter_parents(const std::string& source, const std::string& target,
                                   Place& place);
    Result<UniqueFd> enter_parent(int source, int target, const std::string& name, bool same_paths);

    void restore_object(int source_folder, const std::string& source_name, const Place& place);
    Result<RestoreAction> restore_any(const Object& wanted, const Place& place);
    Result<RestoreAction> restore_folder(const Object& wanted, const std::optional<Object>& present,
                                         const Place& place);
    Result<void> restore_children(const Object& wanted, int target, const std::string& path);
    Result<RestoreAction> restore_leaf(const Object& wanted, const std::optional<Object>& present,
                                       const Place& place);
    Result<std::optional<RestoreAction>> restore_as_link(const Object& wanted,
                                                         const std::optional<Object>& present,
                                                         const Place& place);
    Result<void> make_leaf(const Object& wanted, const Place& place, bool replace);
    void remember_link(const Object& wanted, const Place& place, RestoreAction action);

    Result<void> give_metadata(int object, const Attributes& wanted, const Attributes& present);
    Result<void> finish_folder(const Object& wanted, int folder);
    bool interrupted();
    void count(const RestoredObject& object);

    int source_root_;
    int target_root_;
    RestoreOptions options_;
    RestoreSummary summary_;
    std::map<LinkKey, LinkGroup> links_;
};

}  // namespace umbra
