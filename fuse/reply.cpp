#include "fuse/reply.h"

#include <utility>

#include "fuse/mount_context.h"

namespace umbra {

Request::Request(Request&& other) noexcept
    : raw_(std::exchange(other.raw_, nullptr)), context_(other.context_) {}

Request::~Request() {
    if (raw_ != nullptr) error(EIO);
}

fuse_req_t Request::take() noexcept { return std::exchange(raw_, nullptr); }

Caller Request::caller() const {
    const fuse_ctx* context = fuse_req_ctx(raw_);
    return Caller{context->uid, context->gid, context->umask};
}

int reply_code(int code) {
    if (code <= 0) return EIO;
    return code == ENOSYS ? EOPNOTSUPP : code;
}

void Request::error(int code) noexcept { fuse_reply_err(take(), reply_code(code)); }

void Request::never_again() noexcept { fuse_reply_err(take(), ENOSYS); }

template <typename Answer>
void Request::answer_change(Answer&& answer) {
    if (!DelayedAnswers::owing()) return answer(take(), *context_);
    context_->delayed_answers().give(
        [raw = take(), context = context_, answer = std::forward<Answer>(answer)] {
            answer(raw, *context);
        });
}

void Request::done() {
    answer_change([](fuse_req_t raw, MountContext&) { fuse_reply_err(raw, 0); });
}

void Request::no_reply() noexcept { fuse_reply_none(take()); }

fuse_entry_param entry_parameters(const NodeEntry& entry) {
    fuse_entry_param parameters{};
    parameters.ino = entry.node.value();
    parameters.generation = entry.generation;
    parameters.attr = entry.status;
    parameters.attr_timeout = kForeverSeconds;
    parameters.entry_timeout = entry.entry_seconds;
    return parameters;
}

void Request::entry(const NodeEntry& entry, NodeId parent) {
    const fuse_entry_param parameters = entry_parameters(entry);
    // Counted first: the kernel may use and forget the node before the reply call returns.
    context_->nodes().remember(entry.node, entry.generation, parent);
    answer_change([parameters, node = entry.node](fuse_req_t raw, MountContext& context) {
        if (fuse_reply_entry(raw, &parameters) != 0) context.nodes().forget(node, 1);
    });
}

void Request::absent() {
    fuse_entry_param parameters{};
    parameters.entry_timeout = kForeverSeconds;
    fuse_reply_entry(take(), &parameters);
}

void Request::attributes(const struct stat& status) {
    answer_change([status](fuse_req_t raw, MountContext&) {
        fuse_reply_attr(raw, &status, kForeverSeconds);
    });
}

void Request::link_target(const std::string& target) {
    fuse_reply_readlink(take(), target.c_str());
}

namespace {

// The page cache stays valid over opens: nothing changes the files but through the mount. Direct
// writes to one file may run side by side: the store orders what overlaps.
void set_open_flags(fuse_file_info& info, std::uint64_t number) {
    info.fh = number;
    info.keep_cache = 1;
    info.parallel_direct_writes = 1;
}

}  // namespace

std::shared_ptr<FileHandle> Request::open_file(const fuse_file_info* info) const {
    return info == nullptr ? nullptr : context_->open_files().find(info->fh);
}

void Request::opened(FileHandle handle, fuse_file_info& info) {
    const std::uint64_t kept =
        context_->open_files().add(std::move(handle), context_->options().writeback);
    set_open_flags(info, kept);
    answer_change([info, kept](fuse_req_t raw, MountContext& context) {
        if (fuse_reply_open(raw, &info) != 0) context.open_files().close(kept);
    });
}

void Request::created(const NodeEntry& entry, NodeId parent, FileHandle handle,
                      fuse_file_info& info) {
    const std::uint64_t kept =
        context_->open_files().add(std::move(handle), context_->options().writeback);
    set_open_flags(info, kept);
    const fuse_entry_param parameters = entry_parameters(entry);
    context_->nodes().remember(entry.node, entry.generation, parent);
    answer_change(
        [parameters, info, kept, node = entry.node](fuse_req_t raw, MountContext& context) {
            if (fuse_reply_create(raw, &parameters, &info) == 0) return;
            context.open_files().close(kept);
            context.nodes().forget(node, 1);
        });
}

bool Request::opened_directory(const fuse_file_info& info) {
    return fuse_reply_open(take(), &info) == 0;
}

void Request::bytes(std::span<const std::byte> data) {
    fuse_reply_buf(take(), reinterpret_cast<const char*>(data.data()), data.size());
}

bool Request::listing(std::span<const char> data) {
    return fuse_reply_buf(take(), data.data(), data.size()) == 0;
}

void Request::bytes_of_file(int fd, std::size_t size, off_t offset) {
    fuse_bufvec data = FUSE_BUFVEC_INIT(size);
    data.buf[0].flags = static_cast<fuse_buf_flags>(FUSE_BUF_IS_FD | FUSE_BUF_FD_SEEK);
    data.buf[0].fd = fd;
    data.buf[0].pos = offset;
    fuse_reply_data(take(), &data, static_cast<fuse_buf_copy_flags>(0));
}

void Request::written(std::size_t size) {
    answer_change([size](fuse_req_t raw, MountContext&) { fuse_reply_write(raw, size); });
}

void Request::written_past_cache(std::size_t size, NodeId node, off_t offset) {
    answer_change([size, node, offset](fuse_req_t raw, MountContext& context) {
        context.notifications().drop_pages(node, offset, size,
                                           [raw, size] { fuse_reply_write(raw, size); });
    });
}

void Request::position(off_t offset) { fuse_reply_lseek(take(), offset); }

void Request::statistics(const struct statvfs& status) { fuse_reply_statfs(take(), &status); }

void Request::extended(std::span<const char> value, std::size_t room) {
    if (room == 0) {
        fuse_reply_xattr(take(), value.size());
    } else if (value.size() > room) {
        error(ERANGE);
    } else {
        fuse_reply_buf(take(), value.data(), value.size());
    }
}

void Request::ioctl_result(const void* data, std::size_t size) {
    fuse_reply_ioctl(take(), 0, data, size);
}

}  // namespace umbra
