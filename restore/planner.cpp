#include "restore/planner.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <fnmatch.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>

#include "restore/beneath.h"
#include "restore/is_open.h"
#include "restore/path_names.h"
#include "snapstore/proc_path.h"

namespace umbra {

namespace {

constexpr int kFolderFlags = O_RDONLY | O_DIRECTORY;
constexpr std::size_t kAskAtOnce = 200;

bool is_folder(const Attributes& attributes) { return S_ISDIR(attributes.status.st_mode); }

unsigned char type_of(const Attributes& attributes) {
    return static_cast<unsigned char>(IFTODT(attributes.status.st_mode));
}

std::uint64_t size_of(const Attributes& attributes) {
    return S_ISREG(attributes.status.st_mode)
               ? static_cast<std::uint64_t>(attributes.status.st_size)
               : 0;
}

// What its data takes on disk; holes take nothing.
std::uint64_t data_of(const struct stat& status) {
    if (!S_ISREG(status.st_mode)) return 0;
    return std::min(static_cast<std::uint64_t>(status.st_size),
                    static_cast<std::uint64_t>(status.st_blocks) * 512);
}

bool matches(const std::string& pattern, const std::string& path) {
    const bool whole = pattern.find('/') != std::string::npos;
    return ::fnmatch(pattern.c_str(), (whole ? path : name_of(path)).c_str(),
                     whole ? FNM_PATHNAME : 0) == 0;
}

bool is_immutable(int object) {
    const UniqueFd file(::open(ProcPath(object).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!file.valid()) return false;
    int flags = 0;
    return ::ioctl(file.get(), FS_IOC_GETFLAGS, &flags) == 0 &&
           (flags & (FS_IMMUTABLE_FL | FS_APPEND_FL)) != 0;
}

Error told(int code, std::string sentence) {
    return Error{code, ErrorKind::kSystem, std::move(sentence)};
}

bool missing(const Error& error) {
    return error.code == ENOENT || error.code == ENOTDIR || error.code == ELOOP;
}

}  // namespace

Result<Planner::Object> Planner::open_object(int folder, const std::string& name) {
    Object object;
    UMBRA_ASSIGN(object.fd, open_far_beneath(folder, name, O_PATH));
    UMBRA_ASSIGN(object.attributes, read_attributes(object.fd.get()));
    return object;
}

Result<std::optional<Planner::Object>> Planner::open_present(int folder, const std::string& name) {
    if (folder < 0) return std::optional<Object>{};
    auto object = open_object(folder, name);
    if (object) return std::optional<Object>{std::move(*object)};
    if (object.error().code == ENOENT) return std::optional<Object>{};
    return forward_error(object);
}

Result<void> Planner::check_interrupted() const {
    if (options_.interrupted && options_.interrupted()) return errno_error(EINTR, "stopped");
    return {};
}

bool Planner::excluded(const std::string& path) const {
    return std::any_of(spec_.exclude.begin(), spec_.exclude.end(),
                       [&](const auto& pattern) { return matches(pattern, path); });
}

bool Planner::included(const std::string& path) const {
    return spec_.include.empty() ||
           std::any_of(spec_.include.begin(), spec_.include.end(),
                       [&](const auto& pattern) { return matches(pattern, path); });
}

std::uint32_t Planner::add(PlanEntry planned) {
    if (planned.error && !plan_.obstacle && all_or_nothing(spec_.method)) {
        plan_.obstacle = planned.error;
        plan_.obstacle->message =
            fmt::format("'{}': {}", planned.entry.path, planned.error->text());
    }
    const RestoreAction action = planned.entry.action;
    if (!planned.error && !planned.entry.in_place && planned.link_to == 0 &&
        (action == RestoreAction::kCreate || action == RestoreAction::kReplace)) {
        plan_.bytes += planned.entry.size;
    }
    plan_.entries.push_back(std::move(planned));
    return static_cast<std::uint32_t>(plan_.entries.size());
}

void Planner::conflict(const Place& place, unsigned char type, Error why) {
    PlanEntry planned;
    planned.entry.path = place.target;
    planned.entry.source = place.source;
    planned.entry.type = type;
    planned.entry.action = RestoreAction::kConflict;
    planned.error = std::move(why);
    add(std::move(planned));
}

// Is it restored with another of the paths anyway?
bool Planner::lies_in_another(std::size_t i) const {
    const RestorePath& path = spec_.paths[i];
    for (std::size_t j = 0; j < spec_.paths.size(); ++j) {
        const RestorePath& other = spec_.paths[j];
        if (i == j || !is_at_or_below(path.source, other.source) ||
            !is_at_or_below(path.target, other.target))
            continue;
        const bool same = path.source == other.source && path.target == other.target;
        if (same ? j < i
                 : path.source.substr(other.source.size()) ==
                       path.target.substr(other.target.size()))
            return true;
    }
    return false;
}

Result<ComponentPlan> Planner::plan() {
    for (std::size_t i = 0; i < spec_.paths.size(); ++i) {
        if (spec_.exact) {
            UMBRA_TRY(plan_exact(spec_.paths[i]));
        } else if (!lies_in_another(i)) {
            UMBRA_TRY(plan_path(spec_.paths[i]));
        }
    }
    if (target_root_ >= 0 && plan_.bytes > 0) {
        struct statvfs space {};
        if (::fstatvfs(target_root_, &space) == 0 &&
            plan_.bytes / space.f_frsize > space.f_bavail) {
            plan_.obstacle =
                told(ENOSPC, fmt::format("{} bytes are to be written, and there is room for {}",
                                         plan_.bytes, space.f_bavail * space.f_frsize));
        }
    }
    return std::move(plan_);
}

// --- the way to a path --------------------------------------------------------------------------

// Opens the folder that the target lies in, or plans those that are missing. False: it cannot be
// entered, and that is in the plan.
Result<bool> Planner::make_way(const RestorePath& path, std::uint32_t& within, UniqueFd& folder) {
    std::vector<std::string> names = split_path(path.target);
    if (!names.empty()) names.pop_back();
    if (target_root_ >= 0) {
        UMBRA_ASSIGN(folder, open_beneath(target_root_, "", kFolderFlags));
    }
    std::string at;
    for (const auto& name : names) {
        const int parent = folder.get();
        at = join_path(at, name);
        if (const auto known = new_folders_.find(at); known != new_folders_.end()) {
            within = known->second;
            folder.reset();
            continue;
        }
        auto entered = parent < 0 ? Result<UniqueFd>(errno_only(ENOENT))
                                  : open_beneath(parent, name, kFolderFlags);
        if (entered) {
            folder = std::move(*entered);
            continue;
        }
        if (entered.error().code != ENOENT) {
            conflict(
                {path.source, path.target}, DT_UNKNOWN,
                told(entered.error().code, fmt::format("cannot enter '{}' on the way to it: {}",
                                                       name, entered.error().text())));
            return false;
        }
        PlanEntry planned;
        planned.entry.path = at;
        planned.entry.source = path.source == path.target ? at : "";
        planned.entry.type = DT_DIR;
        planned.entry.action = RestoreAction::kCreate;
        planned.entry.within = within;
        planned.entry.on_the_way = true;
        const bool first = within == 0;
        if (first && parent >= 0 && !allowed(parent, parent_of(at)))
            planned.error = told(EACCES, "you may not write to the folder it is to lie in");
        const bool possible = !planned.error;
        within = add(std::move(planned));
        if (!possible && !all_or_nothing(spec_.method)) {
            conflict({path.source, path.target}, DT_UNKNOWN,
                     told(EACCES, "a folder on the way to it cannot be made"));
            return false;
        }
        new_folders_[at] = within;
        folder.reset();
    }
    return true;
}

Result<void> Planner::plan_path(const RestorePath& path) {
    const auto wanted = open_far_beneath(source_root_, path.source, O_PATH);
    if (!wanted && missing(wanted.error()))
        return error_of(ErrorKind::kNotFound, ENOENT,
                        fmt::format("'{}' is not in the snapshot{}", path.source,
                                    wanted.error().code == ELOOP
                                        ? ": a folder on the way is a symbolic link there"
                                        : ""));
    if (!wanted)
        return tl::make_unexpected(Error{wanted.error().code, wanted.error().kind,
                                         fmt::format("cannot look up '{}' in the snapshot: {}",
                                                     path.source, wanted.error().text())});
    Place place{path.source, path.target};
    UniqueFd folder;
    UMBRA_ASSIGN(const bool entered, make_way(path, place.within, folder));
    if (!entered) return {};
    UniqueFd source_folder;
    UMBRA_ASSIGN(source_folder,
                 open_far_beneath(source_root_, parent_of(path.source), O_PATH | O_DIRECTORY));
    place.source_folder = source_folder.get();
    place.target_folder = folder.get();
    const auto known =
        ask_untouched(parent_of(path.source), parent_of(path.target), {name_of(path.target)});
    place.untouched = known.front();
    return plan_object_at(place);
}

// One path and nothing below it: as the snapshot has it, also where it has none.
Result<void> Planner::plan_exact(const RestorePath& path) {
    UMBRA_TRY(check_interrupted());
    for (std::string at = path.target; !at.empty(); at = parent_of(at)) {
        if (whole_.count(at) != 0) return {};
    }
    const auto wanted = open_far_beneath(source_root_, path.source, O_PATH);
    if (!wanted && !missing(wanted.error())) return tl::make_unexpected(wanted.error());
    if (wanted) return plan_path(path);
    auto folder = open_far_beneath(target_root_, parent_of(path.target), kFolderFlags);
    if (!folder && missing(folder.error())) return {};
    if (!folder) return forward_error(folder);
    struct stat status {};
    if (::fstatat(folder->get(), name_of(path.target).c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0)
        return {};
    return plan_removal(folder->get(), path.target);
}

// --- what the snapshot has ----------------------------------------------------------------------

Result<void> Planner::plan_object_at(const Place& place) {
    UMBRA_TRY(check_interrupted());
    if (place.target != "" && excluded(place.target)) return {};
    auto wanted = open_object(place.source_folder, name_of(place.source));
    if (!wanted) {
        conflict(
            place, DT_UNKNOWN,
            told(wanted.error().code, "cannot read it in the snapshot: " + wanted.error().text()));
        return {};
    }
    if (!is_folder(wanted->attributes) && !included(place.target)) return {};
    auto present = open_present(place.target_folder, name_of(place.target));
    if (!present) {
        conflict(place, type_of(wanted->attributes),
                 told(present.error().code, "cannot look at it: " + present.error().text()));
        return {};
    }
    const bool clash =
        *present && is_folder(wanted->attributes) != is_folder((*present)->attributes);
    if (clash && spec_.method != RestoreMethod::kMirror) {
        conflict(place, type_of(wanted->attributes),
                 told(EEXIST, is_folder(wanted->attributes)
                                  ? "something that is not a folder has its name: move that away"
                                  : "a folder has its name: move that away"));
        return {};
    }
    if (is_folder(wanted->attributes)) return plan_folder(*wanted, *present, place, clash);
    return plan_leaf(*wanted, *present, place);
}

Result<void> Planner::plan_folder(const Object& wanted, const std::optional<Object>& present,
                                  const Place& place, bool clash) {
    PlanEntry planned;
    planned.entry.path = place.target;
    planned.entry.source = place.source;
    planned.entry.type = DT_DIR;
    planned.entry.within = place.within;
    const bool enters = present && !clash;
    if (!enters) {
        planned.entry.action = clash ? RestoreAction::kReplace : RestoreAction::kCreate;
        if (place.within == 0 && place.target_folder >= 0 &&
            !allowed(place.target_folder, parent_of(place.target)))
            planned.error = told(EACCES, "you may not write to the folder it lies in");
    } else {
        const bool same = spec_.method == RestoreMethod::kIfMissing ||
                          same_metadata(wanted.attributes, present->attributes, options_.scope);
        planned.entry.action = same ? RestoreAction::kUnchanged : RestoreAction::kMetadata;
    }
    const std::uint32_t number = add(std::move(planned));
    const std::uint32_t within = enters ? 0 : number;
    if (!enters) new_folders_[place.target] = number;
    // What has gone as a whole comes back as a whole.
    if (spec_.exact && !enters) whole_.insert(place.target);
    if (!spec_.exact || !enters) {
        auto children = plan_children(wanted, enters ? &*present : nullptr, place, within);
        if (!children && children.error().code == EINTR) return children;
        if (!children) {
            // The folder is there, what is in it cannot be listed.
            PlanEntry& folder = plan_.entries[number - 1];
            folder.entry.action = RestoreAction::kConflict;
            folder.error = children.error();
            if (all_or_nothing(spec_.method) && !plan_.obstacle) plan_.obstacle = children.error();
        }
    }
    // Only what leads to something included is made or changed.
    if (!spec_.include.empty() && !included(place.target) && plan_.entries.size() == number) {
        plan_.entries.pop_back();
        new_folders_.erase(place.target);
        return {};
    }
    const PlanEntry& folder = plan_.entries[number - 1];
    if (folder.entry.action == RestoreAction::kUnchanged) {
        ++plan_.unchanged;
        if (options_.on_unchanged) options_.on_unchanged(folder.entry);
    }
    return {};
}

std::vector<bool> Planner::ask_untouched(const std::string& source, const std::string& target,
                                         const std::vector<std::string>& names) {
    std::vector<bool> known;
    if (!options_.untouched || source != target) {
        known.resize(names.size());
        return known;
    }
    for (std::size_t begin = 0; begin < names.size(); begin += kAskAtOnce) {
        std::vector<std::string> paths;
        for (std::size_t i = begin; i < std::min(begin + kAskAtOnce, names.size()); ++i)
            paths.push_back(join_path(source, names[i]));
        std::vector<bool> answered = options_.untouched(options_.token, paths);
        answered.resize(paths.size());
        known.insert(known.end(), answered.begin(), answered.end());
    }
    return known;
}

Result<void> Planner::plan_children(const Object& wanted, const Object* present, const Place& place,
                                    std::uint32_t within) {
    UMBRA_ASSIGN(const UniqueFd source, open_beneath(wanted.fd.get(), "", kFolderFlags));
    UMBRA_ASSIGN(std::vector<std::string> names, list_names(source.get()));
    std::erase_if(names, [](const auto& name) { return is_aside_name(name); });
    UniqueFd target;
    if (present != nullptr) {
        UMBRA_ASSIGN(target, open_beneath(present->fd.get(), "", kFolderFlags));
    }
    std::vector<bool> untouched(names.size());
    if (target.valid()) untouched = ask_untouched(place.source, place.target, names);
    for (std::size_t i = 0; i < names.size(); ++i) {
        UMBRA_TRY(
            plan_object_at({join_path(place.source, names[i]), join_path(place.target, names[i]),
                            source.get(), target.get(), within, untouched[i]}));
    }
    if (spec_.method != RestoreMethod::kMirror || !target.valid()) return {};
    return plan_surplus(target.get(), place.target, names);
}

// What the index knows of contents that would have to be read. Of small files it is not asked: that
// takes as long as reading them.
KnownRanges Planner::may_differ(const Object& wanted, const std::optional<Attributes>& present,
                                const Place& place) const {
    constexpr off_t kWorthAsking = 1 << 20;
    const struct stat& status = wanted.attributes.status;
    if (place.untouched && S_ISREG(status.st_mode)) return std::vector<ByteRange>{};
    const bool worth = present && S_ISREG(status.st_mode) && status.st_size >= kWorthAsking &&
                       present->status.st_size == status.st_size;
    if (!worth || !options_.changed || place.source != place.target) return std::nullopt;
    return options_.changed(options_.token, place.source, present->status.st_ino);
}

Result<void> Planner::plan_leaf(const Object& wanted, const std::optional<Object>& present,
                                const Place& place) {
    if (plan_link(wanted, present, place)) return {};
    std::optional<Attributes> present_attributes;
    if (present) present_attributes = present->attributes;
    PlanEntry planned;
    planned.entry.path = place.target;
    planned.entry.source = place.source;
    planned.entry.type = type_of(wanted.attributes);
    planned.entry.size = size_of(wanted.attributes);
    planned.entry.within = place.within;
    auto action = present && is_folder(present->attributes)
                      ? Result<RestoreAction>(RestoreAction::kReplace)  // a mirror
                      : plan_object(wanted.fd.get(), wanted.attributes,
                                    present ? present->fd.get() : -1, present_attributes,
                                    options_.scope, may_differ(wanted, present_attributes, place));
    if (!action) {
        planned.entry.action = RestoreAction::kConflict;
        planned.error = action.error();
        add(std::move(planned));
        return {};
    }
    planned.entry.action = *action;
    const struct stat& status = wanted.attributes.status;
    // What has more names now than it had: its other names must not change with it.
    if (planned.entry.action == RestoreAction::kMetadata &&
        present->attributes.status.st_nlink > status.st_nlink) {
        planned.entry.action = RestoreAction::kReplace;
    }
    if (spec_.in_place && planned.entry.action == RestoreAction::kReplace &&
        S_ISREG(status.st_mode) && S_ISREG(present->attributes.status.st_mode)) {
        planned.entry.in_place = true;
    }
    const bool makes = planned.entry.action == RestoreAction::kCreate ||
                       planned.entry.action == RestoreAction::kReplace;
    if (makes && !planned.entry.in_place && place.within == 0 && place.target_folder >= 0 &&
        !allowed(place.target_folder, parent_of(place.target))) {
        planned.error = told(EACCES, "you may not write to the folder it lies in");
    }
    if (present && spec_.method == RestoreMethod::kIfMissing)
        planned.entry.action = RestoreAction::kConflict;
    if (!planned.error && present && planned.entry.action != RestoreAction::kUnchanged)
        planned.error = in_the_way(*present, planned);
    const std::uint64_t data = data_of(status);
    LinkGroup group{0, place.target, {}};
    if (present && (!makes || planned.entry.in_place)) group.present = present->attributes.status;
    const bool possible = !planned.error;
    if (planned.entry.action == RestoreAction::kUnchanged) {
        ++plan_.unchanged;
        if (options_.on_unchanged) options_.on_unchanged(planned.entry);
    } else {
        const bool counts = makes && !planned.entry.in_place && !planned.error;
        group.number = add(std::move(planned));
        if (counts) plan_.bytes -= size_of(wanted.attributes) - data;
    }
    if (status.st_nlink > 1 && possible) links_[{status.st_dev, status.st_ino}] = group;
    return {};
}

// True where it is one more name of something that was planned before.
bool Planner::plan_link(const Object& wanted, const std::optional<Object>& present,
                        const Place& place) {
    const struct stat& status = wanted.attributes.status;
    if (status.st_nlink < 2) return false;
    const auto known = links_.find({status.st_dev, status.st_ino});
    if (known == links_.end()) return false;
    const LinkGroup& group = known->second;
    PlanEntry planned;
    planned.entry.path = place.target;
    planned.entry.source = place.source;
    planned.entry.type = type_of(wanted.attributes);
    planned.entry.size = size_of(wanted.attributes);
    planned.entry.within = place.within;
    planned.link = known->first;
    planned.link_to = group.number;
    if (present && group.present.st_ino != 0 &&
        present->attributes.status.st_ino == group.present.st_ino &&
        present->attributes.status.st_dev == group.present.st_dev) {
        ++plan_.unchanged;
        planned.entry.action = RestoreAction::kUnchanged;
        if (options_.on_unchanged) options_.on_unchanged(planned.entry);
        return true;
    }
    planned.entry.action = present ? RestoreAction::kReplace : RestoreAction::kCreate;
    // With no entry of its own: what it is a name of is live, at that path.
    if (group.number == 0) {
        PlanEntry leader;
        leader.entry.path = group.path;
        leader.entry.source = place.source;
        leader.entry.type = planned.entry.type;
        leader.entry.action = RestoreAction::kUnchanged;
        planned.link_to = add(std::move(leader));
        known->second.number = planned.link_to;
    }
    if (place.within == 0 && place.target_folder >= 0 &&
        !allowed(place.target_folder, parent_of(place.target)))
        planned.error = told(EACCES, "you may not write to the folder it lies in");
    if (!planned.error && present) planned.error = in_the_way(*present, planned);
    add(std::move(planned));
    return true;
}

// --- what the snapshot does not have ------------------------------------------------------------

Result<void> Planner::plan_surplus(int target_folder, const std::string& target,
                                   const std::vector<std::string>& wanted) {
    UMBRA_ASSIGN(const std::vector<std::string> names, list_names(target_folder));
    for (const auto& name : names) {
        if (is_aside_name(name) || std::binary_search(wanted.begin(), wanted.end(), name)) continue;
        UMBRA_TRY(plan_removal(target_folder, join_path(target, name)));
    }
    return {};
}

// May all of it go, so that one rename takes it away?
Result<bool> Planner::goes_whole(int folder, const std::string& name, const std::string& path) {
    if (excluded(path)) return false;
    const auto listed = [&] {
        return std::any_of(spec_.paths.begin(), spec_.paths.end(),
                           [&](const auto& one) { return one.target == path; });
    };
    if (spec_.exact && !listed()) return false;
    UMBRA_ASSIGN(const std::optional<Object> present, open_present(folder, name));
    if (!present) return true;
    if (!is_folder(present->attributes)) return included(path);
    if (!spec_.include.empty()) return false;
    if (!spec_.exact && spec_.exclude.empty()) return true;
    UMBRA_ASSIGN(const UniqueFd own, open_beneath(present->fd.get(), "", kFolderFlags));
    UMBRA_ASSIGN(const std::vector<std::string> names, list_names(own.get()));
    for (const auto& child : names) {
        UMBRA_ASSIGN(const bool whole, goes_whole(own.get(), child, join_path(path, child)));
        if (!whole) return false;
    }
    return true;
}

Result<void> Planner::plan_removal(int folder, const std::string& path) {
    UMBRA_TRY(check_interrupted());
    if (excluded(path)) return {};
    UMBRA_ASSIGN(const std::optional<Object> present, open_present(folder, name_of(path)));
    if (!present) return {};
    UMBRA_ASSIGN(const bool whole, goes_whole(folder, name_of(path), path));
    if (!whole) {
        if (!is_folder(present->attributes) || spec_.exact) return {};
        UMBRA_ASSIGN(const UniqueFd own, open_beneath(present->fd.get(), "", kFolderFlags));
        return plan_surplus(own.get(), path, {});
    }
    PlanEntry planned;
    planned.entry.path = path;
    planned.entry.type = type_of(present->attributes);
    planned.entry.size = size_of(present->attributes);
    planned.entry.action = RestoreAction::kRemove;
    whole_.insert(path);
    if (!allowed(folder, parent_of(path)))
        planned.error = told(EACCES, "you may not write to the folder it lies in");
    if (!planned.error) planned.error = in_the_way(*present, planned);
    add(std::move(planned));
    return {};
}

// --- what can be known beforehand ---------------------------------------------------------------

bool Planner::allowed(int folder, const std::string& target) {
    const auto known = writable_.find(target);
    if (known != writable_.end()) return known->second;
    const bool may = ::faccessat(AT_FDCWD, ProcPath(folder).c_str(), W_OK | X_OK, AT_EACCESS) == 0;
    return writable_[target] = may;
}

std::optional<Error> Planner::in_the_way(const Object& present, const PlanEntry& planned) const {
    if (spec_.method == RestoreMethod::kIfMissing)
        return told(EEXIST, "it is there already, and only what is missing is asked for");
    if (!S_ISREG(present.attributes.status.st_mode)) return std::nullopt;
    if (is_immutable(present.fd.get()))
        return told(EPERM, "it is marked immutable or append-only: 'chattr -i -a' takes that away");
    if (planned.entry.action == RestoreAction::kMetadata || spec_.replace_open) return std::nullopt;
    const bool at_all = spec_.method == RestoreMethod::kIfCanReplace;
    if (is_open_elsewhere(present.fd.get(), at_all))
        return told(EBUSY, at_all ? "a program has it open ('fuser' names it)"
                                  : "a program has it open for writing ('fuser' names it)");
    return std::nullopt;
}

}  // namespace umbra
