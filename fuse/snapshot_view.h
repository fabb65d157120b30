// Looking into a snapshot: the operations that do not change anything, for nodes with a snapshot
// number. Everything that would change something is answered with EROFS where the live object is
// looked for.
#pragma once

#include <fuse3/fuse_lowlevel.h>

#include <memory>

#include "fuse/directory_reader.h"
#include "fuse/mount_context.h"
#include "fuse/reply.h"

namespace umbra::snapshot_view {

void lookup(Request& request, NodeId directory, const char* name);
Result<struct stat> status(MountContext& context, NodeId node);
void readlink(Request& request, NodeId node);
void open(Request& request, NodeId node, fuse_file_info& info);
void read(Request& request, const FileHandle& handle, std::size_t size, off_t offset);
void lseek(Request& request, const FileHandle& handle, off_t offset, int whence);
Result<std::unique_ptr<DirectoryReader>> open_directory(const Request& request, NodeId node);
// The same for who has been let in already.
Result<std::unique_ptr<DirectoryReader>> open_directory(MountContext& context, NodeId node);

// The entry of a snapshot's root directory.
Result<NodeEntry> root_entry(MountContext& context, Epoch epoch);

}  // namespace umbra::snapshot_view
