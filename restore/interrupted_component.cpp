#include "restore/interrupted_component.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include <algorithm>
#include <utility>

#include "restore/apply_metadata.h"
#include "restore/aside.h"
#include "restore/beneath.h"
#include "restore/path_names.h"
#include "snapstore/proc_path.h"

namespace umbra {

namespace {

// Who stands at the name of an entry, and who aside.
struct Standing {
    UniqueFd folder;
    ObjectIdentity at_name;
};

Result<Standing> look_at(const JobEntry& entry, int target_root) {
    Standing standing;
    auto folder = open_far_beneath(target_root, parent_of(entry.path), O_PATH | O_DIRECTORY);
    if (!folder && folder.error().code == ENOENT) return standing;
    if (!folder) return forward_error(folder);
    standing.folder = std::move(*folder);
    UMBRA_ASSIGN(standing.at_name, identity_of(standing.folder.get(), name_of(entry.path)));
    return standing;
}

ReportedStatus interrupted_status(RestoreStatus status, int code, std::string sentence) {
    ReportedStatus seen;
    seen.status = status;
    seen.error = code;
    seen.sentence = std::move(sentence);
    return seen;
}

constexpr const char* kBeforeIt = "the restore was interrupted before it";

ReportedStatus look_at_touched(const JobEntry& entry, const Standing& standing, int source_root,
                               const MetadataScope& scope) {
    if (entry.in_place)
        return interrupted_status(RestoreStatus::kFailed, EINTR,
                                  "the restore was interrupted while it was written to");
    const auto compare = [&]() -> Result<bool> {
        UMBRA_ASSIGN(const UniqueFd source, open_far_beneath(source_root, entry.source, O_PATH));
        UMBRA_ASSIGN(const Attributes wanted, read_attributes(source.get()));
        UMBRA_ASSIGN(const UniqueFd object,
                     open_beneath(standing.folder.get(), name_of(entry.path), O_PATH));
        UMBRA_ASSIGN(const Attributes present, read_attributes(object.get()));
        return same_metadata(wanted, present, scope);
    };
    if (source_root < 0)
        return interrupted_status(RestoreStatus::kFailed, EINTR,
                                  "the restore was interrupted around it");
    const auto same = compare();
    if (same && *same) return interrupted_status(RestoreStatus::kAll, 0, "");
    return interrupted_status(
        RestoreStatus::kFailed, EINTR,
        "the restore was interrupted before or while its attributes were set");
}

ReportedStatus look_at_entry(const JobEntry& entry, int source_root, int target_root,
                             const MetadataScope& scope) {
    if (!entry.made.known() && !entry.present.known() && !entry.touched)
        return interrupted_status(RestoreStatus::kNone, EINTR, kBeforeIt);
    const auto standing = look_at(entry, target_root);
    if (!standing)
        return interrupted_status(RestoreStatus::kFailed, standing.error().code,
                                  "it cannot be looked at: " + standing.error().text());
    if (entry.touched) return look_at_touched(entry, *standing, source_root, scope);
    const ObjectIdentity& now = standing->at_name;
    const bool removed = entry.action == RestoreAction::kRemove && !now.known();
    if ((entry.made.known() && now == entry.made) || removed)
        return interrupted_status(RestoreStatus::kAll, 0, "");
    const bool as_it_was = entry.present.known() ? now == entry.present : !now.known();
    if (as_it_was) return interrupted_status(RestoreStatus::kNone, EINTR, kBeforeIt);
    return interrupted_status(
        RestoreStatus::kFailed, ESTALE,
        "the restore was interrupted, and somebody else has replaced it since");
}

}  // namespace

std::vector<ReportedStatus> look_at_component(const JobComponent& component, int source_root,
                                              int target_root, const MetadataScope& scope) {
    std::vector<ReportedStatus> seen;
    for (const auto& entry : component.entries) {
        if (entry.status.status != RestoreStatus::kUndefined) {
            seen.push_back(entry.status);
        } else if (entry.within != 0 && entry.within <= seen.size()) {
            seen.push_back(seen[entry.within - 1]);
        } else {
            seen.push_back(look_at_entry(entry, source_root, target_root, scope));
        }
    }
    return seen;
}

namespace {

Result<void> settle_touched(const JobEntry& entry, int folder, const RestoreRoots& roots) {
    if (roots.before < 0) return errno_error(ENOENT, "what it was is in no snapshot");
    UMBRA_ASSIGN(const UniqueFd before, open_far_beneath(roots.before, entry.path, O_PATH));
    UMBRA_ASSIGN(const Attributes was, read_attributes(before.get()));
    UMBRA_ASSIGN(const UniqueFd object, open_beneath(folder, name_of(entry.path), O_PATH));
    if (entry.in_place) {
        const UniqueFd from(::open(ProcPath(before.get()).c_str(), O_RDONLY | O_CLOEXEC));
        const UniqueFd to(::open(ProcPath(object.get()).c_str(), O_RDWR | O_CLOEXEC));
        if (!from.valid() || !to.valid()) return errno_error(errno, "cannot open it");
        UMBRA_TRY(write_differences(from.get(), to.get(),
                                    static_cast<std::uint64_t>(was.status.st_size), {}));
    }
    UMBRA_ASSIGN(const Attributes now, read_attributes(object.get()));
    UMBRA_TRY(apply_metadata(object.get(), was, now));
    return {};
}

Result<void> settle_entry(const JobEntry& entry, const std::string& aside,
                          const RestoreRoots& roots, bool take_back) {
    UMBRA_ASSIGN(const Standing standing, look_at(entry, roots.target));
    if (!standing.folder.valid()) return {};
    const int folder = standing.folder.get();
    if (entry.touched) {
        const bool still_it = entry.type == DT_DIR || standing.at_name == entry.present;
        if (!take_back || !still_it) return {};
        return settle_touched(entry, folder, roots);
    }
    const std::string name = name_of(entry.path);
    UMBRA_ASSIGN(const ObjectIdentity kept, identity_of(folder, aside));
    const bool original_aside = entry.present.known() && kept == entry.present;
    if (take_back && original_aside) {
        if (entry.action == RestoreAction::kRemove && !standing.at_name.known()) {
            UMBRA_TRY(rename_aside(folder, aside, name, RENAME_NOREPLACE));
        } else if (standing.at_name == entry.made) {
            UMBRA_TRY(give_back(folder, name, aside, entry.made));
        }
        // Else somebody else has replaced what had been restored: that is theirs.
    } else if (take_back && entry.action == RestoreAction::kCreate && entry.made.known() &&
               standing.at_name == entry.made) {
        UMBRA_TRY(rename_aside(folder, name, aside, RENAME_NOREPLACE));
    }
    UMBRA_ASSIGN(const ObjectIdentity left, identity_of(folder, aside));
    if (!left.known()) return {};
    const bool never_recorded = !entry.made.known() && !entry.present.known();
    // The original that was switched away goes only where what took its place is still there.
    UMBRA_ASSIGN(const ObjectIdentity now, identity_of(folder, name));
    const bool superseded = now.known() && now != entry.present;
    const bool spare = never_recorded || left == entry.made ||
                       (left == entry.present &&
                        (superseded || (!take_back && entry.action == RestoreAction::kRemove)));
    return spare ? remove_whole(folder, aside) : Result<void>{};
}

}  // namespace

Result<void> settle_component(const std::string& job, const JobComponent& component,
                              const RestoreRoots& roots) {
    Result<void> result;
    if (component.cleaned) return result;
    // What is all or nothing says ALL of a path only when every path has been switched.
    const bool all_switched = std::any_of(
        component.entries.begin(), component.entries.end(),
        [](const JobEntry& entry) { return entry.status.status == RestoreStatus::kAll; });
    const bool take_back = all_or_nothing(component.spec.method) && !all_switched;
    for (std::size_t i = component.entries.size(); i-- > 0;) {
        const JobEntry& entry = component.entries[i];
        if (entry.within != 0 || entry.action == RestoreAction::kConflict) continue;
        const bool as_it_was = entry.status.status == RestoreStatus::kNone;
        const std::string aside = aside_name(job, component.run, static_cast<std::uint32_t>(i));
        if (auto settled = settle_entry(entry, aside, roots, take_back && !as_it_was); !settled)
            result = settled;
    }
    return result;
}

}  // namespace umbra
