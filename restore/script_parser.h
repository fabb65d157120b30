// A restore script as statements: each a verb of the table with its operands and options, checked
// for everything that can be told without running it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "restore/script_text.h"
#include "restore/script_verbs.h"

namespace umbra {

struct ScriptStatement {
    std::size_t line = 0;
    const ScriptVerbShape* shape = nullptr;  // in script_verbs()
    std::vector<ScriptWord> operands;
    struct Option {
        std::string_view keyword;  // of the shape
        ScriptWord value;
    };
    std::vector<Option> options;

    ScriptVerb verb() const { return shape->verb; }
    bool has(std::string_view keyword) const { return option(keyword) != nullptr; }
    // The first of them; nullptr: it is not there.
    const ScriptWord* option(std::string_view keyword) const;
};

struct Script {
    std::vector<ScriptStatement> statements;
    std::vector<ScriptProblem> problems;  // by line; then nothing of it may be run
};

// Takes any bytes.
Script parse_script(std::string_view text);

}  // namespace umbra
