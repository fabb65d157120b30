// .snapshots: a directory that exists in the mount only. Not listed by the root, it is there for
// who asks for it by name. It lists one directory per snapshot, named by its token.
//
// A snapshot with a label is found by that name too, though not listed by it: both names lead to
// the same directory. (The kernel keeps one name per directory and moves it to whichever was asked
// for last; a symbolic link in place of the label could not be removed with rmdir, and would be in
// the way of the directory that mkdir has just made.)
//
// mkdir LABEL creates a snapshot, rmdir TOKEN or rmdir LABEL deletes one. Both need write
// permission on the directory, which is the share owner's, mode 0755: so they are for root and the
// owner of the share's root. Errors: EINVAL a label against the rules, EEXIST one that is taken,
// EBUSY a snapshot on hold.
#pragma once

#include <memory>

#include "fuse/directory_reader.h"
#include "fuse/mount_context.h"
#include "fuse/reply.h"

namespace umbra::snapshots_directory {

// What the kernel is to know of .snapshots itself.
Result<NodeEntry> own_entry(MountContext& context);
// .snapshots itself, looked up in the live root.
void lookup_self(Request& request);
// A token or label in it.
void lookup(Request& request, const char* name);
void getattr(Request& request);
// Answered later, from the snapshot thread.
void mkdir(Request& request, const char* name);
void rmdir(Request& request, const char* name);
Result<std::unique_ptr<DirectoryReader>> open_directory(MountContext& context);

}  // namespace umbra::snapshots_directory
