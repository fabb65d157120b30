// What was switched is taken back, last first; then what stands aside goes.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "restore/apply_metadata.h"
#include "restore/aside.h"
#include "restore/beneath.h"
#include "restore/component_run.h"
#include "restore/path_names.h"
#include "snapstore/proc_path.h"

namespace umbra {

void ComponentRun::put_back(std::size_t first, std::size_t end) {
    for (std::size_t i = end; i-- > first;) {
        if (!is_unit(i) || !units_[i].switched || is_existing_folder(i)) continue;
        step("put back");
        if (auto done = put_back_unit(i); done) {
            units_[i].switched = false;
        } else {
            units_[i].not_put_back = done.error();
        }
    }
}

Result<void> ComponentRun::put_back_unit(std::size_t i) {
    UMBRA_ASSIGN(const UniqueFd folder, open_parent(entry(i).path));
    if (entry(i).touched) return put_back_in_place(i, folder.get());
    const std::string name = name_of(entry(i).path), aside = name_of(units_[i].aside);
    if (entry(i).action == RestoreAction::kRemove)
        return rename_aside(folder.get(), aside, name, RENAME_NOREPLACE);
    if (entry(i).action == RestoreAction::kReplace) {
        UMBRA_ASSIGN(units_[i].spare, give_back(folder.get(), name, aside, entry(i).made));
        return {};
    }
    UMBRA_ASSIGN(const ObjectIdentity now, identity_of(folder.get(), name));
    // What somebody else has put there since is theirs.
    if (now != entry(i).made) return {};
    return rename_aside(folder.get(), name, aside, RENAME_NOREPLACE);
}

Result<void> ComponentRun::put_back_in_place(std::size_t i, int folder) {
    UMBRA_ASSIGN(const UniqueFd present, open_beneath(folder, name_of(entry(i).path), O_PATH));
    if (entry(i).in_place) {
        if (roots_.before < 0) return errno_error(ENOENT, "what it was is in no snapshot");
        UMBRA_ASSIGN(const UniqueFd from,
                     open_far_beneath(roots_.before, entry(i).path, O_RDONLY | O_NONBLOCK));
        const UniqueFd to(::open(ProcPath(present.get()).c_str(), O_RDWR | O_CLOEXEC));
        if (!to.valid()) return errno_error(errno, "cannot open it to put it back");
        UMBRA_TRY(write_differences(from.get(), to.get(),
                                    static_cast<std::uint64_t>(units_[i].before->status.st_size),
                                    {}));
    }
    UMBRA_ASSIGN(const Attributes now, read_attributes(present.get()));
    UMBRA_TRY(apply_metadata(present.get(), *units_[i].before, now));
    return {};
}

void ComponentRun::put_back_folder_times() {
    for (const auto& [path, before] : folders_) {
        auto folder = open_far_beneath(roots_.target, path, O_PATH | O_DIRECTORY);
        if (!folder) continue;
        if (auto now = read_attributes(folder->get());
            now && !same_metadata(before, *now, options_.scope))
            static_cast<void>(apply_metadata(folder->get(), before, *now));
    }
}

// What still stands aside: staged and not used, or the originals that are not needed any more.
void ComponentRun::clean(std::size_t first, std::size_t end) {
    step("let go of what stands aside");
    for (std::size_t i = first; i < end; ++i) {
        if (!is_unit(i) || units_[i].aside.empty() || units_[i].not_put_back) continue;
        auto folder = open_parent(units_[i].aside);
        if (!folder) continue;
        // Nothing but what was put there is removed.
        auto who = identity_of(folder->get(), name_of(units_[i].aside));
        const bool ours = who && who->known() &&
                          (*who == entry(i).present || *who == entry(i).made ||
                           *who == units_[i].spare || (units_[i].staged && !entry(i).made.known()));
        if (ours) static_cast<void>(remove_whole(folder->get(), name_of(units_[i].aside)));
    }
}

}  // namespace umbra
