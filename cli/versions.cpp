// umbra versions: each distinct version of a path that a snapshot has, newest first.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "cli/ask_share.h"
#include "cli/command.h"
#include "cli/output.h"
#include "fuse/control_protocol.h"
#include "fuse/registry.h"
#include "fuse/share_path.h"

namespace umbra {

namespace {

using nlohmann::json;

struct VersionsOptions {
    std::string path;
    bool as_json = false;
};

std::string snapshots_of(const json& version) {
    const std::string first = text_in(version, "first_token"),
                      last = text_in(version, "last_token");
    return first == last ? first : fmt::format("{} to {}", first, last);
}

std::string size_of(const json& version) {
    // What a folder's own size is says nothing to people.
    return text_in(version, "type") == "directory"
               ? "-"
               : human_size(version.value("size", std::uint64_t{0}));
}

Result<ExitCode> run_versions(const VersionsOptions& options) {
    UMBRA_ASSIGN(const SharePath path,
                 resolve_share_path(Registry(), options.path, LastComponent::kKeep));
    json parameters = json::object();
    set_path(parameters, "path", path.relative);
    UMBRA_ASSIGN(const json versions, ask_share(path, control_method::kVersions, parameters));
    if (versions.empty()) {
        return error_of(ErrorKind::kNotFound, ENOENT,
                        fmt::format("no snapshot of '{}' has '{}'", path.share, path.relative));
    }
    if (options.as_json) {
        print_json(versions);
        return ExitCode::kDone;
    }
    std::vector<std::vector<std::string>> rows;
    for (const auto& version : versions) {
        rows.push_back({snapshots_of(version), size_of(version),
                        local_time(text_in(version, "mtime")), text_in(version, "type"),
                        version.value("live", false) ? "live" : ""});
    }
    print_table({"SNAPSHOTS", "SIZE", "MODIFIED", "TYPE", ""}, rows, {1});
    return ExitCode::kDone;
}

}  // namespace

void add_versions_command(Command parent) {
    auto options = std::make_shared<VersionsOptions>();
    Command command =
        parent.add_subcommand("versions", "List the versions of a path, newest first");
    command.footer(std::string("The version marked 'live' is the one that is there now.\n") +
                   kExitStatusHelp);
    command.add_option("PATH", options->path, "A path in a share; it may have been deleted")
        .required();
    command.add_flag("--json", options->as_json, "Print JSON");
    command.runs([options] { return run_versions(*options); });
}

}  // namespace umbra
