#include "fuse/result_json.h"

#include <dirent.h>
#include <fmt/format.h>

#include "fuse/control_protocol.h"
#include "fuse/writer_methods.h"
#include "snapstore/volume_config.h"

namespace umbra {

namespace {

using nlohmann::json;

constexpr mode_t kPermissionBits = 07777;

json text_or_null(const std::string& text) { return text.empty() ? json(nullptr) : json(text); }

template <typename Number>
json number_or_null(const std::optional<Number>& number) {
    return number ? json(*number) : json(nullptr);
}

}  // namespace

std::string format_utc(const struct timespec& time) {
    struct tm parts {};
    const std::time_t seconds = time.tv_sec;
    ::gmtime_r(&seconds, &parts);
    std::string text =
        fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}", parts.tm_year + 1900, parts.tm_mon + 1,
                    parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
    if (time.tv_nsec != 0) text += fmt::format(".{:09}", time.tv_nsec);
    return text + "Z";
}

std::string format_utc(std::int64_t seconds) {
    struct timespec time {};
    time.tv_sec = static_cast<std::time_t>(seconds);
    return format_utc(time);
}

json to_json(const Snapshot& snapshot) {
    json holds = json::array();
    for (const auto& hold : snapshot.holds) {
        holds.push_back(
            {{"reason", hold.reason},
             {"expires", hold.expires ? json(format_utc(*hold.expires)) : json(nullptr)}});
    }
    return {{"token", snapshot.token},
            {"epoch", snapshot.epoch},
            {"created", format_utc(std::int64_t{snapshot.created.tv_sec})},
            {"label", text_or_null(snapshot.label)},
            {"holds", std::move(holds)},
            {"writers", writer_methods::shown_reports(snapshot.writers)}};
}

json to_json(const Version& version, const std::vector<Snapshot>& existing) {
    json tokens = json::array();
    for (const auto& snapshot : existing) {
        if (snapshot.epoch >= version.first.epoch && snapshot.epoch <= version.last.epoch) {
            tokens.push_back(snapshot.token);
        }
    }
    const struct stat& status = version.status;
    return {{"first_token", version.first.token},
            {"last_token", version.last.token},
            {"tokens", std::move(tokens)},
            {"live", version.live},
            {"type", file_type_name(IFTODT(status.st_mode))},
            {"size", static_cast<std::uint64_t>(status.st_size)},
            {"mode", fmt::format("{:04o}", status.st_mode & kPermissionBits)},
            {"uid", status.st_uid},
            {"gid", status.st_gid},
            {"mtime", format_utc(status.st_mtim)}};
}

json to_json(const Event& event) {
    return {{"sequence", event.sequence},
            {"time", format_utc(event.time)},
            {"number", event.number()},
            {"name", event.name()},
            {"severity", severity_name(event.severity())},
            {"message", event.message}};
}

json to_json(const Difference& difference) {
    json object{{"change", difference_kind_name(difference.kind)},
                {"type", file_type_name(difference.type)},
                {"old_size", number_or_null(difference.old_size)},
                {"new_size", number_or_null(difference.new_size)}};
    set_path(object, "path", difference.path);
    if (difference.kind == DifferenceKind::kRenamed) {
        set_path(object, "old_path", difference.old_path);
        object["content_changed"] = difference.content_changed;
    }
    return object;
}

json to_json(const ScrubSlice& slice) {
    json findings = json::array();
    for (const auto& finding : slice.findings) {
        json object{{"offset", number_or_null(finding.offset)},
                    {"what", finding.what},
                    {"inode", finding.object.valid() ? json(finding.object.inode) : json(nullptr)},
                    {"path", nullptr},
                    {"snapshots", finding.tokens}};
        set_path(object, "file", finding.file);
        if (finding.path) set_path(object, "path", *finding.path);
        findings.push_back(std::move(object));
    }
    return {{"done_bytes", slice.done_bytes},
            {"total_bytes", slice.total_bytes},
            {"cursor", text_or_null(slice.cursor)},
            {"findings", std::move(findings)}};
}

