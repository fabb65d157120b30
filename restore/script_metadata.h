// What a script has created, in a file that another script loads (docs/format.md, "Metadata of
// scripts"). The file is hostile: whoever could write to it may have.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "snapstore/result.h"

namespace umbra {

inline constexpr int kScriptMetadataFormat = 1;
inline constexpr std::size_t kMaximumMetadataBytes = 1 << 20;

struct ScriptMetadata {
    struct Snapshot {
        std::string alias;
        std::string token;
        std::string uuid;   // of its volume: what it is found by
        std::string share;  // the folder, for people: what is not UTF-8 in it is replaced
        std::string created;
        std::vector<std::string> writers;  // that took part
    };
    std::string set;  // identifies what was created together
    std::string context;
    std::string backup;  // "copy" (no session), "begun" or "complete"
    std::vector<Snapshot> snapshots;
};

std::string format_script_metadata(const ScriptMetadata& metadata);
// kUsage naming what is wrong; kRefused for a newer format.
Result<ScriptMetadata> parse_script_metadata(std::string_view text);

// Written whole or not at all; messages name the file.
Result<void> write_script_metadata(const std::string& path, const ScriptMetadata& metadata);
Result<ScriptMetadata> read_script_metadata(const std::string& path);

// At most `limit` bytes of a regular file, a pipe or "-", standard input; kUsage where there are
// more.
Result<std::string> read_bounded_file(const std::string& path, std::size_t limit);

}  // namespace umbra
