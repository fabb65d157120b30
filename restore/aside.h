// What stands aside while a component is restored: new objects before they take their place, the
// originals after that. Their names tell job, run and path; who they are tells which of the two
// they are, after a crash as well.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "restore/restore_job.h"
#include "snapstore/attributes.h"
#include "snapstore/byte_range.h"
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

// renameat2(2) of two names of one folder.
Result<void> rename_aside(int folder, const std::string& from, const std::string& to,
                          unsigned flags);

// Gives the name back to what stands aside, in exchange for `ours`. Where somebody else has put
// something there meanwhile that is newer: then that keeps the name. Returns who is left aside,
// whom nobody needs.
Result<ObjectIdentity> give_back(int folder, const std::string& name, const std::string& aside,
                                 ObjectIdentity ours);

// Removes a name with everything in it, never following links. Nothing there is no error.
Result<void> remove_whole(int folder, const std::string& name);

// Writes to an open file only the blocks in which it differs, and gives it its size. Those outside
// of `ranges` are known not to differ and not looked at; no value: any may. The bytes written.
Result<std::uint64_t> write_differences(int from, int to, std::uint64_t size,
                                        const std::function<bool()>& interrupted,
                                        const KnownRanges& ranges = {});

}  // namespace umbra
