#include "restore/script_parser.h"

#include <fmt/format.h>

#include <algorithm>

#include "restore/restore_job.h"

namespace umbra {

namespace {

using Words = std::vector<ScriptWord>;

// "begin backup" as its parts.
std::vector<std::string_view> parts_of(std::string_view words) {
    std::vector<std::string_view> parts;
    while (!words.empty()) {
        const std::size_t space = words.find(' ');
        parts.push_back(words.substr(0, space));
        words = space == std::string_view::npos ? std::string_view() : words.substr(space + 1);
    }
    return parts;
}

// How many of the verb's words the line begins with.
std::size_t words_in_common(const Words& words, const std::vector<std::string_view>& parts) {
    std::size_t common = 0;
    while (common < parts.size() && common < words.size() &&
           words[common].is_keyword(parts[common]))
        ++common;
    return common;
}

tl::unexpected<Error> usage(std::string message) {
    return error_of(ErrorKind::kUsage, EINVAL, std::move(message));
}

// What could have been meant by a line that begins as no verb does.
Result<const ScriptVerbShape*> no_verb(const Words& words, std::size_t common) {
    if (common == 0)
        return usage(fmt::format("there is no verb '{}': umbra-restore-script(5) has them all",
                                 words[0].shown()));
    std::string forms;
    for (const auto& shape : script_verbs()) {
        if (shape.verb == ScriptVerb::kDoesNotApply ||
            words_in_common(words, parts_of(shape.words)) < common)
            continue;
        forms += (forms.empty() ? "" : "; ") + std::string(shape.usage);
    }
    return usage("the line is not complete, or not understood; there are: " + forms);
}

Result<const ScriptVerbShape*> find_verb(const Words& words) {
    const ScriptVerbShape* best = nullptr;
    std::size_t best_length = 0, common = 0;
    for (const auto& shape : script_verbs()) {
        const auto parts = parts_of(shape.words);
        const std::size_t fits = words_in_common(words, parts);
        common = std::max(common, fits);
        if (fits < parts.size() || fits <= best_length) continue;
        best = &shape;
        best_length = fits;
    }
    if (best == nullptr) return no_verb(words, common);
    // `add something` is no `add`.
    if (best->verb == ScriptVerb::kShowAdded && words.size() > 1) return no_verb(words, 1);
    return best;
}

const ScriptOption* option_named(const ScriptVerbShape& shape, const ScriptWord& word) {
    for (const auto& option : shape.options) {
        if (!option.keyword.empty() && word.is_keyword(option.keyword)) return &option;
    }
    return nullptr;
}

Result<void> read_operands(ScriptStatement& statement, const Words& words, std::size_t first) {
    const ScriptVerbShape& shape = *statement.shape;
    for (std::size_t i = first; i < words.size(); ++i) {
        const ScriptOption* option = option_named(shape, words[i]);
        if (option == nullptr) {
            statement.operands.push_back(words[i]);
            continue;
        }
        if (statement.has(option->keyword) && !option->repeats)
            return usage(fmt::format("'{}' stands twice; usage: {}", option->keyword, shape.usage));
        if (option->takes_value && i + 1 == words.size())
            return usage(
                fmt::format("nothing follows '{}'; usage: {}", option->keyword, shape.usage));
        statement.options.push_back(
            {option->keyword, option->takes_value ? words[++i] : ScriptWord()});
    }
    const std::size_t count = statement.operands.size();
    if (count < shape.least || count > shape.most)
        return usage(fmt::format("{} are named; usage: {}",
                                 count < shape.least ? "too few" : "too many", shape.usage));
    for (const auto& option : shape.options) {
        if (option.required && !statement.has(option.keyword))
            return usage(fmt::format("'{}' is missing; usage: {}", option.keyword, shape.usage));
    }
    return {};
}

Result<void> check_alias_name(const ScriptWord& word) {
    const std::string name = word.shown();
    if (is_alias_name(name)) return {};
    return usage(
        fmt::format("'{}' cannot name an alias: letters, digits and underscores, at most "
                    "64, the first no digit",
                    name));
}

// What can be told of values without running the script.
Result<void> check_values(const ScriptStatement& statement) {
    if (statement.verb() == ScriptVerb::kDoesNotApply)
        return error_of(ErrorKind::kUsage, ENOTSUP,
                        fmt::format("'{}' does not apply: {}", statement.shape->words,
                                    statement.shape->why_not));
    if (statement.verb() == ScriptVerb::kAddAlias)
        UMBRA_TRY(check_alias_name(statement.operands[0]));
    if (const ScriptWord* name = statement.option("alias")) UMBRA_TRY(check_alias_name(*name));
    if (const ScriptWord* method = statement.option("method")) {
        const std::string name = method->shown();
        if (!method->lone_alias() && !restore_method_of(name))
            return usage(
                fmt::format("there is no method '{}'; there are: merge, replace, "
                            "if-missing, if-can-replace, mirror",
                            name));
    }
    const ScriptWord* provider = statement.option("provider");
    if (provider != nullptr && !provider->is_keyword("umbra"))
        return usage(fmt::format("there is no provider '{}': the only one is umbra, leave it out",
                                 provider->shown()));
    return {};
}

Result<ScriptStatement> read_statement(const ScriptLine& line) {
    ScriptStatement statement;
    statement.line = line.number;
    UMBRA_ASSIGN(statement.shape, find_verb(line.words));
    UMBRA_TRY(read_operands(statement, line.words, parts_of(statement.shape->words).size()));
    UMBRA_TRY(check_values(statement));
    return statement;
}

}  // namespace

const ScriptWord* ScriptStatement::option(std::string_view keyword) const {
    for (const auto& one : options) {
        if (one.keyword == keyword) return &one.value;
    }
    return nullptr;
}

Script parse_script(std::string_view text) {
    Script script;
    ScriptLines lines = split_script(text);
    script.problems = std::move(lines.problems);
    for (const auto& line : lines.lines) {
        auto statement = read_statement(line);
        if (statement) {
            script.statements.push_back(std::move(*statement));
        } else {
            script.problems.push_back({line.number, std::move(statement.error())});
        }
    }
    std::stable_sort(script.problems.begin(), script.problems.end(),
                     [](const auto& a, const auto& b) { return a.line < b.line; });
    return script;
}

}  // namespace umbra
