// umbra doctor: is everything fit for serving a share?
#include "fuse/doctor.h"

#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/ask_share.h"
#include "cli/command.h"
#include "cli/output.h"
#include "fuse/control_protocol.h"

namespace umbra {

namespace {

using nlohmann::json;

struct DoctorCommandOptions {
    std::string share;
    DoctorOptions looks;
    bool as_json = false;
};

// Null where the share cannot be asked, which is a finding and no failure.
json asked(const SharePath& share, const char* method) {
    auto answer = ask_share(share, method);
    return answer ? std::move(*answer) : json();
}

Result<ExitCode> run_doctor(const DoctorCommandOptions& options) {
    UMBRA_ASSIGN(const SharePath share, resolve_share(Registry(), options.share));
    const auto findings = examine(share, asked(share, control_method::kStatus),
                                  asked(share, control_method::kSettings), options.looks);
    bool problem = false;
    json listed = json::array();
    for (const auto& finding : findings) {
        problem = problem || finding.health == Health::kProblem;
        listed.push_back({{"check", finding.check},
                          {"result", health_name(finding.health)},
                          {"message", finding.message},
                          {"advice", finding.advice}});
        if (options.as_json) continue;
        print_line(fmt::format("{:<8} {:<8} {}", finding.check, health_name(finding.health),
                               printable(finding.message)));
        if (!finding.advice.empty())
            print_line(fmt::format("{:<17} -> {}", "", printable(finding.advice)));
    }
    if (options.as_json) print_json(listed);
    return problem ? ExitCode::kFailed : ExitCode::kDone;
}

}  // namespace

void add_doctor_command(Command parent) {
    auto options = std::make_shared<DoctorCommandOptions>();
    Command command = parent.add_subcommand(
        "doctor", "Check all that serving a share depends on, and say what to change");
    command.footer(std::string("Exit status 1 also where a problem was found; a warning is "
                               "none.\n") +
                   kExitStatusHelp);
    command.add_option("SHARE", options->share, "The share, or any path in it").required();
    command
        .add_option("--smb-conf", options->looks.smb_conf,
                    "Samba's configuration (default: the one that testparm finds)")
        .type_name("FILE");
    command.add_flag("--json", options->as_json, "Print JSON");
    command.runs([options] { return run_doctor(*options); });
}

}  // namespace umbra
