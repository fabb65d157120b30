#include "restore/writer_report.h"

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

namespace umbra {

namespace {

using nlohmann::json;

struct StateName {
    WriterState state;
    const char* name;
};

constexpr std::array<StateName, 14> kStates{{
    {WriterState::kUnknown, "unknown"},
    {WriterState::kStable, "stable"},
    {WriterState::kWaitingForFreeze, "waiting_for_freeze"},
    {WriterState::kFrozen, "frozen"},
    {WriterState::kWaitingForPostSnapshot, "waiting_for_post_snapshot"},
    {WriterState::kWaitingForCompletion, "waiting_for_completion"},
    {WriterState::kFailedAtIdentify, "failed_at_identify"},
    {WriterState::kFailedAtPrepare, "failed_at_prepare"},
    {WriterState::kFailedAtFreeze, "failed_at_freeze"},
    {WriterState::kFailedAtThaw, "failed_at_thaw"},
    {WriterState::kFailedAtPostSnapshot, "failed_at_post_snapshot"},
    {WriterState::kFailedAtPreRestore, "failed_at_pre_restore"},
    {WriterState::kFailedAtPostRestore, "failed_at_post_restore"},
    {WriterState::kFailedAtShutdown, "failed_at_shutdown"},
}};

constexpr std::array<const char*, 5> kErrorNames{"no_error", "retryable", "timed_out",
                                                 "non_retryable", "unexpected"};

std::string member(const json& object, const char* key) {
    const auto found = object.find(key);
    return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

}  // namespace

const char* writer_state_name(WriterState state) {
    for (const auto& known : kStates)
        if (known.state == state) return known.name;
    return "unknown";
}

std::optional<WriterState> writer_state_of(std::string_view name) {
    for (const auto& known : kStates)
        if (name == known.name) return known.state;
    return std::nullopt;
}

WriterState failed_at(WriterStep step) {
    switch (step) {
        case WriterStep::kIdentify:
            return WriterState::kFailedAtIdentify;
        case WriterStep::kPrepare:
            return WriterState::kFailedAtPrepare;
        case WriterStep::kFreeze:
            return WriterState::kFailedAtFreeze;
        case WriterStep::kThaw:
            return WriterState::kFailedAtThaw;
        case WriterStep::kPostSnapshot:
            return WriterState::kFailedAtPostSnapshot;
        case WriterStep::kPreRestore:
            return WriterState::kFailedAtPreRestore;
        case WriterStep::kPostRestore:
            return WriterState::kFailedAtPostRestore;
    }
    return WriterState::kUnknown;
}

const char* writer_error_name(WriterError error) {
    return kErrorNames[static_cast<std::size_t>(error)];
}

bool any_writer_failed(const std::vector<WriterReport>& reports) {
    return std::any_of(reports.begin(), reports.end(),
                       [](const WriterReport& report) { return report.failed(); });
}

std::string failed_writers_text(const std::vector<WriterReport>& reports) {
    std::string text;
    for (const auto& report : reports) {
        if (!report.failed()) continue;
        text += (text.empty() ? "writer '" : "; writer '") + report.name + "' " +
                writer_state_name(report.state) + " (" + writer_error_name(report.error) +
                "): " + report.sentence;
    }
    return text;
}

std::string encode_writer_reports(const std::vector<WriterReport>& reports) {
    json all = json::array();
    for (const auto& report : reports)
        all.push_back({{"name", report.name},
                       {"state", writer_state_name(report.state)},
                       {"state_number", static_cast<int>(report.state)},
                       {"last_error", writer_error_name(report.error)},
                       {"reason", report.sentence.empty() ? json(nullptr) : json(report.sentence)},
                       {"document", report.document}});
    return all.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<std::vector<WriterReport>> decode_writer_reports(std::string_view text) {
    std::vector<WriterReport> reports;
    if (text.empty()) return reports;
    const json all = json::parse(text, nullptr, false);
    if (!all.is_array())
        return error_of(ErrorKind::kDiffArea, EIO,
                        "what the snapshot says of the writers cannot be read");
    for (const auto& one : all) {
        if (!one.is_object()) continue;
        WriterReport report;
        report.name = member(one, "name");
        report.state = writer_state_of(member(one, "state")).value_or(WriterState::kUnknown);
        const auto error =
            std::find(kErrorNames.begin(), kErrorNames.end(), member(one, "last_error"));
        if (error != kErrorNames.end())
            report.error = static_cast<WriterError>(error - kErrorNames.begin());
        report.sentence = member(one, "reason");
        report.document = member(one, "document");
        reports.push_back(std::move(report));
    }
    return reports;
}

}  // namespace umbra
