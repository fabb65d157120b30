// fallocate, copy_file_range, lseek
#include <unistd.h>

#include <cerrno>

#include "fuse/operations.h"
#include "fuse/set_id_bits.h"
#include "fuse/snapshot_view.h"
#include "snapstore/past_copy.h"

namespace umbra::operations {

namespace {

// The kernel has dated the change itself where it keeps the times, and may have sent that already.
LiveTree::After keep_times(const FileHandle& handle) {
    if (!handle.times) return {};
    return [times = handle.times](int fd) { times->restore(fd); };
}

}  // namespace

void fallocate(Request& request, fuse_ino_t /*node*/, int mode, off_t offset, off_t length,
               fuse_file_info* info) {
    const auto handle = request.open_file(info);
    OpenFile* file = handle ? handle->live() : nullptr;
    if (file == nullptr) return request.error(EBADF);
    const bool clears = clears_set_id_bits(request.caller(), file->fd.get());
    const auto done = request.context().live().allocate(
        *file, mode, static_cast<std::uint64_t>(offset), static_cast<std::uint64_t>(length),
        request.caller(), keep_times(*handle));
    if (clears) request.context().notifications().forget_attributes(handle->node);
    request.done_or_error(done);
}

void copy_file_range(Request& request, fuse_ino_t /*in_node*/, off_t in_offset,
                     fuse_file_info* in_info, fuse_ino_t /*out_node*/, off_t out_offset,
                     fuse_file_info* out_info, std::size_t length, int /*flags*/) {
    const auto from = request.open_file(in_info);
    const auto to = request.open_file(out_info);
    OpenFile* out = to ? to->live() : nullptr;
    if (from == nullptr || out == nullptr) return request.error(EBADF);
    Volume& volume = request.context().volume();
    const CopiedRange range{static_cast<std::uint64_t>(in_offset),
                            static_cast<std::uint64_t>(out_offset), length};
    const bool clears = clears_set_id_bits(request.caller(), out->fd.get());
    const auto copied =
        from->past()
            ? copy_from_past(volume.past(from->epoch), *from->past(), volume.live(), *out, range,
                             request.caller(), keep_times(*to))
            : volume.live().copy_range(*from->live(), range.in_offset, *out, range.out_offset,
                                       range.length, request.caller(), keep_times(*to));
    if (clears) request.context().notifications().forget_attributes(to->node);
    if (!copied) return request.error(copied.error());
    request.written(*copied);
}

void lseek(Request& request, fuse_ino_t /*node*/, off_t offset, int whence, fuse_file_info* info) {
    const auto handle = request.open_file(info);
    if (handle == nullptr) return request.error(EBADF);
    // Holes may be filled by pages that the kernel still keeps: without an answer it takes
    // everything for data, which is always right.
    if (request.context().options().writeback) return request.never_again();
    if (handle->past()) return snapshot_view::lseek(request, *handle, offset, whence);
    // Nobody else uses the descriptor's own position, so it does not matter where this leaves it.
    const off_t position = ::lseek(handle->live()->fd.get(), offset, whence);
    if (position < 0) return request.error(errno);
    request.position(position);
}

}  // namespace umbra::operations
