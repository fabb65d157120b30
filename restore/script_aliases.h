// The aliases of a running script: names that stand for text, most often for a snapshot.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "restore/script_text.h"
#include "snapstore/result.h"

namespace umbra {

struct ScriptAlias {
    std::string name;   // as it was first written; case makes no difference
    std::string value;  // of a snapshot its token
    // Where the snapshot is seen; "": the alias is of no snapshot. Two shares may have snapshots of
    // one token.
    std::string share_root;
    bool from_file = false;  // it came from a metadata file
    bool future = false;     // the script is only checked: there is no snapshot yet
};

// A word whose aliases are replaced.
struct ScriptValue {
    std::string text;
    std::string share_root;  // where it is the alias of a snapshot and nothing else
    bool future = false;     // it depends on a snapshot that there is not yet
};

class ScriptAliases {
   public:
    // Replaces one of the same name.
    void set(ScriptAlias alias);
    const ScriptAlias* find(std::string_view name) const;
    const std::vector<ScriptAlias>& all() const { return aliases_; }
    void clear() { aliases_.clear(); }

    // kUsage where there is no such alias.
    Result<ScriptValue> expand(const ScriptWord& word) const;
    // NAME=VALUE for programs, and NAME_PATH=FOLDER beside it for a snapshot. Those from a metadata
    // file are left out: it is data, and must not steer programs.
    std::vector<std::string> environment() const;

   private:
    std::vector<ScriptAlias> aliases_;
};

}  // namespace umbra
