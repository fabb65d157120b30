// read, write
#include <cerrno>
#include <span>

#include "fuse/operations.h"
#include "fuse/set_id_bits.h"
#include "fuse/snapshot_view.h"

namespace umbra::operations {

namespace {

// Copies what the kernel sent to where the store says, and returns what fuse_buf_copy says: bytes,
// or -errno.
struct Copy {
    const fuse_bufvec* data;
    off_t offset;
    KeptTimes* times;

    ssize_t operator()(int fd) const {
        fuse_bufvec source = *data;  // the store may call again: always from the start
        fuse_bufvec target = FUSE_BUFVEC_INIT(fuse_buf_size(data));
        target.buf[0].flags =
            static_cast<fuse_buf_flags>(FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK | FUSE_BUF_FD_RETRY);
        target.buf[0].fd = fd;
        target.buf[0].pos = offset;
        const ssize_t copied = fuse_buf_copy(&target, &source, static_cast<fuse_buf_copy_flags>(0));
        if (times != nullptr) times->restore(fd);
        return copied;
    }
};

// Copies it to memory.
ssize_t fetch(const fuse_bufvec& data, std::span<std::byte> buffer) {
    fuse_bufvec source = data;
    fuse_bufvec target = FUSE_BUFVEC_INIT(buffer.size());
    target.buf[0].mem = buffer.data();
    return fuse_buf_copy(&target, &source, static_cast<fuse_buf_copy_flags>(0));
}

}  // namespace

void read(Request& request, fuse_ino_t /*node*/, std::size_t size, off_t offset,
          fuse_file_info* info) {
    const auto handle = request.open_file(info);
    if (handle == nullptr) return request.error(EBADF);
    if (handle->past()) return snapshot_view::read(request, *handle, size, offset);
    if (!passes_page_cache(*info)) handle->pages.note();
    request.context().live().before_read(*handle->live());
    request.bytes_of_file(handle->live()->fd.get(), size, offset);
}

void write(Request& request, fuse_ino_t /*node*/, fuse_bufvec* data, off_t offset,
           fuse_file_info* info) {
    const auto handle = request.open_file(info);
    OpenFile* file = handle ? handle->live() : nullptr;
    if (file == nullptr) return request.error(handle ? EROFS : EBADF);
    const bool direct = passes_page_cache(*info);
    if (!direct) handle->pages.note();
    // Pages that the kernel writes back come from nobody in particular; it has cleared set-id bits
    // itself when they were dirtied.
    const Caller caller = info->writepage ? Caller{} : request.caller();
    // Times that the kernel keeps are put right after the write itself: it is not deferred then.
    LiveTree::Fetch fetch_data;
    if (!info->writepage && !handle->times)
        fetch_data = [data](std::span<std::byte> buffer) { return fetch(*data, buffer); };
    const bool clears = clears_set_id_bits(caller, file->fd.get());
    const auto written = request.context().live().write(
        *file, static_cast<std::uint64_t>(offset), fuse_buf_size(data), caller,
        Copy{data, offset, handle->times.get()}, fetch_data);
    if (clears) request.context().notifications().forget_attributes(handle->node);
    if (!written) return request.error(written.error());
    if (info->writepage && request.context().flushing()) DelayedAnswers::begin();
    if (direct && request.context().open_files().maybe_cached(handle->node))
        return request.written_past_cache(*written, handle->node, offset);
    request.written(*written);
}

}  // namespace umbra::operations
