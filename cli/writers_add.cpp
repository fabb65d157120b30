// umbra writers add: gives a share a writer, from a file or one that comes with Umbra.
#include <fcntl.h>
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "cli/ask_share.h"
#include "cli/command.h"
#include "fuse/control_protocol.h"
#include "restore/writer_definition.h"
#include "snapstore/volume_config.h"
#include "snapstore/writer_files.h"

namespace umbra {

namespace {

struct WritersAddOptions {
    std::string share;
    std::string source;
    std::vector<std::string> settings;  // KEY=VALUE
};

// From where the program is, wherever that was installed to.
std::filesystem::path shipped_definition(const std::string& name) {
    std::error_code failure;
    const auto program = std::filesystem::read_symlink("/proc/self/exe", failure);
    return (program.parent_path() / UMBRA_WRITERS_FROM_PROGRAM / (name + ".toml"))
        .lexically_normal();
}

Result<std::string> read_definition(const std::string& source) {
    // Those that come with Umbra have names that are no paths.
    const bool shipped = check_writer_name(source).has_value();
    const std::string path = shipped ? shipped_definition(source).string() : source;
    auto text = read_small_file(AT_FDCWD, path.c_str());
    if (text) return text;
    if (shipped && text.error().code == ENOENT)
        return error_of(ErrorKind::kNotFound, ENOENT,
                        fmt::format("no writer '{}' comes with Umbra ('{}' is not there); a file "
                                    "is named by a path with a '/' or '.' in it",
                                    source, path));
    return errno_error(text.error().code, fmt::format("cannot read '{}'", path));
}

Result<std::vector<std::pair<std::string, std::string>>> settings_of(
    const std::vector<std::string>& texts) {
    std::vector<std::pair<std::string, std::string>> settings;
    for (const auto& text : texts) {
        const std::size_t equals = text.find('=');
        if (equals == 0 || equals == std::string::npos)
            return error_of(ErrorKind::kUsage, EINVAL,
                            fmt::format("'{}' is not KEY=VALUE, as --set needs it", text));
        settings.emplace_back(text.substr(0, equals), text.substr(equals + 1));
    }
    return settings;
}

Result<ExitCode> run_writers_add(const WritersAddOptions& options) {
    UMBRA_ASSIGN(const std::string source, read_definition(options.source));
    UMBRA_ASSIGN(const auto settings, settings_of(options.settings));
    const std::string where = fmt::format("'{}'", options.source);
    UMBRA_ASSIGN(const std::string text, set_in_writer_definition(source, settings, where));
    UMBRA_ASSIGN(const WriterDefinition definition, parse_writer_definition(text, where));
    UMBRA_TRY(ask_share(options.share, control_method::kWriterAdd,
                        {{"name", definition.name}, {"definition", encode_hex(text)}}));
    return ExitCode::kDone;
}

}  // namespace

void add_writers_add_command(Command parent) {
    auto options = std::make_shared<WritersAddOptions>();
    Command command = parent.add_subcommand(
        "add", "Give a share a writer: its commands are run as root from then on");
    command.footer(kExitStatusHelp);
    command.add_option("SHARE", options->share, "The share, or any path in it").required();
    command
        .add_option("WRITER", options->source,
                    "A definition: a file, or one that comes with Umbra (postgresql, sqlite, "
                    "systemd-unit)")
        .required();
    command.add_option("--set", options->settings, "Change a setting of it; may be repeated")
        .type_name("KEY=VALUE")
        .one_each();
    command.runs([options] { return run_writers_add(*options); });
}

}  // namespace umbra
