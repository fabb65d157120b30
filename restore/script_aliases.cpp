#include "restore/script_aliases.h"

#include <fmt/format.h>

#include <algorithm>

namespace umbra {

void ScriptAliases::set(ScriptAlias alias) {
    const auto there = std::find_if(aliases_.begin(), aliases_.end(), [&](const auto& one) {
        return equal_but_case(one.name, alias.name);
    });
    if (there == aliases_.end()) {
        aliases_.push_back(std::move(alias));
    } else {
        *there = std::move(alias);
    }
}

const ScriptAlias* ScriptAliases::find(std::string_view name) const {
    for (const auto& alias : aliases_) {
        if (equal_but_case(alias.name, name)) return &alias;
    }
    return nullptr;
}

Result<ScriptValue> ScriptAliases::expand(const ScriptWord& word) const {
    ScriptValue value;
    for (const auto& part : word.parts) {
        if (!part.alias) {
            value.text += part.text;
            continue;
        }
        const ScriptAlias* alias = find(part.text);
        if (alias == nullptr)
            return error_of(ErrorKind::kUsage, ENOENT,
                            fmt::format("there is no alias '%{}%': 'add alias', 'add volume ... "
                                        "alias' and 'create', or 'load metadata' make them",
                                        part.text));
        value.text += alias->value;
        value.future = value.future || alias->future;
        if (word.parts.size() == 1) value.share_root = alias->share_root;
    }
    return value;
}

std::vector<std::string> ScriptAliases::environment() const {
    std::vector<std::string> variables;
    for (const auto& alias : aliases_) {
        if (alias.from_file) continue;
        variables.push_back(alias.name + "=" + alias.value);
        if (!alias.share_root.empty())
            variables.push_back(
                fmt::format("{}_PATH={}/.snapshots/{}", alias.name, alias.share_root, alias.value));
    }
    return variables;
}

}  // namespace umbra
