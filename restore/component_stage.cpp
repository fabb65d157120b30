// The first half of a component: everything that is to be made is made aside, whole.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include "restore/apply_metadata.h"
#include "restore/aside.h"
#include "restore/beneath.h"
#include "restore/component_run.h"
#include "restore/path_names.h"

namespace umbra {

void ComponentRun::stage_all(std::size_t first, std::size_t end) {
    const bool atomic = all_or_nothing(spec_.method);
    for (std::size_t i = first; i < end && !failure_; ++i) {
        const PlanEntry& planned = plan_.entries[i];
        if (planned.error) {
            units_[i].error = planned.error;
            continue;
        }
        const RestoreAction action = planned.entry.action;
        if (action == RestoreAction::kUnchanged) continue;
        if (interrupted()) {
            units_[i].error = Error{EINTR, ErrorKind::kSystem, "stopped before it"};
            continue;
        }
        step("stage");
        if (auto staged = stage(i); !staged) {
            units_[i].error = staged.error();
            if (atomic)
                failure_ =
                    Error{staged.error().code, staged.error().kind,
                          fmt::format("'{}': {}", planned.entry.path, staged.error().text())};
        } else {
            progress_.done_bytes += planned.entry.size;
        }
        ++progress_.done_files;
        progress();
    }
    if (auto finished = finish_staged_folders(first, end); !finished && atomic && !failure_)
        failure_ = finished.error();
}

Result<void> ComponentRun::stage(std::size_t i) {
    const JobEntry& planned = entry(i);
    if (planned.within != 0) {
        const Unit& outer = units_[planned.within - 1];
        if (outer.error || !outer.staged)
            return errno_error(ENOENT, "the folder that it lies in cannot be restored");
        const std::string path = join_path(outer.aside, name_of(planned.path));
        UMBRA_ASSIGN(const UniqueFd folder, open_parent(path));
        units_[i].aside = path;
        return stage_object(i, folder.get(), name_of(path));
    }
    if (is_existing_folder(i)) {
        entry(i).touched = true;  // when all in it is done
        return {};
    }
    UMBRA_ASSIGN(const UniqueFd folder, open_parent(planned.path));
    struct stat& present = units_[i].present;
    if (planned.action != RestoreAction::kCreate &&
        ::fstatat(folder.get(), name_of(planned.path).c_str(), &present, AT_SYMLINK_NOFOLLOW) != 0)
        return errno_error(errno, "it was there a moment ago");
    UMBRA_ASSIGN(entry(i).present, identity_of(folder.get(), name_of(planned.path)));
    if (planned.action == RestoreAction::kMetadata || planned.in_place) {
        entry(i).touched = true;
        return {};
    }
    remember_folder(parent_of(planned.path), folder.get());
    const std::string name =
        aside_name(recorder_.id(), recorder_.job().running(), recorded_[i] - 1);
    units_[i].aside = join_path(parent_of(planned.path), name);
    if (planned.action == RestoreAction::kRemove) return {};
    UMBRA_TRY(stage_object(i, folder.get(), name));
    UMBRA_ASSIGN(entry(i).made, identity_of(folder.get(), name));
    return {};
}

Result<void> ComponentRun::stage_object(std::size_t i, int folder, const std::string& name) {
    const JobEntry& planned = entry(i);
    UMBRA_ASSIGN(const bool linked, stage_as_link(i, folder, name));
    units_[i].staged = true;  // also where it fails half-way: it is to be removed
    if (linked) return {};
    if (planned.type == DT_DIR && planned.source.empty() && planned.on_the_way) {
        if (::mkdirat(folder, name.c_str(), 0755) != 0)
            return errno_error(errno, "cannot create the folder");
        return {};
    }
    auto source = open_far_beneath(roots_.source, planned.source, O_PATH);
    if (!source) return errno_error(source.error().code, "cannot open it in the snapshot");
    UMBRA_ASSIGN(const Attributes wanted, read_attributes(source->get()));
    if (IFTODT(wanted.status.st_mode) != planned.type)
        return errno_error(ESTALE, "the snapshot is not what it was");
    auto staged = stage_copy(source->get(), wanted, folder, name, [this] { return interrupted(); });
    if (!staged) {
        static_cast<void>(remove_whole(folder, name));
        units_[i].staged = false;
        return tl::make_unexpected(staged.error());
    }
    if (staged->owner_left) ++summary_.owners_left;
    if (staged->extended_left) ++summary_.extended_left;
    summary_.bytes_written += planned.size;
    return {};
}

Result<bool> ComponentRun::stage_as_link(std::size_t i, int folder, const std::string& name) {
    const std::uint32_t to = plan_.entries[i].link_to;
    if (to == 0 || units_[to - 1].error) return false;
    auto first = open_far_beneath(roots_.target, where(to - 1), O_PATH);
    if (!first) return false;  // gone meanwhile: this one is restored by itself
    UMBRA_TRY(stage_link(first->get(), folder, name));
    return true;
}

// After what is in them, which has changed their times.
Result<void> ComponentRun::finish_staged_folders(std::size_t first, std::size_t end) {
    Result<void> result;
    for (std::size_t i = end; i-- > first;) {
        const JobEntry& planned = entry(i);
        if (planned.type != DT_DIR || !units_[i].staged || units_[i].error) continue;
        if (planned.source.empty() && planned.on_the_way) continue;
        const auto finish = [&]() -> Result<void> {
            UMBRA_ASSIGN(const UniqueFd source,
                         open_far_beneath(roots_.source, planned.source, O_PATH));
            UMBRA_ASSIGN(const Attributes wanted, read_attributes(source.get()));
            UMBRA_ASSIGN(const UniqueFd made,
                         open_far_beneath(roots_.target, units_[i].aside, O_PATH));
            UMBRA_ASSIGN(const Attributes fresh, read_attributes(made.get()));
            UMBRA_ASSIGN(const MetadataOutcome outcome, apply_metadata(made.get(), wanted, fresh));
            if (outcome.owner_left) ++summary_.owners_left;
            if (outcome.extended_left) ++summary_.extended_left;
            return {};
        };
        if (auto finished = finish(); !finished) {
            units_[i].error = finished.error();
            result = finished;
        }
    }
    return result;
}

Result<void> ComponentRun::record_staged(std::size_t first, std::size_t end) {
    for (std::size_t i = first; i < end; ++i) {
        if (recorded_[i] == 0 || !is_unit(i) || units_[i].error) continue;
        UMBRA_TRY(recorder_.add(job_record::staged(number_, recorded_[i] - 1, entry(i))));
    }
    step("record what stands aside");
    return recorder_.flush(true);
}

}  // namespace umbra
