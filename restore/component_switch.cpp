// The second half of a component: what stands aside takes the names, by rename, and the originals
// stand aside; or is written into what is there.
#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/stat.h>

#include "restore/apply_metadata.h"
#include "restore/aside.h"
#include "restore/beneath.h"
#include "restore/component_run.h"
#include "restore/is_open.h"
#include "restore/path_names.h"
#include "snapstore/proc_path.h"

namespace umbra {

namespace {

bool same_moment(const struct timespec& a, const struct timespec& b) {
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

}  // namespace

void ComponentRun::switch_all(std::size_t first, std::size_t end) {
    const bool atomic = all_or_nothing(spec_.method);
    for (std::size_t i = first; i < end && !failure_; ++i) {
        if (!is_unit(i) || units_[i].error || is_existing_folder(i)) continue;
        step("switch");
        if (auto done = switch_unit(i); !done) {
            units_[i].error = done.error();
            if (atomic)
                failure_ = Error{done.error().code, done.error().kind,
                                 fmt::format("'{}': {}", entry(i).path, done.error().text())};
            // By itself it is all or nothing, too, as far as that goes.
            if (!atomic && entry(i).touched && units_[i].switched && put_back_unit(i))
                units_[i].switched = false;
        }
    }
    // What lies in a folder has come with it, or has not.
    for (std::size_t i = first; i < end; ++i) {
        if (entry(i).within == 0) continue;
        const Unit& outer = units_[entry(i).within - 1];
        if (!units_[i].error && outer.error) units_[i].error = outer.error;
        if (!units_[i].error) units_[i].switched = outer.switched;
    }
}

Result<void> ComponentRun::switch_unit(std::size_t i) {
    UMBRA_ASSIGN(const UniqueFd folder, open_parent(entry(i).path));
    if (entry(i).touched) return change_in_place(i, folder.get());
    return switch_name(i, folder.get());
}

Result<void> ComponentRun::switch_name(std::size_t i, int folder) {
    const JobEntry& planned = entry(i);
    const std::string name = name_of(planned.path), aside = name_of(units_[i].aside);
    if (planned.action != RestoreAction::kRemove) {
        UMBRA_ASSIGN(const ObjectIdentity ready, identity_of(folder, aside));
        if (ready != planned.made)
            return errno_error(ESTALE, "somebody has taken away what was to take its place");
    }
    if (planned.action == RestoreAction::kCreate) {
        UMBRA_TRY(rename_aside(folder, aside, name, RENAME_NOREPLACE));
        units_[i].switched = true;
        return {};
    }
    const bool removes = planned.action == RestoreAction::kRemove;
    UMBRA_TRY(removes ? rename_aside(folder, name, aside, RENAME_NOREPLACE)
                      : rename_aside(folder, name, aside, RENAME_EXCHANGE));
    units_[i].switched = true;
    auto kept = check_kept(i, folder);
    if (kept) return {};
    if (removes) {
        if (rename_aside(folder, aside, name, RENAME_NOREPLACE)) units_[i].switched = false;
        return kept;
    }
    auto spare = give_back(folder, name, aside, planned.made);
    if (!spare) return kept;
    units_[i].switched = false;
    units_[i].spare = *spare;
    return kept;
}

// Now that nobody reaches it by its name: is it what was planned to go, and does nobody write to
// it?
Result<void> ComponentRun::check_kept(std::size_t i, int folder) {
    const std::string aside = name_of(units_[i].aside);
    UMBRA_ASSIGN(const ObjectIdentity kept, identity_of(folder, aside));
    if (kept != entry(i).present)
        return errno_error(EBUSY, "somebody else has replaced it meanwhile");
    struct stat now {};
    if (::fstatat(folder, aside.c_str(), &now, AT_SYMLINK_NOFOLLOW) != 0)
        return errno_error(errno, "cannot look at what is kept of it");
    const struct stat& then = units_[i].present;
    if (!S_ISREG(now.st_mode)) return {};
    if (now.st_size != then.st_size || !same_moment(now.st_mtim, then.st_mtim))
        return errno_error(EBUSY, "somebody has changed it meanwhile");
    if (spec_.replace_open) return {};
    UMBRA_ASSIGN(const UniqueFd object, open_beneath(folder, aside, O_PATH));
    if (is_open_elsewhere(object.get(), spec_.method == RestoreMethod::kIfCanReplace))
        return errno_error(EBUSY, "a program has opened it meanwhile");
    return {};
}

Result<void> ComponentRun::change_in_place(std::size_t i, int folder) {
    UMBRA_ASSIGN(const UniqueFd present, open_beneath(folder, name_of(entry(i).path), O_PATH));
    UMBRA_ASSIGN(const ObjectIdentity now, identity_of(folder, name_of(entry(i).path)));
    if (now != entry(i).present)
        return errno_error(EBUSY, "somebody else has replaced it meanwhile");
    auto source = open_far_beneath(roots_.source, entry(i).source, O_PATH);
    if (!source) return errno_error(source.error().code, "cannot open it in the snapshot");
    UMBRA_ASSIGN(const Attributes wanted, read_attributes(source->get()));
    UMBRA_ASSIGN(units_[i].before, read_attributes(present.get()));
    units_[i].switched = true;
    if (entry(i).in_place) {
        const UniqueFd from(::open(ProcPath(source->get()).c_str(), O_RDONLY | O_CLOEXEC));
        const UniqueFd to(::open(ProcPath(present.get()).c_str(), O_RDWR | O_CLOEXEC));
        if (!from.valid() || !to.valid()) {
            const int code = errno;
            units_[i].switched = false;
            return errno_error(code, "cannot open it to write to it");
        }
        UMBRA_ASSIGN(const std::uint64_t written,
                     write_differences(
                         from.get(), to.get(), static_cast<std::uint64_t>(wanted.status.st_size),
                         [this] { return interrupted(); }, changed(i, to.get())));
        summary_.bytes_written += written;
    }
    UMBRA_ASSIGN(const Attributes fresh, read_attributes(present.get()));
    UMBRA_ASSIGN(const MetadataOutcome outcome, apply_metadata(present.get(), wanted, fresh));
    if (outcome.owner_left) ++summary_.owners_left;
    if (outcome.extended_left) ++summary_.extended_left;
    return {};
}

// Where an open file may differ from what the snapshot has at its path; no value: anywhere.
KnownRanges ComponentRun::changed(std::size_t i, int file) {
    const JobSpec& job = *recorder_.job().spec;
    const bool its_own_past =
        job.in_share && join_path(job.target_root, entry(i).path) == entry(i).source;
    struct stat status {};
    if (!its_own_past || !options_.changed || ::fstat(file, &status) != 0) return std::nullopt;
    return options_.changed(job.token, entry(i).source, status.st_ino);
}

// Those that are there already: what changed in them has changed their times.
Result<void> ComponentRun::finish_folders() {
    Result<void> result;
    for (std::size_t i = plan_.entries.size(); i-- > 0;) {
        if (!is_existing_folder(i) || units_[i].error || plan_.entries[i].error) continue;
        const bool changes = entry(i).action == RestoreAction::kMetadata;
        if (!changes && folders_.find(entry(i).path) == folders_.end()) continue;
        auto finished = finish_folder(i);
        if (finished) {
            if (changes) units_[i].switched = true;
            continue;
        }
        // That its times are not those of the snapshot is no failure of a folder that is not ours.
        if (!changes && (finished.error().code == EPERM || finished.error().code == EACCES))
            continue;
        units_[i].error = finished.error();
        result = finished;
    }
    return result;
}

Result<void> ComponentRun::finish_folder(std::size_t i) {
    if (spec_.method == RestoreMethod::kIfMissing) return {};
    UMBRA_ASSIGN(const UniqueFd source, open_far_beneath(roots_.source, entry(i).source, O_PATH));
    UMBRA_ASSIGN(const Attributes wanted, read_attributes(source.get()));
    UMBRA_ASSIGN(const UniqueFd folder,
                 open_far_beneath(roots_.target, entry(i).path, O_PATH | O_DIRECTORY));
    UMBRA_ASSIGN(const Attributes present, read_attributes(folder.get()));
    if (same_metadata(wanted, present, options_.scope)) return {};
    folders_.try_emplace(entry(i).path, present);
    UMBRA_ASSIGN(const MetadataOutcome outcome, apply_metadata(folder.get(), wanted, present));
    if (outcome.owner_left) ++summary_.owners_left;
    if (outcome.extended_left) ++summary_.extended_left;
    return {};
}

void ComponentRun::remember_folder(const std::string& path, int folder) {
    if (folders_.count(path) != 0) return;
    if (auto attributes = read_attributes(folder)) folders_.emplace(path, std::move(*attributes));
}

}  // namespace umbra