json to_json(const SpaceUse& space) {
    return {{"log_bytes", space.log_bytes},
            {"index_bytes", space.index_bytes},
            {"limbo_bytes", space.limbo_bytes},
            {"job_bytes", space.job_bytes},
            {"used_bytes", space.used_bytes()},
            {"limit_bytes", number_or_null(space.limit_bytes)},
            {"reserved_bytes", space.reserved_bytes},
            {"filesystem_free_bytes", space.filesystem_free_bytes},
            {"effective_limit_bytes", space.effective_limit_bytes},
            {"used_percent", space.used_percent},
            {"growth_bytes_per_second", space.growth_bytes_per_second},
            {"full_in_seconds", number_or_null(space.full_in_seconds)}};
}

json to_json(const Volume::Resize& resize) {
    const auto list = [](const std::vector<Snapshot>& snapshots) {
        json array = json::array();
        for (const auto& snapshot : snapshots) array.push_back(to_json(snapshot));
        return array;
    };
    return {{"resized", resize.done},
            {"possible", resize.possible},
            {"max_size", resize.max_size.text()},
            {"on_full", on_full_name(resize.on_full)},
            {"limit_bytes", number_or_null(resize.limit_bytes)},
            {"used_bytes", resize.used_bytes},
            {"missing_bytes", resize.missing_bytes},
            {"delete", list(resize.to_delete)},
            {"held", list(resize.held)}};
}

const char* difference_kind_name(DifferenceKind kind) {
    switch (kind) {
        case DifferenceKind::kAdded:
            return "added";
        case DifferenceKind::kRemoved:
            return "removed";
        case DifferenceKind::kModified:
            return "modified";
        case DifferenceKind::kMetadata:
            return "metadata";
        case DifferenceKind::kRenamed:
            return "renamed";
        case DifferenceKind::kTypeChanged:
            return "type-changed";
    }
    return "unknown";
}

const char* file_type_name(unsigned char directory_entry_type) {
    switch (directory_entry_type) {
        case DT_REG:
            return "file";
        case DT_DIR:
            return "directory";
        case DT_LNK:
            return "symlink";
        case DT_FIFO:
            return "fifo";
        case DT_SOCK:
            return "socket";
        case DT_BLK:
            return "block-device";
        case DT_CHR:
            return "character-device";
        default:
            return "unknown";
    }
}

Result<json> volume_status_json(Volume& volume) {
    UMBRA_ASSIGN(const SpaceUse space, volume.space_use(/*exact=*/false));
    const VolumeIdentity identity = volume.identity();
    const std::vector<Snapshot> snapshots = volume.catalog().snapshots();
    json status{{"uuid", identity.uuid},
                {"mounted", false},
                {"mountpoint", nullptr},
                {"pid", nullptr},
                {"mounted_since", nullptr},
                {"options", nullptr},
                {"read_only", volume.read_only()},
                {"snapshots", snapshots.size()},
                {"newest", snapshots.empty() ? json(nullptr) : json(snapshots.back().token)},
                {"space", to_json(space)},
                {"max_size", identity.max_size.text()},
                {"on_full", on_full_name(identity.on_full)},
                {"requests", nullptr},
                {"known_nodes", nullptr}};
    set_path(status, "share", identity.share);
    set_path(status, "diff_area", identity.diff_area);
    const OwnerRecord owner = volume.owner();
    status["owner"] = {{"host", owner.host},
                       {"process", owner.process},
                       {"renewed", format_utc(owner.renewed)},
                       {"lease_seconds", owner.lease_seconds}};
    const OutsideChanges::Found outside = volume.changed_outside();
    json examples = json::array();
    for (const auto& path : outside.examples) {
        json example;
        set_path(example, "path", path);
        examples.push_back(std::move(example));
    }
    status["changed_outside"] = {{"count", outside.count},
                                 {"complete", outside.complete},
                                 {"examples", std::move(examples)}};
    return status;
}

void add_mount_status(json& status, const MountedShare& mounted) {
    status["mounted"] = true;
    set_path(status, "share", mounted.share);
    set_path(status, "mountpoint", mounted.mountpoint);
    status["pid"] = mounted.pid;
    status["mounted_since"] = format_utc(mounted.mounted_since);
    status["options"] = mounted.options;
}

}  // namespace umbra
