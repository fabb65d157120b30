#include "fuse/writer_methods.h"

#include <fmt/format.h>

#include <ctime>
#include <map>

#include "fuse/control_protocol.h"
#include "fuse/result_json.h"

namespace umbra::writer_methods {

namespace {

constexpr std::size_t kLongestReports = 48 << 10;

json parse_array(const std::string& text) {
    json parsed = json::parse(text, nullptr, false);
    return parsed.is_array() ? parsed : json::array();
}

std::string name_of(const json& report) {
    const auto name = report.is_object() ? report.find("name") : report.end();
    return report.is_object() && name != report.end() && name->is_string()
               ? name->get<std::string>()
               : std::string();
}

}  // namespace

Result<std::string> reports_in(const json& parameters) {
    const auto found = parameters.find("writers");
    if (found == parameters.end() || found->is_null()) return std::string();
    if (!found->is_array())
        return error_of(ErrorKind::kUsage, EINVAL, "the parameter 'writers' must be an array");
    for (const auto& report : *found) {
        if (name_of(report).empty())
            return error_of(ErrorKind::kUsage, EINVAL,
                            "the parameter 'writers' has an element without a name");
    }
    std::string text = found->dump(-1, ' ', false, json::error_handler_t::replace);
    if (text.size() > kLongestReports)
        return error_of(ErrorKind::kUsage, EFBIG,
                        "what the writers want kept has more than 48 KiB in all");
    return text;
}

json shown_reports(const std::string& text) {
    json shown = json::array();
    for (auto report : parse_array(text)) {
        if (name_of(report).empty()) continue;
        report.erase("document");
        shown.push_back(std::move(report));
    }
    return shown;
}

Result<json> list(Volume& volume, const json&, const MethodCaller& caller) {
    UMBRA_ASSIGN(const std::vector<std::string> names, volume.writers().names());
    UMBRA_ASSIGN(const std::string last, volume.writers().last_reports());
    std::map<std::string, json> reports;
    for (const auto& report : shown_reports(last)) reports[name_of(report)] = report;
    json listed = json::array();
    for (const auto& name : names) {
        json one{{"name", name},      {"state", "unknown"},
                 {"state_number", 0}, {"last_error", "no_error"},
                 {"reason", nullptr}, {"snapshot", nullptr},
                 {"time", nullptr}};
        if (const auto found = reports.find(name); found != reports.end())
            one.update(found->second);
        // What a writer's command said may name anything.
        if (!caller.owner) one["reason"] = nullptr;
        listed.push_back(std::move(one));
    }
    return listed;
}

Result<json> read(Volume& volume, const json&, const MethodCaller&) {
    UMBRA_ASSIGN(const std::vector<WriterFile> all, volume.writers().definitions());
    json read = json::array();
    for (const auto& one : all)
        read.push_back({{"name", one.name}, {"definition", encode_hex(one.text)}});
    return read;
}

Result<json> add(Volume& volume, const json& parameters, const MethodCaller&) {
    WriterFile definition;
    UMBRA_ASSIGN(definition.name, required_text(parameters, "name"));
    UMBRA_ASSIGN(const std::string digits, required_text(parameters, "definition"));
    auto text = decode_hex(digits);
    if (!text)
        return error_of(ErrorKind::kUsage, EINVAL,
                        "the parameter 'definition' must be pairs of hexadecimal digits");
    definition.text = std::move(*text);
    UMBRA_TRY(volume.check_owner());
    UMBRA_TRY(volume.writers().put(definition));
    return json::object();
}

Result<json> remove(Volume& volume, const json& parameters, const MethodCaller&) {
    UMBRA_ASSIGN(const std::string name, required_text(parameters, "name"));
    UMBRA_TRY(volume.check_owner());
    UMBRA_TRY(volume.writers().remove(name));
    return json::object();
}

// Replaces the reports of the writers that it names; those of others stay, and those of writers
// that are no more go.
Result<json> report(Volume& volume, const json& parameters, const MethodCaller&) {
    UMBRA_ASSIGN(const std::string text, reports_in(parameters));
    UMBRA_ASSIGN(const auto token, optional_text(parameters, "snapshot"));
    UMBRA_TRY(volume.check_owner());
    UMBRA_ASSIGN(const std::vector<std::string> names, volume.writers().names());
    const json when = format_utc(std::int64_t{::time(nullptr)});
    UMBRA_TRY(volume.writers().change_last_reports([&](const std::string& before) {
        std::map<std::string, json> reports;
        for (const auto& old : shown_reports(before)) reports[name_of(old)] = old;
        for (auto& fresh : shown_reports(text)) {
            fresh["snapshot"] = token ? json(*token) : json(nullptr);
            fresh["time"] = when;
            reports[name_of(fresh)] = fresh;
        }
        json kept = json::array();
        for (const auto& name : names) {
            if (const auto found = reports.find(name); found != reports.end())
                kept.push_back(std::move(found->second));
        }
        return kept.dump();
    }));
    return json::object();
}

Result<json> documents(Volume& volume, const json& parameters, const MethodCaller&) {
    UMBRA_ASSIGN(const std::string name, required_text(parameters, "name"));
    UMBRA_ASSIGN(const Snapshot snapshot, volume.find_snapshot(name));
    return parse_array(snapshot.writers);
}

Result<json> of_snapshot(Volume& volume, const json& parameters, const MethodCaller&) {
    UMBRA_ASSIGN(const std::string name, required_text(parameters, "name"));
    UMBRA_ASSIGN(const std::string text, reports_in(parameters));
    UMBRA_ASSIGN(const Snapshot snapshot, volume.find_snapshot(name));
    UMBRA_ASSIGN(const Snapshot changed, volume.set_writers(snapshot.epoch, text));
    return to_json(changed);
}

}  // namespace umbra::writer_methods
