#include "restore/restore_job.h"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "snapstore/bytes.h"

namespace umbra {

namespace {

constexpr std::uint8_t kRecordVersion = 1;

enum class Type : std::uint8_t {
    kJob = 1,
    kRunBegun = 2,
    kComponentBegun = 3,
    kEntry = 4,
    kStaged = 5,
    kEntryStatus = 6,
    kEntriesDone = 7,
    kComponentStatus = 8,
    kCleaned = 9,
    kRunEnded = 10,
    kUndone = 11,
    kPaths = 12,
};

constexpr std::array<std::pair<RestoreMethod, const char*>, 5> kMethods{{
    {RestoreMethod::kMerge, "merge"},
    {RestoreMethod::kReplace, "replace"},
    {RestoreMethod::kIfMissing, "if-missing"},
    {RestoreMethod::kIfCanReplace, "if-can-replace"},
    {RestoreMethod::kMirror, "mirror"},
}};

ByteWriter start(Type type) {
    ByteWriter writer;
    writer.put(kRecordVersion).put(static_cast<std::uint8_t>(type));
    return writer;
}

void put_texts(ByteWriter& writer, const std::vector<std::string>& texts) {
    writer.put(static_cast<std::uint32_t>(texts.size()));
    for (const auto& text : texts) writer.put_text(text);
}

std::vector<std::string> get_texts(ByteReader& reader) {
    std::vector<std::string> texts;
    const auto count = reader.get<std::uint32_t>();
    for (std::uint32_t i = 0; i < count && reader.ok(); ++i) texts.push_back(reader.get_text());
    return texts;
}

void put_component(ByteWriter& writer, const ComponentSpec& spec) {
    writer.put_text(spec.name).put(static_cast<std::uint8_t>(spec.method));
    writer.put(static_cast<std::uint8_t>(spec.exact | spec.in_place << 1 | spec.replace_open << 2));
    put_texts(writer, spec.include);
    put_texts(writer, spec.exclude);
}

ComponentSpec get_component(ByteReader& reader) {
    ComponentSpec spec;
    spec.name = reader.get_text();
    spec.method = static_cast<RestoreMethod>(reader.get<std::uint8_t>());
    const auto flags = reader.get<std::uint8_t>();
    spec.exact = (flags & 1) != 0;
    spec.in_place = (flags & 2) != 0;
    spec.replace_open = (flags & 4) != 0;
    spec.include = get_texts(reader);
    spec.exclude = get_texts(reader);
    return spec;
}

void put_status(ByteWriter& writer, const ReportedStatus& status) {
    writer.put(static_cast<std::uint8_t>(status.status))
        .put(static_cast<std::int32_t>(status.error))
        .put_text(status.sentence);
}

ReportedStatus get_status(ByteReader& reader) {
    ReportedStatus status;
    status.status = static_cast<RestoreStatus>(reader.get<std::uint8_t>());
    status.error = reader.get<std::int32_t>();
    status.sentence = reader.get_text();
    return status;
}

void put_identity(ByteWriter& writer, const ObjectIdentity& identity) {
    writer.put(identity.inode).put_text(identity.handle);
}

ObjectIdentity get_identity(ByteReader& reader) {
    ObjectIdentity identity;
    identity.inode = reader.get<std::uint64_t>();
    identity.handle = reader.get_text();
    return identity;
}

tl::unexpected<Error> bad(const char* why) {
    return error_of(ErrorKind::kDiffArea, EIO,
                    fmt::format("the journal of the restore job cannot be understood ({})", why));
}

// A path that leads nowhere else than below its root.
bool stays_below(const std::string& path) {
    if (path.empty()) return true;
    if (path.find('\0') != std::string::npos) return false;
    for (std::size_t begin = 0; begin <= path.size();) {
        const std::size_t end = std::min(path.find('/', begin), path.size());
        const std::string_view name = std::string_view(path).substr(begin, end - begin);
        if (name.empty() || name == "." || name == "..") return false;
        begin = end + 1;
    }
    return true;
}

Result<void> apply_job(RestoreJob& job, ByteReader& reader) {
    if (job.spec) return bad("it begins twice");
    JobSpec spec;
    spec.kind = static_cast<JobKind>(reader.get<std::uint8_t>());
    spec.token = reader.get_text();
    spec.in_share = reader.get<std::uint8_t>() != 0;
    spec.target_root = reader.get_text();
    spec.undo_of = reader.get_text();
    const auto count = reader.get<std::uint32_t>();
    for (std::uint32_t i = 0; i < count && reader.ok(); ++i)
        spec.components.push_back(get_component(reader));
    if (!reader.ok() || spec.kind > JobKind::kUndo) return bad("its beginning");
    if (spec.in_share && !stays_below(spec.target_root)) return bad("a path out of the share");
    for (const auto& component : spec.components) {
        if (component.method > RestoreMethod::kMirror) return bad("a component");
        JobComponent made;
        made.spec = component;
        job.components.push_back(std::move(made));
    }
    job.spec = std::move(spec);
    return {};
}

Result<JobComponent*> component_at(RestoreJob& job, std::uint32_t number) {
    if (number >= job.components.size()) return bad("a component that there is not");
    return &job.components[number];
}

Result<void> apply_paths(RestoreJob& job, ByteReader& reader) {
    UMBRA_ASSIGN(JobComponent * component, component_at(job, reader.get<std::uint32_t>()));
    if (!job.runs.empty()) return bad("paths of a job that has begun");
    const auto count = reader.get<std::uint32_t>();
    for (std::uint32_t i = 0; i < count && reader.ok(); ++i) {
        RestorePath path;
        path.source = reader.get_text();
        path.target = reader.get_text();
        if (!reader.ok() || !stays_below(path.source) || !stays_below(path.target))
            return bad("a path");
        component->spec.paths.push_back(std::move(path));
    }
    return {};
}

Result<void> apply_component_begun(RestoreJob& job, ByteReader& reader) {
    UMBRA_ASSIGN(JobComponent * component, component_at(job, reader.get<std::uint32_t>()));
    if (job.running() == 0) return bad("a component outside of a run");
    for (auto& entry : component->entries) {
        if (entry.status.status != RestoreStatus::kNone)
            component->earlier.push_back(std::move(entry));
    }
    component->entries.clear();
    component->run = job.running();
    component->cleaned = false;
    return {};
}

Result<void> apply_entry(RestoreJob& job, ByteReader& reader) {
    UMBRA_ASSIGN(JobComponent * component, component_at(job, reader.get<std::uint32_t>()));
    JobEntry entry;
    entry.path = reader.get_text();
    entry.source = reader.get_text();
    entry.action = static_cast<RestoreAction>(reader.get<std::uint8_t>());
    entry.type = reader.get<std::uint8_t>();
    entry.size = reader.get<std::uint64_t>();
    entry.within = reader.get<std::uint32_t>();
    const auto flags = reader.get<std::uint8_t>();
    entry.in_place = (flags & 1) != 0;
    entry.on_the_way = (flags & 2) != 0;
    if (!reader.ok() || !stays_below(entry.path) || !stays_below(entry.source) ||
        entry.action > RestoreAction::kRemove || entry.within > component->entries.size() ||
        component->run == 0 || component->run != job.running()) {
        return bad("a path");
    }
    component->entries.push_back(std::move(entry));
    return {};
}

Result<JobEntry*> entry_at(JobComponent& component, std::uint32_t number) {
    if (number >= component.entries.size()) return bad("a path that there is not");
    return &component.entries[number];
}

Result<void> apply_staged(RestoreJob& job, ByteReader& reader) {
    UMBRA_ASSIGN(JobComponent * component, component_at(job, reader.get<std::uint32_t>()));
    UMBRA_ASSIGN(JobEntry * entry, entry_at(*component, reader.get<std::uint32_t>()));
    entry->made = get_identity(reader);
    entry->present = get_identity(reader);
    entry->touched = reader.get<std::uint8_t>() != 0;
    if (!reader.ok()) return bad("what stands aside");
    return {};
}

bool all_are_all(const JobComponent& component) {
    for (const auto& entry : component.entries) {
        if (entry.status.status != RestoreStatus::kAll) return false;
    }
    return true;
}

Result<void> apply_entry_status(RestoreJob& job, ByteReader& reader) {
    UMBRA_ASSIGN(JobComponent * component, component_at(job, reader.get<std::uint32_t>()));
    UMBRA_ASSIGN(JobEntry * entry, entry_at(*component, reader.get<std::uint32_t>()));
    const ReportedStatus status = get_status(reader);
    if (!reader.ok()) return bad("a status");
    return report_status(entry->status, status, job.running());
}

Result<void> apply_entries_done(RestoreJob& job, ByteReader& reader) {
    UMBRA_ASSIGN(JobComponent * component, component_at(job, reader.get<std::uint32_t>()));
    const auto first = reader.get<std::uint32_t>();
    const auto last = reader.get<std::uint32_t>();
    if (!reader.ok() || first > last || last >= component->entries.size()) return bad("a range");
    ReportedStatus all;
    all.status = RestoreStatus::kAll;
    for (std::uint32_t i = first; i <= last; ++i) {
        ReportedStatus& status = component->entries[i].status;
        if (status.run == job.running() && status.status != RestoreStatus::kUndefined) continue;
        UMBRA_TRY(report_status(status, all, job.running()));
    }
    return {};
}

Result<void> apply_component_status(RestoreJob& job, ByteReader& reader) {
    UMBRA_ASSIGN(JobComponent * component, component_at(job, reader.get<std::uint32_t>()));
    const ReportedStatus status = get_status(reader);
    if (!reader.ok()) return bad("a status");
    return report_component_status(component->status, status, job.running(),
                                   all_are_all(*component));
}

Result<void> apply_run_begun(RestoreJob& job, ByteReader& reader) {
    if (!job.spec) return bad("a run before its beginning");
    JobRun run;
    run.before = reader.get_text();
    if (!reader.ok()) return bad("a run");
    // The one before was killed.
    if (!job.runs.empty()) job.runs.back().ended = true;
    job.runs.push_back(std::move(run));
    return {};
}

Result<void> apply_known(RestoreJob& job, Type type, ByteReader& reader) {
    switch (type) {
        case Type::kJob:
            return apply_job(job, reader);
        case Type::kPaths:
            return apply_paths(job, reader);
        case Type::kRunBegun:
            return apply_run_begun(job, reader);
        case Type::kComponentBegun:
            return apply_component_begun(job, reader);
        case Type::kEntry:
            return apply_entry(job, reader);
        case Type::kStaged:
            return apply_staged(job, reader);
        case Type::kEntryStatus:
            return apply_entry_status(job, reader);
        case Type::kEntriesDone:
            return apply_entries_done(job, reader);
        case Type::kComponentStatus:
            return apply_component_status(job, reader);
        case Type::kCleaned: {
            UMBRA_ASSIGN(JobComponent * component, component_at(job, reader.get<std::uint32_t>()));
            component->cleaned = true;
            return {};
        }
        case Type::kRunEnded:
            if (job.runs.empty()) return bad("the end of no run");
            job.runs.back().ended = true;
            return {};
        case Type::kUndone:
            job.undone = true;
            return {};
    }
    return bad("a record of a kind that this umbra does not know");
}

}  // namespace

const char* restore_method_name(RestoreMethod method) {
    for (const auto& [known, name] : kMethods) {
        if (known == method) return name;
    }
    return "unknown";
}

std::optional<RestoreMethod> restore_method_of(std::string_view name) {
    for (const auto& [method, known] : kMethods) {
        if (name == known) return method;
    }
    return std::nullopt;
}

const char* job_kind_name(JobKind kind) {
    switch (kind) {
        case JobKind::kRestore:
            return "restore";
        case JobKind::kRevert:
            return "revert";
        case JobKind::kUndo:
            return "undo";
    }
    return "unknown";
}

Result<void> RestoreJob::apply(std::string_view record) {
    ByteReader reader(record);
    const auto version = reader.get<std::uint8_t>();
    const auto type = static_cast<Type>(reader.get<std::uint8_t>());
    if (!reader.ok()) return bad("a short record");
    if (version > kRecordVersion)
        return error_of(ErrorKind::kRefused, EPROTONOSUPPORT,
                        "the restore job was recorded by a newer umbra: use that");
    return apply_known(*this, type, reader);
}

Result<RestoreJob> read_job(const std::vector<std::string>& records) {
    RestoreJob job;
    for (const auto& record : records) UMBRA_TRY(job.apply(record));
    return job;
}

namespace job_record {

std::string job(const JobSpec& spec) {
    ByteWriter writer = start(Type::kJob);
    writer.put(static_cast<std::uint8_t>(spec.kind)).put_text(spec.token);
    writer.put(static_cast<std::uint8_t>(spec.in_share)).put_text(spec.target_root);
    writer.put_text(spec.undo_of).put(static_cast<std::uint32_t>(spec.components.size()));
    for (const auto& component : spec.components) put_component(writer, component);
    return writer.take();
}

std::vector<std::string> paths(std::uint32_t component, const std::vector<RestorePath>& paths) {
    constexpr std::size_t kRecordBytes = 8 << 10;
    std::vector<std::string> records;
    for (std::size_t i = 0; i < paths.size();) {
        std::uint32_t count = 0;
        std::size_t bytes = 0;
        ByteWriter texts;
        for (; i < paths.size() && bytes < kRecordBytes; ++i, ++count) {
            texts.put_text(paths[i].source).put_text(paths[i].target);
            bytes += paths[i].source.size() + paths[i].target.size() + 8;
        }
        records.push_back(start(Type::kPaths).put(component).put(count).take() + texts.take());
    }
    return records;
}

std::string run_begun(const std::string& before) {
    return start(Type::kRunBegun).put_text(before).take();
}

std::string component_begun(std::uint32_t component) {
    return start(Type::kComponentBegun).put(component).take();
}

std::string entry(std::uint32_t component, const JobEntry& entry) {
    return start(Type::kEntry)
        .put(component)
        .put_text(entry.path)
        .put_text(entry.source)
        .put(static_cast<std::uint8_t>(entry.action))
        .put(static_cast<std::uint8_t>(entry.type))
        .put(entry.size)
        .put(entry.within)
        .put(static_cast<std::uint8_t>(entry.in_place | entry.on_the_way << 1))
        .take();
}

std::string staged(std::uint32_t component, std::uint32_t number, const JobEntry& entry) {
    ByteWriter writer = start(Type::kStaged);
    writer.put(component).put(number);
    put_identity(writer, entry.made);
    put_identity(writer, entry.present);
    return writer.put(static_cast<std::uint8_t>(entry.touched)).take();
}

std::string entry_status(std::uint32_t component, std::uint32_t number,
                         const ReportedStatus& status) {
    ByteWriter writer = start(Type::kEntryStatus);
    writer.put(component).put(number);
    put_status(writer, status);
    return writer.take();
}

std::string entries_done(std::uint32_t component, std::uint32_t first, std::uint32_t last) {
    return start(Type::kEntriesDone).put(component).put(first).put(last).take();
}

std::string component_status(std::uint32_t component, const ReportedStatus& status) {
    ByteWriter writer = start(Type::kComponentStatus);
    writer.put(component);
    put_status(writer, status);
    return writer.take();
}

std::string cleaned(std::uint32_t component) { return start(Type::kCleaned).put(component).take(); }
std::string run_ended() { return start(Type::kRunEnded).take(); }
std::string undone() { return start(Type::kUndone).take(); }

}  // namespace job_record

}  // namespace umbra
