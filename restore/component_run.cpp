#include "restore/component_run.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "restore/apply_metadata.h"
#include "restore/aside.h"
#include "restore/beneath.h"
#include "restore/is_open.h"
#include "restore/path_names.h"
#include "snapstore/proc_path.h"

namespace umbra {

namespace {

// Of what is restored file by file, so much stands aside at once.
constexpr std::size_t kBatchEntries = 512;
constexpr std::uint64_t kBatchBytes = 256 << 20;

Result<void> rename_aside(int folder, const std::string& from, const std::string& to,
                          unsigned flags) {
    if (::renameat2(folder, from.c_str(), folder, to.c_str(), flags) != 0)
        return errno_error(errno, "cannot give it its name");
    return {};
}

// Gives the name back to what stands aside, in exchange for `ours`. Where somebody else has put
// something there meanwhile that is newer: then that keeps the name. Who is left aside, nobody
// needs.
Result<ObjectIdentity> give_back(int folder, const std::string& name, const std::string& aside,
                                 ObjectIdentity ours) {
    constexpr int kTries = 1000;
    for (int i = 0; i < kTries; ++i) {
        UMBRA_ASSIGN(const ObjectIdentity given, identity_of(folder, aside));
        auto exchanged = rename_aside(folder, name, aside, RENAME_EXCHANGE);
        // Somebody has removed it meanwhile: so it stays.
        if (!exchanged && exchanged.error().code == ENOENT) return given;
        if (!exchanged) return forward_error(exchanged);
        UMBRA_ASSIGN(const ObjectIdentity got, identity_of(folder, aside));
        if (got == ours) return got;
        ours = given;
    }
    return errno_error(EBUSY, "somebody replaces it all the time");
}

ReportedStatus status_of(RestoreStatus status, const std::optional<Error>& error) {
    ReportedStatus reported;
    reported.status = status;
    if (error) {
        reported.error = error->code;
        reported.sentence = error->text();
    }
    return reported;
}

bool same_moment(const struct timespec& a, const struct timespec& b) {
    return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

}  // namespace

Result<UniqueFd> ComponentRun::open_parent(const std::string& path) const {
    auto folder = open_far_beneath(roots_.target, parent_of(path), O_PATH | O_DIRECTORY);
    if (!folder) return errno_error(folder.error().code, "cannot enter the folder that it lies in");
    return folder;
}

bool ComponentRun::interrupted() {
    if (!summary_.interrupted && options_.interrupted && options_.interrupted())
        summary_.interrupted = true;
    return summary_.interrupted;
}

void ComponentRun::progress() {
    if (options_.on_progress) options_.on_progress(progress_);
}

Result<void> ComponentRun::sync_targets() {
    if (roots_.in_share) return store_.sync_share();
    const UniqueFd root(
        ::open(ProcPath(roots_.target).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!root.valid() || ::syncfs(root.get()) != 0)
        return errno_error(errno, "cannot make what was restored durable");
    return {};
}

std::string ComponentRun::where(std::size_t i) {
    return units_[i].switched || units_[i].aside.empty() ? entry(i).path : units_[i].aside;
}

// --- the whole ----------------------------------------------------------------------------------

Result<void> ComponentRun::run() {
    PlanOptions plan_options;
    plan_options.scope = options_.scope;
    plan_options.untouched = options_.untouched;
    plan_options.interrupted = [this] { return interrupted(); };
    plan_options.on_unchanged = [this](const JobEntry& unchanged) {
        if (options_.on_object) options_.on_object(unchanged, std::nullopt);
    };
    step("plan");
    auto plan = Planner(roots_.source, roots_.target, spec_, plan_options).plan();
    if (!plan) {
        const Error why = plan.error();
        if (why.code != EINTR) ++summary_.failed;
        UMBRA_TRY(recorder_.add(job_record::component_begun(number_)));
        UMBRA_TRY(recorder_.add(
            job_record::component_status(number_, status_of(RestoreStatus::kNone, why))));
        UMBRA_TRY(recorder_.add(job_record::cleaned(number_)));
        UMBRA_TRY(recorder_.flush(true));
        if (why.kind == ErrorKind::kNotFound) return tl::make_unexpected(why);
        return {};
    }
    plan_ = std::move(*plan);
    summary_.unchanged += plan_.unchanged;
    units_.resize(plan_.entries.size());
    UMBRA_TRY(record_plan());
    if (plan_.obstacle) return refuse(*plan_.obstacle);
    progress_.total_bytes = plan_.bytes;
    progress_.total_files = plan_.entries.size();
    for (std::size_t first = 0; first < plan_.entries.size() && !failure_;) {
        if (interrupted()) break;
        const std::size_t end = batch_end(first);
        UMBRA_TRY(run_batch(first, end));
        first = end;
    }
    return report_component();
}

Result<void> ComponentRun::record_plan() {
    UMBRA_TRY(recorder_.add(job_record::component_begun(number_)));
    recorded_.assign(plan_.entries.size(), 0);
    std::uint32_t next = 0;
    for (std::size_t i = 0; i < plan_.entries.size(); ++i) {
        if (entry(i).action == RestoreAction::kUnchanged) continue;
        JobEntry written = entry(i);
        written.within = written.within == 0 ? 0 : recorded_[written.within - 1];
        UMBRA_TRY(recorder_.add(job_record::entry(number_, written)));
        recorded_[i] = ++next;
    }
    step("record the plan");
    return recorder_.flush(true);
}

// Nothing was touched.
Result<void> ComponentRun::refuse(const Error& why) {
    bool named = false;
    for (std::size_t i = 0; i < plan_.entries.size(); ++i) {
        if (recorded_[i] == 0) continue;
        const auto& error = plan_.entries[i].error;
        named = named || error.has_value();
        if (error) ++summary_.failed;
        UMBRA_TRY(report(i, RestoreStatus::kNone, error ? error : std::optional(why)));
        if (options_.on_object && error) options_.on_object(entry(i), error);
    }
    if (!named) {
        ++summary_.failed;
        JobEntry all;
        all.path = spec_.paths.empty() ? "" : spec_.paths.front().target;
        all.action = RestoreAction::kConflict;
        if (options_.on_object) options_.on_object(all, why);
    }
    UMBRA_TRY(
        recorder_.add(job_record::component_status(number_, status_of(RestoreStatus::kNone, why))));
    UMBRA_TRY(recorder_.add(job_record::cleaned(number_)));
    return recorder_.flush(true);
}

// What is made or removed as a whole is never parted.
std::size_t ComponentRun::batch_end(std::size_t first) const {
    if (all_or_nothing(spec_.method)) return plan_.entries.size();
    std::uint64_t bytes = 0;
    std::size_t i = first;
    for (; i < plan_.entries.size(); ++i) {
        const JobEntry& next = plan_.entries[i].entry;
        if (i > first && next.within == 0 && (i - first >= kBatchEntries || bytes >= kBatchBytes))
            break;
        bytes += next.size;
    }
    return i;
}

Result<void> ComponentRun::run_batch(std::size_t first, std::size_t end) {
    const bool atomic = all_or_nothing(spec_.method);
    const auto take_back = [&](const Error& why) {
        failure_ = failure_ ? failure_ : why;
        put_back(first, end);
        clean(first, end);
        put_back_folder_times();
    };
    stage_all(first, end);
    if (atomic && interrupted() && !failure_)
        failure_ = Error{EINTR, ErrorKind::kSystem, "stopped"};
    if (!failure_) {
        step("sync what stands aside");
        if (auto synced = sync_targets(); !synced) failure_ = synced.error();
    }
    if (!failure_) {
        if (auto recorded = record_staged(first, end); !recorded) {
            take_back(recorded.error());
            return recorded;
        }
        switch_all(first, end);
    }
    const bool last = end == plan_.entries.size();
    if (!failure_ && last) {
        step("finish the folders");
        if (auto finished = finish_folders(); !finished && atomic) failure_ = finished.error();
    }
    if (!failure_) {
        step("sync what was switched");
        if (auto synced = sync_targets(); !synced) failure_ = synced.error();
    }
    if (failure_) {
        take_back(*failure_);
        step("record that it was taken back");
        return report_batch(first, end);
    }
    step("record what is restored");
    if (auto reported = report_batch(first, end); !reported) {
        take_back(reported.error());
        return reported;
    }
    clean(first, end);
    if (!last) return {};
    // Letting go of the originals has changed the times of their folders.
    static_cast<void>(finish_folders());
    return {};
}

// --- staging ------------------------------------------------------------------------------------

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

// --- switching ----------------------------------------------------------------------------------

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
                     write_differences(from.get(), to.get(),
                                       static_cast<std::uint64_t>(wanted.status.st_size),
                                       [this] { return interrupted(); }));
        summary_.bytes_written += written;
    }
    UMBRA_ASSIGN(const Attributes fresh, read_attributes(present.get()));
    UMBRA_ASSIGN(const MetadataOutcome outcome, apply_metadata(present.get(), wanted, fresh));
    if (outcome.owner_left) ++summary_.owners_left;
    if (outcome.extended_left) ++summary_.extended_left;
    return {};
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

// --- taking it back -----------------------------------------------------------------------------

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

// --- reporting ----------------------------------------------------------------------------------

Result<void> ComponentRun::report(std::size_t i, RestoreStatus status,
                                  const std::optional<Error>& error) {
    if (recorded_[i] == 0) return {};
    return recorder_.add(
        job_record::entry_status(number_, recorded_[i] - 1, status_of(status, error)));
}

std::size_t ComponentRun::top_of(std::size_t i) {
    while (entry(i).within != 0) i = entry(i).within - 1;
    return i;
}

// One path of what is reported; false: there is a status of its own in the journal.
Result<bool> ComponentRun::report_path(std::size_t i) {
    const Unit& unit = units_[i];
    const auto& stuck = units_[top_of(i)].not_put_back;
    std::optional<Error> error = stuck ? stuck : unit.error;
    if (stuck) {
        UMBRA_TRY(report(i, RestoreStatus::kFailed, stuck));
    } else if (failure_) {
        UMBRA_TRY(report(i, RestoreStatus::kNone, unit.error ? unit.error : failure_));
    } else if (unit.error) {
        // Changed in place and not put back, or switched and not switched back: mixed.
        UMBRA_TRY(
            report(i, unit.switched ? RestoreStatus::kFailed : RestoreStatus::kNone, unit.error));
    }
    const bool stopped = unit.error && unit.error->code == EINTR;
    if (error && !stopped) ++summary_.failed;
    if (!error && !failure_) ++summary_.changed;
    if (options_.on_object && !stopped && (error || !failure_)) options_.on_object(entry(i), error);
    return !error && !failure_;
}

Result<void> ComponentRun::report_batch(std::size_t first, std::size_t end) {
    const bool last = end == plan_.entries.size() || failure_;
    std::uint32_t begun = 0, done = 0;
    const auto flush_range = [&]() -> Result<void> {
        if (begun != 0)
            UMBRA_TRY(recorder_.add(job_record::entries_done(number_, begun - 1, done - 1)));
        begun = 0;
        return {};
    };
    for (std::size_t i = last ? 0 : first; i < end; ++i) {
        if (recorded_[i] == 0) continue;
        // Folders get their times when all in them is done; the rest of earlier batches is told.
        const bool waits = is_existing_folder(i) && !failure_;
        const bool told = i < first ? !waits : waits && !last;
        bool all = false;
        if (!told) {
            UMBRA_ASSIGN(all, report_path(i));
        }
        if (!all) {
            UMBRA_TRY(flush_range());
            continue;
        }
        begun = begun == 0 ? recorded_[i] : begun;
        done = recorded_[i];
    }
    UMBRA_TRY(flush_range());
    return recorder_.flush(true);
}

Result<void> ComponentRun::report_component() {
    const auto& entries = recorder_.job().components[number_].entries;
    bool all = !summary_.interrupted, none = true;
    std::optional<Error> why = failure_;
    std::size_t mixed = 0;
    std::string mixed_example;
    for (const auto& one : entries) {
        all = all && one.status.status == RestoreStatus::kAll;
        none = none && (one.status.status == RestoreStatus::kNone ||
                        one.status.status == RestoreStatus::kUndefined);
        if (one.status.status == RestoreStatus::kFailed && mixed++ == 0) mixed_example = one.path;
        if (!why && one.status.status != RestoreStatus::kAll && !one.status.sentence.empty())
            why = Error{one.status.error, ErrorKind::kSystem,
                        fmt::format("'{}': {}", one.path, one.status.sentence)};
    }
    if (summary_.interrupted && !why) why = Error{EINTR, ErrorKind::kSystem, "stopped"};
    if (mixed > 0 && why)
        why->message = fmt::format("{}; mixed on disk: {} files, '{}' among them", why->text(),
                                   mixed, mixed_example);
    const RestoreStatus status = all    ? RestoreStatus::kAll
                                 : none ? RestoreStatus::kNone
                                        : RestoreStatus::kFailed;
    UMBRA_TRY(recorder_.add(
        job_record::component_status(number_, status_of(status, all ? std::nullopt : why))));
    step("record the component");
    UMBRA_TRY(recorder_.flush(true));
    if (mixed > 0) return {};
    UMBRA_TRY(recorder_.add(job_record::cleaned(number_)));
    return recorder_.flush(false);
}

// --- after a crash ------------------------------------------------------------------------------

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
                              const RestoreRoots& roots, bool take_back) {
    Result<void> result;
    if (component.cleaned) return result;
    for (std::size_t i = component.entries.size(); i-- > 0;) {
        const JobEntry& entry = component.entries[i];
        if (entry.within != 0 || entry.action == RestoreAction::kConflict) continue;
        const bool reported = entry.status.status == RestoreStatus::kAll ||
                              entry.status.status == RestoreStatus::kNone;
        const std::string aside = aside_name(job, component.run, static_cast<std::uint32_t>(i));
        if (auto settled = settle_entry(entry, aside, roots, take_back && !reported); !settled)
            result = settled;
    }
    return result;
}

}  // namespace umbra
