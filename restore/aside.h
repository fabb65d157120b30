// What stands aside while a component is restored: new objects before they take their place, the
// originals after that. Their names tell job, run and path; who they are tells which of the two
// they are, after a crash as well.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "restore/restore_job.h"
#include "snapstore/attributes.h"
#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

// ".umbra-restore.JOB.RUN.NUMBER"
std::string aside_name(const std::string& job, std::uint32_t run, std::uint32_t number);

// Who has this name in a folder; not known() where nobody has.
Result<ObjectIdentity> identity_of(int folder, const std::string& name);

struct StagedMetadata {
    bool owner_left = false;
    bool extended_left = false;
};

// Makes a copy of the snapshot's object under a name that nobody has yet: with its contents and,
// except for folders (empty and private), its metadata. EINTR as `interrupted` says.
Result<StagedMetadata> stage_copy(int source, const Attributes& wanted, int folder,
                                  const std::string& name,
                                  const std::function<bool()>& interrupted);
// One more name of an object.
Result<void> stage_link(int object, int folder, const std::string& name);

// Removes a name with everything in it, never following links. Nothing there is no error.
Result<void> remove_whole(int folder, const std::string& name);

// Writes to an open file only the blocks in which it differs, and gives it its size. The bytes
// written.
Result<std::uint64_t> write_differences(int from, int to, std::uint64_t size,
                                        const std::function<bool()>& interrupted);

}  // namespace umbra
