#include "cli/arguments.h"

#include <CLI/CLI.hpp>

namespace umbra {

Argument Argument::required() {
    option_->required();
    return *this;
}

Argument Argument::type_name(const std::string& name) {
    option_->type_name(name);
    return *this;
}

Argument Argument::excludes(Argument other) {
    option_->excludes(other.option_);
    return *this;
}

Argument Argument::between(std::int64_t least, std::int64_t most) {
    option_->check(CLI::Range(least, most));
    return *this;
}

Argument Argument::with_default() {
    option_->capture_default_str();
    return *this;
}

Argument Argument::one_each() {
    option_->allow_extra_args(false);
    return *this;
}

Argument Argument::take_all() {
    option_->take_all();
    return *this;
}

Argument Argument::comma_separated() {
    option_->delimiter(',');
    return *this;
}

Command Command::add_subcommand(const std::string& name, const std::string& description) {
    return {app_->add_subcommand(name, description), chosen_};
}

void Command::require_subcommand() { app_->require_subcommand(1); }

void Command::alias(const std::string& name) { app_->alias(name); }

void Command::hide() { app_->group(""); }

void Command::footer(const std::string& text) { app_->footer(text); }

Argument Command::add_option(const std::string& name, std::string& target,
                             const std::string& description) {
    return Argument(app_->add_option(name, target, description));
}

Argument Command::add_option(const std::string& name, std::optional<std::string>& target,
                             const std::string& description) {
    return Argument(app_->add_option(name, target, description));
}

Argument Command::add_option(const std::string& name, std::vector<std::string>& target,
                             const std::string& description) {
    return Argument(app_->add_option(name, target, description));
}

Argument Command::add_option(const std::string& name, int& target, const std::string& description) {
    return Argument(app_->add_option(name, target, description));
}

Argument Command::add_option(const std::string& name, std::int64_t& target,
                             const std::string& description) {
    return Argument(app_->add_option(name, target, description));
}

Argument Command::add_option(const std::string& name, std::uint64_t& target,
                             const std::string& description) {
    return Argument(app_->add_option(name, target, description));
}

Argument Command::add_flag(const std::string& name, bool& target, const std::string& description) {
    return Argument(app_->add_flag(name, target, description));
}

void Command::runs(Runner runner) {
    app_->callback([app = app_, chosen = chosen_, runner = std::move(runner)] {
        if (app->get_subcommands().empty()) *chosen = runner;
    });
}

CommandLine::CommandLine(const std::string& description, const std::string& name,
                         const std::string& version)
    : app_(std::make_unique<CLI::App>(description, name)) {
    app_->set_version_flag("--version", version, "Print the version and exit");
}

CommandLine::~CommandLine() = default;

Command CommandLine::root() { return {app_.get(), &chosen_}; }

// The innermost command that was named, for the hint at its --help.
std::string CommandLine::named_command() const {
    std::string name = app_->get_name();
    for (const CLI::App* at = app_.get(); !at->get_subcommands().empty();) {
        at = at->get_subcommands().front();
        name += " " + at->get_name();
    }
    return name;
}

Result<Runner> CommandLine::parse(const std::vector<std::string>& arguments) {
    try {
        app_->parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    } catch (const CLI::ParseError& error) {
        if (error.get_exit_code() != 0) {
            return error_of(ErrorKind::kUsage, EINVAL,
                            std::string(error.what()) + "; see '" + named_command() + " --help'");
        }
        app_->exit(error);
        return Runner([] { return Result<ExitCode>(ExitCode::kDone); });
    }
    return chosen_;
}

}  // namespace umbra
