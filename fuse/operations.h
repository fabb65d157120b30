// The operations of the FUSE low-level API, one function each. Thin: find out which objects are
// meant, call one method of the store, reply. Signatures are libfuse's, with Request in place of
// fuse_req_t.
//
// Any of them may throw std::bad_alloc; operations.cpp answers for them.
#pragma once

#include <fuse3/fuse_lowlevel.h>

#include <cstddef>
#include <cstdint>

#include "fuse/mount_context.h"
#include "fuse/reply.h"

namespace umbra::operations {

// The table for fuse_session_new: each entry counts the request and lets no exception out.
const fuse_lowlevel_ops& table();

// What is agreed upon with the kernel for a mount with these options.
void choose_features(fuse_conn_info* connection, const MountOptions& options);

// lookup.cpp
void lookup(Request& request, fuse_ino_t parent, const char* name);
void forget(Request& request, fuse_ino_t node, std::uint64_t count);
void forget_multi(Request& request, std::size_t count, fuse_forget_data* forgets);

// attributes.cpp
void getattr(Request& request, fuse_ino_t node, fuse_file_info* info);
void setattr(Request& request, fuse_ino_t node, struct stat* status, int valid,
             fuse_file_info* info);

// names.cpp
void mknod(Request& request, fuse_ino_t parent, const char* name, mode_t mode, dev_t device);
void mkdir(Request& request, fuse_ino_t parent, const char* name, mode_t mode);
void symlink(Request& request, const char* target, fuse_ino_t parent, const char* name);
void link(Request& request, fuse_ino_t node, fuse_ino_t new_parent, const char* new_name);
void unlink(Request& request, fuse_ino_t parent, const char* name);
void rmdir(Request& request, fuse_ino_t parent, const char* name);
void rename(Request& request, fuse_ino_t parent, const char* name, fuse_ino_t new_parent,
            const char* new_name, unsigned flags);
void readlink(Request& request, fuse_ino_t node);

// files.cpp
void create(Request& request, fuse_ino_t parent, const char* name, mode_t mode,
            fuse_file_info* info);
void tmpfile(Request& request, fuse_ino_t parent, mode_t mode, fuse_file_info* info);
void open(Request& request, fuse_ino_t node, fuse_file_info* info);
void flush(Request& request, fuse_ino_t node, fuse_file_info* info);
void release(Request& request, fuse_ino_t node, fuse_file_info* info);
void fsync(Request& request, fuse_ino_t node, int data_only, fuse_file_info* info);

// read_write.cpp
void read(Request& request, fuse_ino_t node, std::size_t size, off_t offset, fuse_file_info* info);
void write(Request& request, fuse_ino_t node, fuse_bufvec* data, off_t offset,
           fuse_file_info* info);

// allocate.cpp
void fallocate(Request& request, fuse_ino_t node, int mode, off_t offset, off_t length,
               fuse_file_info* info);
void copy_file_range(Request& request, fuse_ino_t in_node, off_t in_offset, fuse_file_info* in_info,
                     fuse_ino_t out_node, off_t out_offset, fuse_file_info* out_info,
                     std::size_t length, int flags);
void lseek(Request& request, fuse_ino_t node, off_t offset, int whence, fuse_file_info* info);

// directories.cpp
void opendir(Request& request, fuse_ino_t node, fuse_file_info* info);
void readdir(Request& request, fuse_ino_t node, std::size_t size, off_t offset,
             fuse_file_info* info);
void readdirplus(Request& request, fuse_ino_t node, std::size_t size, off_t offset,
                 fuse_file_info* info);
void releasedir(Request& request, fuse_ino_t node, fuse_file_info* info);
// What opendir opens.
Result<std::unique_ptr<DirectoryReader>> open_directory_reader(MountContext& context, NodeId node);
void fsyncdir(Request& request, fuse_ino_t node, int data_only, fuse_file_info* info);

// xattr.cpp
void setxattr(Request& request, fuse_ino_t node, const char* name, const char* value,
              std::size_t size, int flags);
void getxattr(Request& request, fuse_ino_t node, const char* name, std::size_t room);
void listxattr(Request& request, fuse_ino_t node, std::size_t room);
void removexattr(Request& request, fuse_ino_t node, const char* name);

// statfs.cpp
void statfs(Request& request, fuse_ino_t node);

// ioctl.cpp
void ioctl(Request& request, fuse_ino_t node, unsigned command, void* argument,
           fuse_file_info* info, unsigned flags, const void* in, std::size_t in_size,
           std::size_t out_size);

}  // namespace umbra::operations
