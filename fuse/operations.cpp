#include "fuse/operations.h"

#include <exception>
#include <new>

#include "fuse/request_counters.h"

namespace umbra::operations {

namespace {

// Makes a function for libfuse of a handler. The one place where exceptions end: a handler that
// throws before it has replied fails its request, not the mount.
template <Operation operation, auto handler>
struct Guarded;

template <Operation operation, typename... Arguments, void (*handler)(Request&, Arguments...)>
struct Guarded<operation, handler> {
    static void call(fuse_req_t raw, Arguments... arguments) noexcept {
        auto& context = *static_cast<MountContext*>(fuse_req_userdata(raw));
        context.counters().count(operation);
        Request request(raw, context);
        // Where another host has the volume nothing seen here can be trusted. Forgetting has no
        // answer.
        if constexpr (operation != Operation::kForget && operation != Operation::kForgetMulti) {
            if (!context.volume().check_owner()) return request.error(EIO);
        }
        DelayedAnswers::begin();
        try {
            handler(request, arguments...);
        } catch (const std::bad_alloc&) {
            if (!request.answered()) request.error(ENOMEM);
        } catch (const std::exception& failure) {
            fuse_log(FUSE_LOG_ERR, "umbra: %s failed: %s\n", operation_name(operation),
                     failure.what());
            if (!request.answered()) request.error(EIO);
        }
    }
};

template <Operation operation, auto handler>
constexpr auto guarded = &Guarded<operation, handler>::call;

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define UMBRA_THREAD_SANITIZER
#endif
#endif

void init(void* userdata, fuse_conn_info* connection) {
    choose_features(connection, static_cast<MountContext*>(userdata)->options());
}

fuse_lowlevel_ops make_table() {
    fuse_lowlevel_ops table{};
    table.init = init;
    table.lookup = guarded<Operation::kLookup, lookup>;
    table.forget = guarded<Operation::kForget, forget>;
    table.forget_multi = guarded<Operation::kForgetMulti, forget_multi>;
    table.getattr = guarded<Operation::kGetattr, getattr>;
    table.setattr = guarded<Operation::kSetattr, setattr>;
    table.readlink = guarded<Operation::kReadlink, readlink>;
    table.mknod = guarded<Operation::kMknod, mknod>;
    table.mkdir = guarded<Operation::kMkdir, mkdir>;
    table.symlink = guarded<Operation::kSymlink, symlink>;
    table.link = guarded<Operation::kLink, link>;
    table.unlink = guarded<Operation::kUnlink, unlink>;
    table.rmdir = guarded<Operation::kRmdir, rmdir>;
    table.rename = guarded<Operation::kRename, rename>;
    table.create = guarded<Operation::kCreate, create>;
    table.tmpfile = guarded<Operation::kTmpfile, tmpfile>;
    table.open = guarded<Operation::kOpen, open>;
    table.read = guarded<Operation::kRead, read>;
    table.write_buf = guarded<Operation::kWrite, write>;
    table.flush = guarded<Operation::kFlush, flush>;
    table.release = guarded<Operation::kRelease, release>;
    table.fsync = guarded<Operation::kFsync, fsync>;
    table.fallocate = guarded<Operation::kFallocate, fallocate>;
    table.copy_file_range = guarded<Operation::kCopyFileRange, copy_file_range>;
    table.lseek = guarded<Operation::kLseek, lseek>;
    table.opendir = guarded<Operation::kOpendir, opendir>;
    table.readdir = guarded<Operation::kReaddir, readdir>;
    table.readdirplus = guarded<Operation::kReaddirplus, readdirplus>;
    table.releasedir = guarded<Operation::kReleasedir, releasedir>;
    table.fsyncdir = guarded<Operation::kFsyncdir, fsyncdir>;
    table.statfs = guarded<Operation::kStatfs, statfs>;
    table.setxattr = guarded<Operation::kSetxattr, setxattr>;
    table.getxattr = guarded<Operation::kGetxattr, getxattr>;
    table.listxattr = guarded<Operation::kListxattr, listxattr>;
    table.removexattr = guarded<Operation::kRemovexattr, removexattr>;
    table.ioctl = guarded<Operation::kIoctl, ioctl>;
    // Left out on purpose: access (the kernel checks permissions itself), getlk, setlk and flock
    // (the kernel keeps locks itself, as for any local filesystem), bmap, poll.
    return table;
}

}  // namespace

// What libfuse switches on by itself and Umbra does not want is switched off again: the reasons are
// beside each.
void choose_features(fuse_conn_info* connection, const MountOptions& options) {
    for (const auto wanted :
         {FUSE_CAP_POSIX_ACL,           // the kernel checks and caches ACLs
          FUSE_CAP_DONT_MASK,           // the umask is applied below, where default ACLs are known
          FUSE_CAP_HANDLE_KILLPRIV_V2,  // else every write asks for security.capability first
          FUSE_CAP_PARALLEL_DIROPS, FUSE_CAP_CACHE_SYMLINKS,
          FUSE_CAP_SPLICE_WRITE,  // large reads go from file to kernel without a copy
          FUSE_CAP_EXPORT_SUPPORT, FUSE_CAP_EXPLICIT_INVAL_DATA}) {
        fuse_set_feature_flag(connection, wanted);
    }
    if (options.writeback) fuse_set_feature_flag(connection, FUSE_CAP_WRITEBACK_CACHE);
    // All changes pass the mount, so cached data need not be checked against the modification time.
    fuse_unset_feature_flag(connection, FUSE_CAP_AUTO_INVAL_DATA);
    // With it every request, however small, would take the way through a pipe.
    fuse_unset_feature_flag(connection, FUSE_CAP_SPLICE_READ);
#ifdef UMBRA_THREAD_SANITIZER
    // A reply comes before the requests that the kernel sends because of it. The sanitizer sees
    // that order in read() and write(), but not in splice().
    fuse_unset_feature_flag(connection, FUSE_CAP_SPLICE_WRITE);
#endif
    // Nothing here can be interrupted half-way; saves a lock shared by all requests.
    connection->no_interrupt = 1;
}

const fuse_lowlevel_ops& table() {
    static const fuse_lowlevel_ops operations = make_table();
    return operations;
}

}  // namespace umbra::operations
