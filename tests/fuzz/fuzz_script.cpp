// Restore scripts, and the metadata file that one of them leaves to another.
#include "restore/script_aliases.h"
#include "restore/script_metadata.h"
#include "restore/script_parser.h"
#include "tests/fuzz/fuzz_target.h"

namespace umbra::fuzz {

namespace {

void run_script(std::string_view text) {
    const Script script = parse_script(text);
    std::size_t before = 0;
    for (const auto& problem : script.problems) {
        require(problem.line > 0 && problem.line >= before, "problems are not in order");
        require(!problem.error.message.empty(), "a problem without words");
        before = problem.line;
    }
    ScriptAliases aliases;
    aliases.set({"A", "value", "/share", false, false});
    for (const auto& statement : script.statements) {
        const auto& shape = *statement.shape;
        require(statement.operands.size() >= shape.least && statement.operands.size() <= shape.most,
                "a statement of the wrong length");
        require(shape.verb != ScriptVerb::kDoesNotApply, "a verb that does not apply");
        for (const auto& option : shape.options)
            require(!option.required || statement.has(option.keyword), "an option is missing");
        for (const auto& word : statement.operands) static_cast<void>(aliases.expand(word));
    }
    for (const auto& variable : aliases.environment())
        require(variable.find('=') != std::string::npos, "a variable without a value");
}

void run_metadata(const std::string& text) {
    const auto metadata = parse_script_metadata(text);
    if (!metadata) return;
    const auto again = parse_script_metadata(format_script_metadata(*metadata));
    require(again && again->set == metadata->set &&
                again->snapshots.size() == metadata->snapshots.size(),
            "metadata is not what was written");
}

}  // namespace

// The first byte says which.
void run_one(std::span<const std::uint8_t> bytes) {
    Input input(bytes);
    if (input.byte() == 'm') {
        run_metadata(input.all());
    } else {
        run_script(input.all());
    }
}

std::vector<std::string> seeds() {
    ScriptMetadata metadata;
    metadata.set = "01234567-89ab-4cde-8f01-23456789abcd";
    metadata.context = "persistent";
    metadata.backup = "copy";
    metadata.snapshots.push_back({"DATA",
                                  "@GMT-2026.01.02-03.04.05",
                                  "11234567-89ab-4cde-8f01-23456789abcd",
                                  "/srv/data",
                                  "2026-01-02T03:04:05Z",
                                  {"postgresql"}});
    std::string usages;
    for (const auto& shape : script_verbs()) usages += std::string(shape.usage) + "\r\n";
    return {"m" + format_script_metadata(metadata), "s" + usages,
            "s\xEF\xBB\xBF# comment\nset context volatile nowriters\nadd volume \"/srv/d \"\"x\" "
            "alias A\ncreate\nrestore /srv/x from %A% method mirror exclude 100%%\nexit\n"};
}

}  // namespace umbra::fuzz
