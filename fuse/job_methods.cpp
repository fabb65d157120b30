#include "fuse/job_methods.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "fuse/control_protocol.h"
#include "fuse/result_json.h"
#include "snapstore/job_journal.h"

namespace umbra::job_methods {

namespace {

// What an ordinary user's restores keep of the past is kept no longer than this.
constexpr std::int64_t kUserHoldSeconds = 30 * 24 * 3600;
// And so often a job of theirs may begin anew, each time with a snapshot.
constexpr std::size_t kUserHeldSnapshots = 8;

std::string hold_reason(const std::string& job) { return "restore " + job; }

std::string described(const Volume& volume, const JobInfo& job) {
    return fmt::format("restore job '{}' of user {} in share '{}'", job.id, job.uid,
                       volume.identity().share);
}

json to_json(const JobInfo& job) {
    return {{"job", job.id},
            {"user", job.uid},
            {"created", format_utc(job.created)},
            {"bytes", job.bytes},
            {"running", job.running}};
}

// The job, if it is the caller's or he is root. Others cannot tell it from one that there is not.
Result<JobInfo> own_job(Volume& volume, const json& parameters, const MethodCaller& caller) {
    UMBRA_ASSIGN(const std::string id, required_text(parameters, "job"));
    UMBRA_ASSIGN(JobInfo job, volume.jobs().find(id));
    if (caller.uid == 0 || caller.uid == job.uid) return job;
    return error_of(
        ErrorKind::kNotFound, ENOENT,
        fmt::format("there is no restore job '{}': 'umbra restore list' shows yours", id));
}

std::size_t held_for(const Volume& volume, const std::string& job) {
    std::size_t count = 0;
    for (const auto& snapshot : volume.catalog().snapshots()) {
        count += std::any_of(snapshot.holds.begin(), snapshot.holds.end(),
                             [&](const Hold& hold) { return hold.reason == hold_reason(job); })
                     ? 1
                     : 0;
    }
    return count;
}

Result<std::vector<std::string>> hex_texts(const json& parameters, const char* key) {
    UMBRA_ASSIGN(const std::vector<std::string> texts, optional_texts(parameters, key));
    std::vector<std::string> decoded;
    for (const auto& text : texts) {
        auto bytes = decode_hex(text);
        if (!bytes)
            return error_of(
                ErrorKind::kUsage, EINVAL,
                fmt::format("the parameter '{}' must be pairs of hexadecimal digits", key));
        decoded.push_back(std::move(*bytes));
    }
    return decoded;
}

}  // namespace

Result<json> create(Volume& volume, const json&, const MethodCaller& caller) {
    UMBRA_TRY(volume.check_owner());
    UMBRA_ASSIGN(const JobInfo job, volume.jobs().create(caller.uid, ::time(nullptr)));
    return to_json(job);
}

Result<json> begin(Volume& volume, const json& parameters, const MethodCaller& caller) {
    UMBRA_ASSIGN(const JobInfo job, own_job(volume, parameters, caller));
    UMBRA_ASSIGN(const bool snapshot, optional_flag(parameters, "snapshot"));
    UMBRA_TRY(volume.check_owner());
    if (snapshot && !caller.owner && held_for(volume, job.id) >= kUserHeldSnapshots)
        return error_of(
            ErrorKind::kRefused, EDQUOT,
            fmt::format("restore job '{}' was begun {} times, and no user's may be more "
                        "often: restore anew",
                        job.id, kUserHeldSnapshots));
    UMBRA_TRY(volume.jobs().begin_run(job.id, caller.pid));
    const std::string whose = described(volume, job);
    if (!snapshot) {
        volume.tell(EventId::kRestoreBegun, whose + " is being undone");
        return json{{"before", ""}};
    }
    Volume::SnapshotOptions options;
    options.hold_reason = hold_reason(job.id);
    if (!caller.owner) options.hold_expires = ::time(nullptr) + kUserHoldSeconds;
    auto taken = volume.create_snapshot(options);
    if (!taken) {
        volume.jobs().end_run(job.id, caller.pid);
        return forward_error(taken);
    }
    volume.tell(EventId::kRestoreBegun,
                whose + " begins; snapshot " + taken->token + " shows what was there before");
    return json{{"before", taken->token}};
}

Result<json> end(Volume& volume, const json& parameters, const MethodCaller& caller) {
    UMBRA_ASSIGN(const JobInfo job, own_job(volume, parameters, caller));
    UMBRA_ASSIGN(const bool complete, optional_flag(parameters, "complete"));
    if (!volume.jobs().end_run(job.id, caller.pid)) return json::object();
    const std::string whose = described(volume, job);
    if (complete)
        volume.tell(EventId::kRestoreFinished, whose + " has ended: all of it is restored");
    else
        volume.tell(EventId::kRestoreIncomplete,
                    whose + " has ended, and not all of it is restored: 'umbra restore status " +
                        job.id + "' says what");
    return json::object();
}

Result<json> append(Volume& volume, const json& parameters, const MethodCaller& caller) {
    UMBRA_ASSIGN(const JobInfo job, own_job(volume, parameters, caller));
    UMBRA_ASSIGN(const std::vector<std::string> records, hex_texts(parameters, "records"));
    UMBRA_ASSIGN(const bool sync, optional_flag(parameters, "sync"));
    UMBRA_TRY(volume.check_owner());
    for (const auto& record : records)
        UMBRA_TRY(volume.jobs().append(job.id, caller.pid, record, false));
    if (sync) UMBRA_TRY(volume.jobs().sync(job.id, caller.pid));
    return json::object();
}

Result<json> read(Volume& volume, const json& parameters, const MethodCaller& caller) {
    UMBRA_ASSIGN(const JobInfo job, own_job(volume, parameters, caller));
    UMBRA_ASSIGN(const auto position, optional_integer(parameters, "position"));
    UMBRA_ASSIGN(const JobJournals::Slice slice,
                 volume.jobs().read(job.id, static_cast<std::uint64_t>(
                                                std::max<std::int64_t>(position.value_or(0), 0))));
    json records = json::array();
    for (const auto& record : slice.records) records.push_back(encode_hex(record));
    json shown = to_json(job);
    shown["records"] = std::move(records);
    shown["next"] = slice.next;
    return shown;
}

Result<json> list(Volume& volume, const json&, const MethodCaller& caller) {
    UMBRA_ASSIGN(const std::vector<JobInfo> jobs, volume.jobs().list());
    json listed = json::array();
    for (const auto& job : jobs) {
        if (caller.uid == 0 || caller.uid == job.uid) listed.push_back(to_json(job));
    }
    return listed;
}

Result<json> forget(Volume& volume, const json& parameters, const MethodCaller& caller) {
    UMBRA_ASSIGN(const std::string id, required_text(parameters, "job"));
    // Root may forget what cannot be read any more.
    if (caller.uid != 0) UMBRA_TRY(own_job(volume, parameters, caller));
    UMBRA_TRY(volume.check_owner());
    UMBRA_TRY(volume.jobs().remove(id));
    for (const auto& snapshot : volume.catalog().snapshots()) {
        const bool held =
            std::any_of(snapshot.holds.begin(), snapshot.holds.end(),
                        [&](const Hold& hold) { return hold.reason == hold_reason(id); });
        if (held) UMBRA_TRY(volume.release(snapshot.epoch, hold_reason(id)));
    }
    return json::object();
}

Result<json> sync(Volume& volume, const json&, const MethodCaller&) {
    UMBRA_TRY(volume.sync_live());
    return json::object();
}

Result<json> untouched(Volume& volume, const json& parameters, const MethodCaller& caller) {
    UMBRA_ASSIGN(const std::string token, required_text(parameters, "token"));
    UMBRA_ASSIGN(const std::vector<std::string> paths, hex_texts(parameters, "paths"));
    UMBRA_ASSIGN(const Snapshot snapshot, volume.find_snapshot(token));
    json answers = json::array();
    for (const auto& path : paths) {
        const bool may = !caller.may_see || caller.may_see(snapshot.token, path);
        const auto known =
            may ? volume.history().contents_untouched(snapshot.epoch, path) : Result<bool>(false);
        answers.push_back(known && *known);
    }
    return answers;
}

Result<json> changed(Volume& volume, const json& parameters, const MethodCaller& caller) {
    UMBRA_ASSIGN(const std::string token, required_text(parameters, "token"));
    UMBRA_ASSIGN(const std::vector<std::string> paths, hex_texts(parameters, "paths"));
    UMBRA_ASSIGN(const auto position, optional_integer(parameters, "position"));
    UMBRA_ASSIGN(const Snapshot snapshot, volume.find_snapshot(token));
    ChangedRanges changed;
    const bool may =
        paths.size() == 1 && (!caller.may_see || caller.may_see(snapshot.token, paths.front()));
    if (may) {
        const auto from =
            static_cast<std::uint64_t>(std::max<std::int64_t>(position.value_or(0), 0));
        if (auto found = volume.history().changed_ranges(snapshot.epoch, paths.front(), from))
            changed = std::move(*found);
    }
    json ranges = json::array();
    for (const auto& range : changed.ranges) ranges.push_back({range.offset, range.length});
    return json{{"known", changed.known},
                {"inode", changed.inode},
                {"ranges", std::move(ranges)},
                {"next", changed.next}};
}

}  // namespace umbra::job_methods
