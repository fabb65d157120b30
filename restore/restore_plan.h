// What restoring one object would do, decided from the object as the snapshot has it and what is at
// its place now. Changes nothing.
#pragma once

#include <optional>

#include "snapstore/attributes.h"
#include "snapstore/byte_range.h"
#include "snapstore/result.h"

namespace umbra {

enum class RestoreAction {
    kCreate,     // nothing is there
    kReplace,    // something else, or the same with other contents
    kMetadata,   // contents are equal; mode, owner, times or extended attributes are not
    kUnchanged,  // all is equal
    kConflict,   // a folder where the snapshot has none, or the other way round: left alone
    kRemove,     // the snapshot does not have it
};

// "create", "replace", "metadata", "unchanged", "conflict", "remove".
const char* restore_action_name(RestoreAction action);

// Which metadata the restoring user can set at all: others than root cannot give files away.
struct MetadataScope {
    bool owner = true;
};

// Equal in mode, owner (if in scope), modification time and extended attributes. Sizes and contents
// are not looked at.
bool same_metadata(const Attributes& wanted, const Attributes& present, const MetadataScope& scope);

// `wanted_fd` and `present_fd` hold the two objects (O_PATH is enough); no present attributes mean
// that nothing is there. Reads the contents of two regular files of equal size, but only where they
// may differ, as far as that is known. The errno of what could not be read.
Result<RestoreAction> plan_object(int wanted_fd, const Attributes& wanted, int present_fd,
                                  const std::optional<Attributes>& present,
                                  const MetadataScope& scope, const KnownRanges& may_differ = {});

}  // namespace umbra
