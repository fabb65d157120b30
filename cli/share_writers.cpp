#include "cli/share_writers.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <optional>

#include "cli/ask_share.h"
#include "cli/output.h"
#include "cli/patient_signals.h"
#include "cli/test_steps.h"
#include "fuse/control_protocol.h"
#include "restore/writer_restore.h"

namespace umbra {

namespace {

using nlohmann::json;

Result<std::vector<WriterDefinition>> read_definitions(ShareCaller& share) {
    UMBRA_ASSIGN(const json read, share.call(control_method::kWriterRead));
    std::vector<WriterDefinition> definitions;
    for (const auto& one : read) {
        const std::string where = fmt::format("the definition of writer '{}' of '{}'",
                                              text_in(one, "name"), share.share().share);
        const auto text = decode_hex(text_in(one, "definition"));
        if (!text)
            return error_of(ErrorKind::kSystem, EPROTO,
                            "the daemon's answer cannot be understood: " + where);
        UMBRA_ASSIGN(WriterDefinition definition, parse_writer_definition(*text, where));
        if (definition.name != text_in(one, "name"))
            return error_of(ErrorKind::kUsage, EINVAL,
                            where + " is of a writer called '" + definition.name +
                                "': add it again with 'umbra writers add'");
        definitions.push_back(std::move(definition));
    }
    return definitions;
}

Result<bool> has_writers(ShareCaller& share) {
    UMBRA_ASSIGN(const json listed, share.call(control_method::kWriters));
    return listed.is_array() && !listed.empty();
}

bool is_in(const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

json reports_json(const std::vector<WriterReport>& reports) {
    return json::parse(encode_writer_reports(reports), nullptr, false);
}

}  // namespace

Result<json> ShareCaller::call(const std::string& method, const json& parameters) {
    // A connection would be closed while a writer takes its time.
    if (share_.mounted) return ask_share(share_, method, parameters);
    if (!open_) {
        UMBRA_ASSIGN(open_, open_share(Registry(), share_, print_event));
    }
    return open_->call(method, parameters);
}

void WriterChoice::add_snapshot_options(Command command) {
    Argument without_any =
        command.add_flag("--no-writers", none, "Ask no writers: the snapshot is as after a crash");
    command.add_flag("--allow-failed-writers", allow_failed,
                     "Take it although a writer fails, and say so");
    command.add_option("--writer", only, "Only this writer; may be repeated")
        .type_name("NAME")
        .one_each()
        .excludes(without_any);
    command.add_option("--exclude-writer", without, "Not this writer; may be repeated")
        .type_name("NAME")
        .one_each();
}

void WriterChoice::add_restore_options(Command command) {
    command.add_flag("--no-writers", none, "Ask no writers before and after");
}

Result<std::vector<WriterDefinition>> chosen_writers(ShareCaller& share,
                                                     const WriterChoice& choice) {
    std::vector<WriterDefinition> chosen;
    if (choice.none) return chosen;
    if (::geteuid() != 0) {
        UMBRA_ASSIGN(const bool any, has_writers(share));
        if (!any) return chosen;
        return error_of(ErrorKind::kRefused, EPERM,
                        fmt::format("'{}' has writers, and their commands run as root: ask as "
                                    "root, or give --no-writers for a snapshot as after a crash",
                                    share.share().share));
    }
    UMBRA_ASSIGN(std::vector<WriterDefinition> all, read_definitions(share));
    for (const auto* names : {&choice.only, &choice.without}) {
        for (const auto& name : *names) {
            const bool there = std::any_of(all.begin(), all.end(),
                                           [&](const auto& one) { return one.name == name; });
            if (!there)
                return error_of(
                    ErrorKind::kNotFound, ENOENT,
                    fmt::format("'{}' has no writer '{}': 'umbra writers list' shows those it has",
                                share.share().share, name));
        }
    }
    for (auto& one : all) {
        if (!choice.only.empty() && !is_in(choice.only, one.name)) continue;
        if (!is_in(choice.without, one.name)) chosen.push_back(std::move(one));
    }
    return chosen;
}

void keep_reports(ShareCaller& share, const std::vector<WriterReport>& reports,
                  const std::string& token) {
    json parameters{{"writers", reports_json(reports)}};
    if (!token.empty()) parameters["snapshot"] = token;
    static_cast<void>(share.call(control_method::kWriterReport, parameters));
}

Result<json> create_with_writers(ShareCaller& share, std::vector<WriterDefinition> definitions,
                                 bool allow_failed, const json& parameters) {
    const PatientSignals signals;
    WriterSessionOptions options;
    options.share = share.share().root();
    options.allow_failed = allow_failed;
    options.interrupted = PatientSignals::asked_to_stop;
    options.on_step = test_steps();
    if (share.share().mounted)
        options.on_orphaned = [&share](const auto& reports) { keep_reports(share, reports, ""); };
    UMBRA_ASSIGN(const std::unique_ptr<WriterSession> session,
                 WriterSession::start(std::move(definitions), std::move(options)));
    json snapshot;
    const auto cut = [&](const std::vector<WriterReport>& reports) -> Result<std::string> {
        json asked = parameters;
        asked["writers"] = reports_json(reports);
        UMBRA_ASSIGN(snapshot, share.call(control_method::kSnapshotCreate, asked));
        return text_in(snapshot, "token");
    };
    const auto record = [&](const std::string& token,
                            const std::vector<WriterReport>& reports) -> Result<void> {
        UMBRA_ASSIGN(snapshot, share.call(control_method::kSnapshotWriters,
                                          {{"name", token}, {"writers", reports_json(reports)}}));
        return {};
    };
    const auto take_back = [&](const std::string& token) -> Result<void> {
        if (parameters.contains("hold"))
            static_cast<void>(share.call(control_method::kSnapshotRelease,
                                         {{"name", token}, {"reason", parameters["hold"]}}));
        UMBRA_ASSIGN(const json done,
                     share.call(control_method::kSnapshotDelete, {{"names", {token}}}));
        const json failed = done.value("failed", json::array());
        if (failed.empty()) return {};
        return error_of(ErrorKind::kRefused, EBUSY, text_in(failed.front(), "message"));
    };
    auto taken = snapshot_with_writers(*session, cut, record, take_back);
    keep_reports(share, session->reports(), taken ? taken->token : "");
    if (!taken) return forward_error(taken);
    if (any_writer_failed(taken->reports))
        print_error("the snapshot was taken although " + failed_writers_text(taken->reports));
    return snapshot;
}

namespace {

// What a job that ended with an error has restored is not known: not begun, as far as anybody can
// tell.
RestoreJob unknown_job(const JobSpec& spec) {
    RestoreJob job;
    job.spec = spec;
    for (const auto& component : spec.components) {
        job.components.emplace_back();
        job.components.back().spec = component;
    }
    return job;
}

Result<std::vector<WriterDefinition>> involved_writers(ShareCaller& share, const JobSpec& spec,
                                                       const WriterChoice& choice) {
    std::vector<WriterDefinition> none;
    if (choice.none) return none;
    if (::geteuid() != 0) {
        const auto any = has_writers(share);
        if (any && *any)
            print_note("the share has writers; they are not asked, since you are not root");
        return none;
    }
    UMBRA_ASSIGN(const std::vector<WriterDefinition> all, read_definitions(share));
    return writers_of_job(all, spec);
}

}  // namespace

Result<JobOutcome> restore_with_writers(const SharePath& share, const JobSpec& spec,
                                        const std::string& target, const WriterChoice& choice,
                                        const std::function<Result<JobOutcome>()>& run,
                                        bool& failed_after) {
    ShareCaller caller(share);
    UMBRA_ASSIGN(const std::vector<WriterDefinition> involved,
                 involved_writers(caller, spec, choice));
    if (involved.empty()) return run();
    WriterRestoreOptions options;
    options.share = share.root();
    options.target = target;
    options.interrupted = PatientSignals::asked_to_stop;
    options.on_step = test_steps();
    UMBRA_ASSIGN(const json recorded,
                 caller.call(control_method::kWriterDocuments, {{"name", spec.token}}));
    UMBRA_ASSIGN(options.recorded, decode_writer_reports(recorded.dump()));
    WriterRestore writers(involved, spec, std::move(options));
    if (auto ready = writers.pre_restore(); !ready) {
        keep_reports(caller, writers.reports(), spec.token);
        return forward_error(ready);
    }
    auto outcome = run();
    const RestoreJob unknown = unknown_job(spec);
    const auto after =
        writers.post_restore(outcome ? outcome->id : "", outcome ? &outcome->job : &unknown);
    keep_reports(caller, writers.reports(), spec.token);
    if (!after) print_error(after.error().text());
    failed_after = !after;
    return outcome;
}

}  // namespace umbra
