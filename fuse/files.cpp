// create, tmpfile, open, flush, release, fsync
#include <fcntl.h>

#include "fuse/node_name.h"
#include "fuse/operations.h"
#include "fuse/snapshot_view.h"

namespace umbra::operations {

namespace {

void reply_with_created(Request& request, NodeId parent, Result<LiveTree::Created> created,
                        fuse_file_info& info) {
    if (!created) return request.error(created.error());
    const auto entry = request.context().live_entry(created->entry);
    if (!entry) return request.error(entry.error());
    request.created(*entry, parent, FileHandle{entry->node, std::move(created->file)}, info);
}

}  // namespace

void create(Request& request, fuse_ino_t parent, const char* name, mode_t mode,
            fuse_file_info* info) {
    MountContext& context = request.context();
    if (const int code = check_name(name)) return request.error(code);
    const auto directory = context.live_object(NodeId(parent));
    if (!directory) return request.error(directory.error());
    reply_with_created(request, NodeId(parent),
                       context.live().create(*directory, name, mode, info->flags, request.caller()),
                       *info);
}

void tmpfile(Request& request, fuse_ino_t parent, mode_t mode, fuse_file_info* info) {
    MountContext& context = request.context();
    const auto directory = context.live_object(NodeId(parent));
    if (!directory) return request.error(directory.error());
    reply_with_created(
        request, NodeId(parent),
        context.live().create_unnamed(*directory, mode, info->flags, request.caller()), *info);
}

void open(Request& request, fuse_ino_t number, fuse_file_info* info) {
    MountContext& context = request.context();
    const NodeId node(number);
    if (node.in_snapshot()) return snapshot_view::open(request, node, *info);
    const auto object = context.live_object(node);
    if (!object) return request.error(object.error());
    auto file = context.live().open(*object, info->flags, request.caller());
    if (!file) return request.error(file.error());
    // Emptying it may have cleared set-id bits: see set_id_bits.h.
    if ((info->flags & O_TRUNC) != 0) context.notifications().forget_attributes(node);
    request.opened(FileHandle{node, std::move(*file)}, *info);
}

// Every close() would cost a round trip, and nothing is to be done: data is written through, or by
// the kernel itself before it asks.
void flush(Request& request, fuse_ino_t /*node*/, fuse_file_info* /*info*/) {
    request.never_again();
}

void release(Request& request, fuse_ino_t /*node*/, fuse_file_info* info) {
    request.context().open_files().close(info->fh);
    request.done();
}

void fsync(Request& request, fuse_ino_t /*node*/, int data_only, fuse_file_info* info) {
    const auto handle = request.open_file(info);
    if (handle == nullptr) return request.error(EBADF);
    OpenFile* file = handle->live();
    if (file == nullptr) return request.done();  // snapshots are durable
    if (request.context().from_flush(request)) return request.done();
    request.done_or_error(request.context().live().synchronize(*file, data_only != 0));
}

}  // namespace umbra::operations
