#include "cli/script_writers.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>

#include "cli/output.h"
#include "cli/patient_signals.h"
#include "cli/test_steps.h"
#include "fuse/control_protocol.h"
#include "fuse/registry.h"
#include "restore/script_text.h"

namespace umbra {

namespace {

using nlohmann::json;

json as_json(const std::vector<WriterReport>& reports) {
    return json::parse(encode_writer_reports(reports), nullptr, false);
}

// One share of a set.
struct Part {
    std::unique_ptr<ShareCaller> share;
    std::unique_ptr<WriterSession> session;  // null: no writer takes part
    json snapshot;

    bool failed() const { return session && any_writer_failed(session->reports()); }
};

Result<Part> make_part(const ScriptShare& share, const ScriptWriters& selection) {
    UMBRA_ASSIGN(SharePath found, resolve_share(Registry(), share.root));
    Part part;
    part.share = std::make_unique<ShareCaller>(std::move(found));
    UMBRA_ASSIGN(std::vector<WriterDefinition> writers, script_writers(*part.share, selection));
    if (writers.empty()) return part;
    WriterSessionOptions options;
    options.share = share.root;
    options.interrupted = PatientSignals::asked_to_stop;
    options.on_step = test_steps();
    options.on_orphaned = [caller = part.share.get()](const auto& reports) {
        keep_reports(*caller, reports, "");
    };
    UMBRA_ASSIGN(part.session, WriterSession::start(std::move(writers), std::move(options)));
    return part;
}

Error writers_failed(const std::vector<Part>& parts) {
    std::string text = "no snapshot was taken: ";
    for (const auto& part : parts) {
        if (part.failed()) text += failed_writers_text(part.session->reports()) + "; ";
    }
    return {ECANCELED, ErrorKind::kSystem,
            text + "see what it says, or leave it out with 'writer exclude'"};
}

// The step for every share; an error where one of its writers failed.
template <typename Step>
Result<void> for_all(std::vector<Part>& parts, Step step) {
    Result<void> result;
    for (auto& part : parts) {
        auto done = part.session ? step(part) : Result<void>();
        if (!done && result) result = done;
    }
    const bool failed =
        std::any_of(parts.begin(), parts.end(), [](const Part& part) { return part.failed(); });
    if (result && failed) return tl::make_unexpected(writers_failed(parts));
    return result;
}

Result<void> cut_all(std::vector<Part>& parts) {
    for (auto& part : parts) {
        json parameters = json::object();
        if (part.session) parameters["writers"] = as_json(part.session->reports());
        auto made = part.share->call(control_method::kSnapshotCreate, parameters);
        if (!made)
            return error_of(made.error().kind, made.error().code,
                            fmt::format("'{}': {}; no snapshot of the set is kept",
                                        part.share->share().root(), made.error().text()));
        part.snapshot = std::move(*made);
    }
    return {};
}

// After the freeze: the cut, and thaw whatever becomes of it.
Result<void> cut_and_thaw(std::vector<Part>& parts) {
    auto frozen = for_all(parts, [](Part& part) { return part.session->freeze(); });
    auto cut = frozen ? cut_all(parts) : frozen;
    // Told apart: what had failed before the thaw counts first.
    auto thawed = for_all(parts, [](Part& part) { return part.session->thaw(); });
    if (!cut) return cut;
    return thawed;
}

Result<void> finish_all(std::vector<Part>& parts) {
    UMBRA_TRY(for_all(parts, [](Part& part) {
        return part.session->post_snapshot(text_in(part.snapshot, "token"));
    }));
    return for_all(parts, [](Part& part) -> Result<void> {
        UMBRA_ASSIGN(part.snapshot,
                     part.share->call(control_method::kSnapshotWriters,
                                      {{"name", text_in(part.snapshot, "token")},
                                       {"writers", as_json(part.session->reports())}}));
        return {};
    });
}

// What was made must not stay; what does is said.
Error take_back(std::vector<Part>& parts, Error why) {
    for (auto& part : parts) {
        const std::string token = text_in(part.snapshot, "token");
        if (token.empty()) continue;
        const auto done =
            part.share->call(control_method::kSnapshotDelete, {{"names", json::array({token})}});
        if (!done || !done->value("failed", json::array()).empty())
            why.message += fmt::format("; {} of '{}' could not be deleted again", token,
                                       part.share->share().root());
    }
    return why;
}

// Not begun, as long as nobody says otherwise.
JobComponent not_begun(const ComponentSpec& spec) {
    JobComponent component;
    component.spec = spec;
    return component;
}

bool same_paths(const ComponentSpec& a, const ComponentSpec& b) {
    return a.name == b.name && std::equal(a.paths.begin(), a.paths.end(), b.paths.begin(),
                                          b.paths.end(), [](const auto& x, const auto& y) {
                                              return x.source == y.source && x.target == y.target;
                                          });
}

}  // namespace

Result<std::vector<WriterDefinition>> script_writers(ShareCaller& share,
                                                     const ScriptWriters& selection) {
    WriterChoice choice;
    choice.none = selection.none;
    UMBRA_ASSIGN(std::vector<WriterDefinition> writers, chosen_writers(share, choice));
    std::erase_if(writers, [&](const WriterDefinition& writer) {
        return std::any_of(selection.exclude.begin(), selection.exclude.end(),
                           [&](const auto& name) { return equal_but_case(name, writer.name); });
    });
    return writers;
}

Result<std::vector<json>> create_set(const std::vector<ScriptShare>& shares,
                                     const ScriptWriters& selection) {
    std::vector<Part> parts;
    for (const auto& share : shares) {
        UMBRA_ASSIGN(Part part, make_part(share, selection));
        parts.push_back(std::move(part));
    }
    auto done = for_all(parts, [](Part& part) { return part.session->prepare(); });
    if (done) done = cut_and_thaw(parts);
    if (done) done = finish_all(parts);
    for (auto& part : parts) {
        if (part.session)
            keep_reports(*part.share, part.session->reports(),
                         done ? text_in(part.snapshot, "token") : "");
    }
    if (!done) return tl::make_unexpected(take_back(parts, std::move(done.error())));
    std::vector<json> snapshots;
    for (auto& part : parts) snapshots.push_back(std::move(part.snapshot));
    return snapshots;
}

// --- restores -----------------------------------------------------------------------------------

std::vector<ScriptRestores::Group> ScriptRestores::group(
    const std::vector<AnnouncedRestore>& restores) {
    std::vector<Group> groups;
    for (const auto& one : restores) {
        auto there = std::find_if(groups.begin(), groups.end(), [&](const Group& group) {
            return group.share.share == one.share.share && group.spec.token == one.spec.token &&
                   group.target == one.target;
        });
        if (there == groups.end()) {
            groups.emplace_back();
            there = std::prev(groups.end());
            there->share = one.share;
            there->spec = one.spec;
            there->spec.components.clear();
            there->target = one.target;
        }
        for (const auto& component : one.spec.components) {
            there->spec.components.push_back(component);
            there->job.components.push_back(not_begun(component));
        }
        there->job.spec = there->spec;
    }
    return groups;
}

Result<std::vector<WriterDefinition>> ScriptRestores::writers_of(const Group& group,
                                                                 const ScriptWriters& selection) {
    ShareCaller share(group.share);
    if (::geteuid() != 0) {
        const auto any = share.call(control_method::kWriters);
        if (any && !any->empty() && !selection.none)
            print_note("the share has writers; they are not asked, since you are not root");
        return std::vector<WriterDefinition>{};
    }
    UMBRA_ASSIGN(const std::vector<WriterDefinition> all, script_writers(share, selection));
    return writers_of_job(all, group.spec);
}

Result<void> ScriptRestores::ask(Group& group, const ScriptWriters& selection) {
    UMBRA_ASSIGN(std::vector<WriterDefinition> writers, writers_of(group, selection));
    if (writers.empty()) return {};
    ShareCaller share(group.share);
    WriterRestoreOptions options;
    options.share = group.share.root();
    options.target = group.target;
    options.interrupted = PatientSignals::asked_to_stop;
    options.on_step = test_steps();
    UMBRA_ASSIGN(const json recorded,
                 share.call(control_method::kWriterDocuments, {{"name", group.spec.token}}));
    UMBRA_ASSIGN(options.recorded, decode_writer_reports(recorded.dump()));
    auto asked =
        std::make_unique<WriterRestore>(std::move(writers), group.spec, std::move(options));
    auto ready = asked->pre_restore();
    keep_reports(share, asked->reports(), group.spec.token);
    if (ready) group.writers = std::move(asked);
    return ready;
}

Result<std::unique_ptr<ScriptRestores>> ScriptRestores::begin(
    const std::vector<AnnouncedRestore>& restores, const ScriptWriters& selection) {
    auto session = std::make_unique<ScriptRestores>();
    session->groups_ = group(restores);
    for (auto& one : session->groups_) {
        auto asked = ask(one, selection);
        if (asked) continue;
        static_cast<void>(session->end());
        return forward_error(asked);
    }
    return session;
}

Result<std::vector<std::string>> ScriptRestores::involved(
    const std::vector<AnnouncedRestore>& restores, const ScriptWriters& selection) {
    std::vector<std::string> names;
    for (const auto& one : group(restores)) {
        UMBRA_ASSIGN(const std::vector<WriterDefinition> writers, writers_of(one, selection));
        for (const auto& writer : writers) names.push_back(writer.name);
    }
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    return names;
}

void ScriptRestores::report(const AnnouncedRestore& restore, const JobOutcome& outcome) {
    for (auto& group : groups_) {
        if (group.share.share != restore.share.share || group.target != restore.target ||
            group.spec.token != restore.spec.token)
            continue;
        group.ids += (group.ids.empty() ? "" : " ") + outcome.id;
        for (const auto& component : outcome.job.components) {
            // The first of its kind that has not been reported.
            const auto there = std::find_if(
                group.job.components.begin(), group.job.components.end(), [&](const auto& one) {
                    return one.run == 0 && same_paths(one.spec, component.spec);
                });
            if (there != group.job.components.end()) *there = component;
        }
    }
}

Result<void> ScriptRestores::end() {
    Result<void> result;
    for (auto group = groups_.rbegin(); group != groups_.rend(); ++group) {
        if (!group->writers) continue;
        auto told = group->writers->post_restore(group->ids, &group->job);
        ShareCaller share(group->share);
        keep_reports(share, group->writers->reports(), group->spec.token);
        group->writers.reset();
        if (!told && result) result = told;
    }
    groups_.clear();
    return result;
}

}  // namespace umbra
