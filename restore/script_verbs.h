// The verbs of restore scripts, in one table: DiskShadow's, and `restore`, which is ours.
// docs/diskshadow.md is its twin.
#pragma once

#include <array>
#include <cstddef>
#include <span>
#include <string_view>

namespace umbra {

enum class ScriptVerb {
    kSetClientAccessible,
    kSetPersistent,
    kSetVolatile,
    kSetMetadata,
    kSetVerboseOn,
    kSetVerboseOff,
    kSetOption,
    kShowAdded,
    kAddVolume,
    kAddAlias,
    kCreate,
    kBeginBackup,
    kEndBackup,
    kWriterVerify,
    kWriterExclude,
    kLoadMetadata,
    kBeginRestore,
    kSimulateRestore,
    kEndRestore,
    kRestore,
    kExpose,
    kUnexpose,
    kExec,
    kListShadows,
    kListSet,
    kListId,
    kListWriters,
    kListProviders,
    kDeleteAll,
    kDeleteVolume,
    kDeleteOldest,
    kDeleteSet,
    kDeleteId,
    kDeleteExposed,
    kRevert,
    kReset,
    kExit,
    kDoesNotApply,  // of DiskShadow's, without a meaning here
};

struct ScriptOption {
    std::string_view keyword;  // "": there is none
    bool takes_value = true;
    bool repeats = false;
    bool required = false;
};

struct ScriptVerbShape {
    ScriptVerb verb = ScriptVerb::kExit;
    std::string_view words;  // "begin backup"
    std::string_view usage;  // all of the line
    std::size_t least = 0;   // operands: words that are no options
    std::size_t most = 0;
    std::array<ScriptOption, 8> options{};
    std::string_view why_not{};  // of kDoesNotApply
};

// Those whose words begin with those of others stand anywhere: the longest that fits is meant.
std::span<const ScriptVerbShape> script_verbs();

}  // namespace umbra
