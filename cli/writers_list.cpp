// umbra writers list: the writers of a share, and how they ended the last time.
#include <fmt/format.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "cli/ask_share.h"
#include "cli/command.h"
#include "cli/output.h"
#include "fuse/control_protocol.h"

namespace umbra {

namespace {

using nlohmann::json;

struct WritersListOptions {
    std::string share;
    std::optional<std::string> from;
    bool as_json = false;
};

Result<ExitCode> run_writers_list(const WritersListOptions& options) {
    UMBRA_ASSIGN(const json writers,
                 options.from ? ask_share(options.share, control_method::kWriterDocuments,
                                          {{"name", *options.from}})
                              : ask_share(options.share, control_method::kWriters));
    if (options.as_json) {
        print_json(writers);
        return ExitCode::kDone;
    }
    std::vector<std::vector<std::string>> rows;
    for (const auto& writer : writers)
        rows.push_back({text_in(writer, "name"), printable(text_in(writer, "state")),
                        printable(text_in(writer, "last_error")),
                        printable(text_in(writer, "snapshot")), local_time(text_in(writer, "time")),
                        printable(text_in(writer, "reason"))});
    if (!rows.empty())
        print_table({"WRITER", "STATE", "LAST ERROR", "SNAPSHOT", "WHEN", "REASON"}, rows);
    return ExitCode::kDone;
}

}  // namespace

void add_writers_list_command(Command parent) {
    auto options = std::make_shared<WritersListOptions>();
    Command command = parent.add_subcommand(
        "list", "List the writers of a share, and how they ended the last time");
    command.footer(kExitStatusHelp);
    command.add_option("SHARE", options->share, "The share, or any path in it").required();
    command
        .add_option("--from", options->from,
                    "How they stood at this snapshot, and with --json what it keeps for them")
        .type_name("TOKEN");
    command.add_flag("--json", options->as_json, "Print JSON");
    command.runs([options] { return run_writers_list(*options); });
}

}  // namespace umbra
