// What the restore of a component would do, path by path, and whether it can: decided before
// anything is touched, changing nothing.
//
// Everything is reached by descriptors below the two roots; symbolic links are never followed. Runs
// with the identity of the process.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "restore/restore_job.h"
#include "restore/restore_plan.h"
#include "snapstore/attributes.h"
#include "snapstore/byte_range.h"
#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

struct PlanEntry {
    JobEntry entry;
    std::optional<Error> error;  // it cannot be done; kConflict always has one
    // Of the snapshot's object where it has more names than this; all zero otherwise.
    std::pair<dev_t, ino_t> link{};
    // This is one more name of what that entry (number + 1) brings back.
    std::uint32_t link_to = 0;
};

struct ComponentPlan {
    std::vector<PlanEntry> entries;  // a folder before what is in it
    std::uint64_t unchanged = 0;
    std::uint64_t bytes = 0;  // that will be written, at most
    // Why nothing of it may be touched; for methods that are all or nothing.
    std::optional<Error> obstacle;
};

// For paths (of the share, the same in snapshot and live tree): is the regular file there the one
// of the snapshot, and not written to since? As the index knows it, without reading the file.
using UntouchedQuestion = std::function<std::vector<bool>(const std::string& token,
                                                          const std::vector<std::string>& paths)>;
// Where may the regular file there, which must have this inode number, differ from what the
// snapshot has at its path? No value: anywhere.
using ChangedQuestion = std::function<KnownRanges(const std::string& token, const std::string& path,
                                                  std::uint64_t inode)>;

struct PlanOptions {
    MetadataScope scope;
    UntouchedQuestion untouched;  // empty: nobody knows
    ChangedQuestion changed;      // the same
    std::string token;            // to ask it of
    std::function<bool()> interrupted;
    // Called for what is equal already; it is not in the plan unless it is a folder.
    std::function<void(const JobEntry&)> on_unchanged;
};

class Planner {
   public:
    // Descriptors of folders, borrowed; target_root -1: a folder that does not exist yet.
    Planner(int source_root, int target_root, const ComponentSpec& spec, PlanOptions options)
        : source_root_(source_root),
          target_root_(target_root),
          spec_(spec),
          options_(std::move(options)) {}

    // EINTR where it was interrupted; kNotFound where the snapshot has no such path.
    Result<ComponentPlan> plan();

   private:
    struct Object {
        UniqueFd fd;  // O_PATH
        Attributes attributes;
    };
    struct Place {
        std::string source;
        std::string target;
        int source_folder = -1;
        int target_folder = -1;  // -1: it does not exist yet, or will not any more
        std::uint32_t within = 0;
        bool untouched = false;
    };

    bool lies_in_another(std::size_t i) const;
    Result<void> plan_path(const RestorePath& path);
    Result<void> plan_exact(const RestorePath& path);
    Result<bool> make_way(const RestorePath& path, std::uint32_t& within, UniqueFd& folder);
    Result<void> plan_object_at(const Place& place);
    Result<void> plan_folder(const Object& wanted, const std::optional<Object>& present,
                             const Place& place, bool clash);
    Result<void> plan_children(const Object& wanted, const Object* present, const Place& place,
                               std::uint32_t within);
    Result<void> plan_surplus(int target_folder, const std::string& target,
                              const std::vector<std::string>& wanted);
    Result<void> plan_leaf(const Object& wanted, const std::optional<Object>& present,
                           const Place& place);
    KnownRanges may_differ(const Object& wanted, const std::optional<Attributes>& present,
                           const Place& place) const;
    bool plan_link(const Object& wanted, const std::optional<Object>& present, const Place& place);
    Result<void> plan_removal(int folder, const std::string& path);
    Result<bool> goes_whole(int folder, const std::string& name, const std::string& path);

    static Result<Object> open_object(int folder, const std::string& name);
    static Result<std::optional<Object>> open_present(int folder, const std::string& name);
    std::vector<bool> ask_untouched(const std::string& source, const std::string& target,
                                    const std::vector<std::string>& names);

    bool excluded(const std::string& path) const;
    bool included(const std::string& path) const;
    std::optional<Error> in_the_way(const Object& present, const PlanEntry& planned) const;
    bool allowed(int folder, const std::string& target);
    std::uint32_t add(PlanEntry planned);
    void conflict(const Place& place, unsigned char type, Error why);
    Result<void> check_interrupted() const;

    int source_root_;
    int target_root_;
    const ComponentSpec& spec_;
    PlanOptions options_;
    ComponentPlan plan_;
    std::map<std::string, std::uint32_t> new_folders_;  // planned, and their number + 1
    std::set<std::string> whole_;  // paths that are planned with everything below them
    struct LinkGroup {
        std::uint32_t number = 0;  // of the entry, + 1; 0: it is live already
        std::string path;          // where it will be
        struct stat present {};    // as it is now; st_ino 0: it will be made
    };
    std::map<std::pair<dev_t, ino_t>, LinkGroup> links_;
    std::map<std::string, bool> writable_;  // folders
};

}  // namespace umbra
