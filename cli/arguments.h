// The grammar of the command line. CLI11 does the work and is seen by arguments.cpp alone: its
// headers hold all of its code, which every file that includes them would compile anew.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/exit_code.h"
#include "snapstore/result.h"

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace umbra {

// Runs the chosen command; its error becomes the one line on stderr and the exit code.
using Runner = std::function<Result<ExitCode>()>;

// An option, a flag or a positional argument. A handle: valid while its CommandLine lives.
class Argument {
   public:
    explicit Argument(CLI::Option* option) : option_(option) {}

    Argument required();
    // What --help shows for the value.
    Argument type_name(const std::string& name);
    Argument excludes(Argument other);
    Argument between(std::int64_t least, std::int64_t most);
    // --help shows the value it has before parsing.
    Argument with_default();
    // Of several values: one after each mention of the option; all of all mentions in a row; or
    // comma separated.
    Argument one_each();
    Argument take_all();
    Argument comma_separated();

   private:
    CLI::Option* option_;
};

// A command, or a group of them. A handle: valid while its CommandLine lives.
class Command {
   public:
    Command(CLI::App* app, Runner* chosen) : app_(app), chosen_(chosen) {}

    Command add_subcommand(const std::string& name, const std::string& description);
    // One of its subcommands must be named.
    void require_subcommand();
    void alias(const std::string& name);
    // Leaves it out of --help.
    void hide();
    // The last lines of --help.
    void footer(const std::string& text);

    // Names that begin with '-' are options, others are positional. `target` must live as long as
    // the command line: what runs() keeps does.
    Argument add_option(const std::string& name, std::string& target,
                        const std::string& description);
    Argument add_option(const std::string& name, std::optional<std::string>& target,
                        const std::string& description);
    Argument add_option(const std::string& name, std::vector<std::string>& target,
                        const std::string& description);
    Argument add_option(const std::string& name, int& target, const std::string& description);
    Argument add_option(const std::string& name, std::int64_t& target,
                        const std::string& description);
    Argument add_option(const std::string& name, std::uint64_t& target,
                        const std::string& description);
    Argument add_flag(const std::string& name, bool& target, const std::string& description);

    // What to do when it was named, and none of its subcommands.
    void runs(Runner runner);

   private:
    CLI::App* app_;
    Runner* chosen_;
};

// All commands of the program.
class CommandLine {
   public:
    CommandLine(const std::string& description, const std::string& name,
                const std::string& version);
    CommandLine(const CommandLine&) = delete;
    CommandLine& operator=(const CommandLine&) = delete;
    ~CommandLine();

    Command root();

    // What is to be run for these arguments, without the program's name; for --help and --version,
    // which it prints, nothing is left to do. kUsage for what does not parse.
    Result<Runner> parse(const std::vector<std::string>& arguments);

   private:
    std::string named_command() const;

    std::unique_ptr<CLI::App> app_;
    Runner chosen_;
};

}  // namespace umbra
