#include "restore/restore_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <vector>

#include "restore/apply_metadata.h"
#include "restore/beneath.h"
#include "restore/contents.h"
#include "restore/temporary_object.h"
#include "snapstore/proc_path.h"

namespace umbra {

namespace {

constexpr mode_t kPrivateFolder = 0700;
constexpr int kFolderFlags = O_RDONLY | O_DIRECTORY;

std::string join(const std::string& folder, const std::string& name) {
    return folder.empty() ? name : folder + "/" + name;
}

std::vector<std::string> split(const std::string& path) {
    std::vector<std::string> names;
    for (std::size_t begin = 0; begin < path.size();) {
        const std::size_t end = std::min(path.find('/', begin), path.size());
        if (end > begin) names.push_back(path.substr(begin, end - begin));
        begin = end + 1;
    }
    return names;
}

bool is_folder(const Attributes& attributes) { return S_ISDIR(attributes.status.st_mode); }

bool changes(RestoreAction action) {
    return action == RestoreAction::kCreate || action == RestoreAction::kReplace ||
           action == RestoreAction::kMetadata;
}

Result<UniqueFd> make_folder(int parent, const std::string& name) {
    if (::mkdirat(parent, name.c_str(), kPrivateFolder) != 0)
        return errno_error(errno, "cannot create the folder");
    return open_beneath(parent, name, kFolderFlags);
}

}  // namespace

Result<Restorer::Object> Restorer::open_object(int folder, const std::string& name) {
    Object object;
    UMBRA_ASSIGN(object.fd, open_beneath(folder, name, O_PATH));
    UMBRA_ASSIGN(object.attributes, read_attributes(object.fd.get()));
    return object;
}

Result<std::optional<Restorer::Object>> Restorer::open_present(const Place& place) {
    if (place.folder < 0) return std::optional<Object>{};
    auto object = open_object(place.folder, place.name);
    if (object) return std::optional<Object>{std::move(*object)};
    if (object.error().code == ENOENT) return std::optional<Object>{};
    return forward_error(object);
}

bool Restorer::interrupted() {
    if (!summary_.interrupted && options_.interrupted && options_.interrupted())
        summary_.interrupted = true;
    return summary_.interrupted;
}

void Restorer::count(const RestoredObject& object) {
    if (object.error) {
        ++summary_.failed;
    } else if (changes(object.action)) {
        ++summary_.changed;
    } else {
        ++summary_.unchanged;
    }
    if (options_.on_object) options_.on_object(object);
}

Result<void> Restorer::restore(const std::string& source, const std::string& target) {
    const auto wanted = open_beneath(source_root_, source, O_PATH);
    if (!wanted && (wanted.error().code == ENOENT || wanted.error().code == ENOTDIR)) {
        return error_of(ErrorKind::kNotFound, ENOENT,
                        fmt::format("'{}' is not in the snapshot", source));
    }
    // ELOOP: a folder on the way was a symbolic link then.
    if (!wanted && wanted.error().code == ELOOP) {
        return error_of(
            ErrorKind::kNotFound, ELOOP,
            fmt::format("'{}' is not in the snapshot: a folder on the way is a symbolic link there",
                        source));
    }
    if (!wanted)
        return tl::make_unexpected(Error{
            wanted.error().code, wanted.error().kind,
            fmt::format("cannot look up '{}' in the snapshot: {}", source, wanted.error().text())});
    return restore_along(source, target);
}

Result<void> Restorer::restore_along(const std::string& source, const std::string& target) {
    Place place;
    auto folder = enter_parents(source, target, place);
    if (!folder) {
        count({RestoreAction::kConflict, target, DT_UNKNOWN, 0, folder.error()});
        return {};
    }
    restore_object(source_root_, source, place);
    if (!options_.dry_run && folder->valid()) ::fsync(folder->get());
    return {};
}

Result<UniqueFd> Restorer::enter_parents(const std::string& source, const std::string& target,
                                         Place& place) {
    std::vector<std::string> names = split(target);
    place.path = target;
    place.name = names.empty() ? "" : names.back();
    if (!names.empty()) names.pop_back();
    if (target_root_ < 0 && options_.dry_run) return UniqueFd();
    UMBRA_ASSIGN(UniqueFd folder, open_beneath(target_root_, "", kFolderFlags));
    UMBRA_ASSIGN(UniqueFd source_folder, open_beneath(source_root_, "", O_PATH | O_DIRECTORY));
    for (const auto& name : names) {
        UMBRA_ASSIGN(folder,
                     enter_parent(source_folder.get(), folder.get(), name, source == target));
        if (source == target) {
            UMBRA_ASSIGN(source_folder,
                         open_beneath(source_folder.get(), name, O_PATH | O_DIRECTORY));
        }
        if (!folder.valid()) return UniqueFd();  // a dry run that would make it
    }
    place.folder = folder.get();
    return folder;
}

Result<UniqueFd> Restorer::enter_parent(int source, int target, const std::string& name,
                                        bool same_paths) {
    auto folder = open_beneath(target, name, kFolderFlags);
    if (folder) return folder;
    if (folder.error().code != ENOENT) {
        return errno_error(folder.error().code,
                           fmt::format("cannot enter '{}' on the way to it", name));
    }
    if (options_.dry_run) return UniqueFd();
    UMBRA_ASSIGN(UniqueFd made, make_folder(target, name));
    if (same_paths) {
        UMBRA_ASSIGN(const Object wanted, open_object(source, name));
        UMBRA_ASSIGN(const Attributes present, read_attributes(made.get()));
        UMBRA_TRY(give_metadata(made.get(), wanted.attributes, present));
    } else {
        ::fchmod(made.get(), 0755);
    }
    ::fsync(target);
    return made;
}

void Restorer::restore_object(int source_folder, const std::string& source_name,
                              const Place& place) {
    if (interrupted()) return;
    RestoredObject done;
    done.path = place.path;
    auto wanted = open_object(source_folder, source_name);
    if (!wanted) {
        done.error = Error{wanted.error().code, wanted.error().kind,
                           "cannot read it in the snapshot: " + wanted.error().text()};
        count(done);
        return;
    }
    const struct stat& status = wanted->attributes.status;
    done.type = IFTODT(status.st_mode);
    if (S_ISREG(status.st_mode)) done.size = static_cast<std::uint64_t>(status.st_size);
    auto action = restore_any(*wanted, place);
    if (!action && action.error().code == EINTR && interrupted()) return;
    if (!action) {
        done.error = action.error();
        count(done);
        return;
    }
    done.action = *action;
    if (*action == RestoreAction::kConflict) {
        done.error = Error{EEXIST, ErrorKind::kSystem,
                           is_folder(wanted->attributes)
                               ? "something that is not a folder has its name: move that away"
                               : "a folder has its name: move that away"};
    }
    count(done);
}

Result<RestoreAction> Restorer::restore_any(const Object& wanted, const Place& place) {
    UMBRA_ASSIGN(const std::optional<Object> present, open_present(place));
    if (!is_folder(wanted.attributes)) return restore_leaf(wanted, present, place);
    if (present && !is_folder(present->attributes)) return RestoreAction::kConflict;
    return restore_folder(wanted, present, place);
}

// --- folders
// ------------------------------------------------------------------------------------------

Result<RestoreAction> Restorer::restore_folder(const Object& wanted,
                                               const std::optional<Object>& present,
                                               const Place& place) {
    RestoreAction action = RestoreAction::kCreate;
    if (present) {
        const bool same = same_metadata(wanted.attributes, present->attributes, options_.scope);
        action = same ? RestoreAction::kUnchanged : RestoreAction::kMetadata;
    }
    UniqueFd folder;
    if (present) {
        UMBRA_ASSIGN(folder, open_beneath(present->fd.get(), "", kFolderFlags));
    } else if (!options_.dry_run) {
        UMBRA_ASSIGN(folder, make_folder(place.folder, place.name));
    }
    UMBRA_TRY(restore_children(wanted, folder.get(), place.path));
    if (!options_.dry_run) UMBRA_TRY(finish_folder(wanted, folder.get()));
    return action;
}

Result<void> Restorer::restore_children(const Object& wanted, int target, const std::string& path) {
    UMBRA_ASSIGN(const UniqueFd source, open_beneath(wanted.fd.get(), "", kFolderFlags));
    UMBRA_ASSIGN(const std::vector<std::string> names, list_names(source.get()));
    for (const auto& name : names) {
        if (interrupted()) break;
        restore_object(source.get(), name, {target, name, join(path, name)});
    }
    return {};
}

// After the children: making them has changed the folder's times.
Result<void> Restorer::finish_folder(const Object& wanted, int folder) {
    UMBRA_ASSIGN(const Attributes present, read_attributes(folder));
    if (!same_metadata(wanted.attributes, present, options_.scope)) {
        UMBRA_TRY(give_metadata(folder, wanted.attributes, present));
    }
    if (::fsync(folder) != 0 && errno != EINVAL)
        return errno_error(errno, "cannot make it durable");
    return {};
}

// --- everything else
// ------------------------------------------------------------------------------------

Result<RestoreAction> Restorer::restore_leaf(const Object& wanted,
                                             const std::optional<Object>& present,
                                             const Place& place) {
    UMBRA_ASSIGN(const std::optional<RestoreAction> linked,
                 restore_as_link(wanted, present, place));
    if (linked) return *linked;

    const std::optional<Attributes> present_attributes =
        present ? std::optional<Attributes>{present->attributes} : std::nullopt;
    UMBRA_ASSIGN(const RestoreAction action,
                 plan_object(wanted.fd.get(), wanted.attributes, present ? present->fd.get() : -1,
                             present_attributes, options_.scope));
    if (!options_.dry_run) {
        if (action == RestoreAction::kMetadata) {
            UMBRA_TRY(give_metadata(present->fd.get(), wanted.attributes, present->attributes));
        } else if (changes(action)) {
            UMBRA_TRY(make_leaf(wanted, place, action == RestoreAction::kReplace));
        }
    }
    remember_link(wanted, place, action);
    return action;
}

Result<void> Restorer::make_leaf(const Object& wanted, const Place& place, bool replace) {
    const struct stat& status = wanted.attributes.status;
    const auto make = [&]() -> Result<TemporaryObject> {
        if (S_ISREG(status.st_mode)) return TemporaryObject::make_file(place.folder);
        if (S_ISLNK(status.st_mode))
            return TemporaryObject::make_symlink(place.folder, wanted.attributes.symlink_target);
        return TemporaryObject::make_special(place.folder, status.st_mode & S_IFMT, status.st_rdev);
    };
    UMBRA_ASSIGN(TemporaryObject made, make());
    if (S_ISREG(status.st_mode)) {
        const UniqueFd source(
            ::open(ProcPath(wanted.fd.get()).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
        if (!source.valid()) return errno_error(errno, "cannot read it in the snapshot");
        UMBRA_TRY(copy_contents(source.get(), made.descriptor(),
                                static_cast<std::uint64_t>(status.st_size),
                                [this] { return interrupted(); }));
    }
    UMBRA_ASSIGN(const Attributes fresh, read_attributes(made.descriptor()));
    UMBRA_TRY(give_metadata(made.descriptor(), wanted.attributes, fresh));
    if (S_ISREG(status.st_mode) && ::fsync(made.descriptor()) != 0)
        return errno_error(errno, "cannot make it durable");
    return made.put_in_place(place.name, replace);
}

Result<void> Restorer::give_metadata(int object, const Attributes& wanted,
                                     const Attributes& present) {
    UMBRA_ASSIGN(const MetadataOutcome outcome, apply_metadata(object, wanted, present));
    if (outcome.owner_left) ++summary_.owners_left;
    if (outcome.extended_left) ++summary_.extended_left;
    return {};
}

// --- hard links
// ----------------------------------------------------------------------------------------

Result<std::optional<RestoreAction>> Restorer::restore_as_link(const Object& wanted,
                                                               const std::optional<Object>& present,
                                                               const Place& place) {
    const auto known =
        links_.find({wanted.attributes.status.st_dev, wanted.attributes.status.st_ino});
    if (known == links_.end()) return std::optional<RestoreAction>{};
    const LinkGroup group = known->second;
    if (--known->second.remaining == 0) links_.erase(known);

    if (present && present->attributes.status.st_ino == group.status.st_ino &&
        present->attributes.status.st_dev == group.status.st_dev) {
        return std::optional{RestoreAction::kUnchanged};
    }
    if (present && is_folder(present->attributes)) return std::optional{RestoreAction::kConflict};
    const std::optional action{present ? RestoreAction::kReplace : RestoreAction::kCreate};
    if (options_.dry_run) return action;

    UMBRA_ASSIGN(const UniqueFd first, open_beneath(target_root_, group.path, O_PATH));
    struct stat status {};
    // Somebody has put something else there meanwhile: this one is restored by itself.
    if (::fstat(first.get(), &status) != 0 || status.st_ino != group.status.st_ino ||
        status.st_dev != group.status.st_dev) {
        return std::optional<RestoreAction>{};
    }
    UMBRA_ASSIGN(TemporaryObject link, TemporaryObject::make_link(place.folder, first.get()));
    UMBRA_TRY(link.put_in_place(place.name, present.has_value()));
    return action;
}

void Restorer::remember_link(const Object& wanted, const Place& place, RestoreAction action) {
    const struct stat& status = wanted.attributes.status;
    if (status.st_nlink < 2 || action == RestoreAction::kConflict) return;
    LinkGroup group{place.path, {}, static_cast<std::uint64_t>(status.st_nlink) - 1};
    const bool there = !options_.dry_run || action == RestoreAction::kUnchanged ||
                       action == RestoreAction::kMetadata;
    if (there && place.folder >= 0 &&
        ::fstatat(place.folder, place.name.c_str(), &group.status, AT_SYMLINK_NOFOLLOW) != 0) {
        return;
    }
    links_[{status.st_dev, status.st_ino}] = group;
}

}  // namespace umbra
