// .snapshots: a directory that exists in the mount only. Not listed by the root, it is there for
// who asks for it by name. It lists one directory per snapshot, named by its token; of many
// snapshots the newest and fewer of the older ones (share-view-max). Every token can be entered.
//
// With snapdir = everywhere each folder has one. It lists the snapshots in which something in the
// folder differs (DirectoryVersions), and in it a token is the folder as it was. Whoever may read
// the folder may read it; to enter a token, every folder on the way to what the folder was must
// have been open to him then. Where a folder has something of its own named .snapshots, that stays
// what is seen.
//
// A snapshot with a label is found by that name too, though not listed by it: both names lead to
// the same directory. (The kernel keeps one name per directory and moves it to whichever was asked
// for last; a symbolic link in place of the label could not be removed with rmdir, and would be in
// the way of the directory that mkdir has just made.)
//
// mkdir LABEL creates a snapshot, rmdir TOKEN or rmdir LABEL deletes one. Both need write
// permission on the directory, which is the share owner's, mode 0755: so they are for root and the
// owner of the share's root; in the root's .snapshots only. Errors: EINVAL a label against the
// rules, EEXIST one that is taken, EBUSY a snapshot on hold.
#pragma once

#include <memory>

#include "fuse/directory_reader.h"
#include "fuse/mount_context.h"
#include "fuse/reply.h"

namespace umbra::snapshots_directory {

// The .snapshots of the root or of another folder.
NodeId of_folder(NodeId folder);

// What the kernel is to know of .snapshots itself.
Result<NodeEntry> own_entry(MountContext& context, NodeId node);
Result<struct stat> own_status(MountContext& context, NodeId node);
// .snapshots itself, looked up in a folder of the live tree.
void lookup_self(Request& request, NodeId folder);
// A token or label in it.
void lookup(Request& request, NodeId node, const char* name);
// Answered later, from the snapshot thread.
void mkdir(Request& request, NodeId node, const char* name);
void rmdir(Request& request, NodeId node, const char* name);
Result<std::unique_ptr<DirectoryReader>> open_directory(MountContext& context, NodeId node);

}  // namespace umbra::snapshots_directory
