// The words of a restore script, as DiskShadow has them: parted by spaces, "in quotes" where there
// are spaces in them ("" is a quote there), # begins a comment where a word could begin, %NAME%
// stands for an alias and %% for a percent sign. A backslash is a character like others.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "snapstore/result.h"

namespace umbra {

inline constexpr std::size_t kMaximumScriptBytes = 1 << 20;

struct ScriptWord {
    struct Part {
        bool alias = false;
        std::string text;
    };
    std::vector<Part> parts;  // none: an empty word, ""
    bool quoted = false;      // part of it is: then it is no keyword

    // The word as people see it: aliases as %NAME%.
    std::string shown() const;
    // Without quotes and aliases, and the same but for case.
    bool is_keyword(std::string_view keyword) const;
    // The alias, where the word is that and nothing else.
    std::optional<std::string> lone_alias() const;
};

struct ScriptLine {
    std::size_t number = 0;  // from 1
    std::vector<ScriptWord> words;
};

// What is wrong with a line.
struct ScriptProblem {
    std::size_t line = 0;
    Error error;
};

struct ScriptLines {
    std::vector<ScriptLine> lines;  // those with words
    std::vector<ScriptProblem> problems;
};

// Takes any bytes; lines may end as on Windows. Problems are kUsage.
ScriptLines split_script(std::string_view text);

// Letters, digits and underscores, at most 64, the first no digit.
bool is_alias_name(std::string_view name);
// ASCII letters without case.
bool equal_but_case(std::string_view a, std::string_view b);

}  // namespace umbra
