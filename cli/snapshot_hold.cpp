// umbra snapshot hold: forbids deleting a snapshot.
#include <fmt/format.h>

#include <cstdint>
#include <ctime>
#include <limits>
#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "cli/ask_share.h"
#include "cli/command.h"
#include "cli/output.h"
#include "fuse/control_protocol.h"

namespace umbra {

namespace {

using nlohmann::json;

struct HoldOptions {
    std::string share;
    std::string name;
    std::string reason = "manual";
    std::optional<std::string> duration;
};

// "90m", "12h", "30d", "2w" in seconds.
Result<std::int64_t> parse_duration(const std::string& text) {
    const std::map<char, std::int64_t> units{
        {'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
    const auto unit = text.empty() ? units.end() : units.find(text.back());
    const std::string digits = text.substr(0, text.empty() ? 0 : text.size() - 1);
    constexpr std::size_t kMostDigits = 9;  // keeps the product far from overflowing
    if (unit == units.end() || digits.empty() || digits.size() > kMostDigits ||
        digits.find_first_not_of("0123456789") != std::string::npos || std::stoll(digits) == 0) {
        return error_of(
            ErrorKind::kUsage, EINVAL,
            fmt::format("'{}' is no duration: give a number and one of s, m, h, d, w, as in 30d",
                        text));
    }
    return std::stoll(digits) * unit->second;
}

Result<ExitCode> run_hold(const HoldOptions& options) {
    json parameters{{"name", options.name}, {"reason", options.reason}};
    if (options.duration) {
        UMBRA_ASSIGN(const std::int64_t seconds, parse_duration(*options.duration));
        parameters["expires"] = static_cast<std::int64_t>(std::time(nullptr)) + seconds;
    }
    UMBRA_TRY(ask_share(options.share, control_method::kSnapshotHold, parameters));
    return ExitCode::kDone;
}

}  // namespace

void add_snapshot_hold_command(CLI::App& parent, Runner& chosen) {
    auto options = std::make_shared<HoldOptions>();
    CLI::App* command = parent.add_subcommand("hold", "Forbid deleting a snapshot");
    command->footer(kExitStatusHelp);
    command->add_option("SHARE", options->share, "The share, or any path in it")->required();
    command->add_option("TOKEN", options->name, "Token or label")->required();
    command->add_option("--reason", options->reason, "Why, and the name to release it by")
        ->type_name("TEXT")
        ->capture_default_str();
    command
        ->add_option("--for", options->duration, "Only for so long: a number and s, m, h, d or w")
        ->type_name("DURATION");
    command->callback([options, &chosen] { chosen = [options] { return run_hold(*options); }; });
}

}  // namespace umbra
