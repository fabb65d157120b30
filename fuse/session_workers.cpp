#include "fuse/session_workers.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "fuse/mount_context.h"
#include "fuse/operations.h"
#include "fuse/statx.h"

namespace umbra {

namespace {

// The largest request is a write of 1 MiB (fs.fuse.max_pages_limit) with its headers.
constexpr std::size_t kBufferBytes = (1 << 20) + 4096;
constexpr int kWakeSignal = SIGUSR2;
constexpr int kRepeatMicroseconds = 500;

Result<SessionPointer> new_session(const MountOptions& options, const fuse_lowlevel_ops& operations,
                                   void* userdata) {
    fuse_args arguments = FUSE_ARGS_INIT(0, nullptr);
    fuse_opt_add_arg(&arguments, "umbra");
    if (options.debug) fuse_opt_add_arg(&arguments, "-odebug");
    SessionPointer session(fuse_session_new(&arguments, &operations, sizeof operations, userdata));
    fuse_opt_free_args(&arguments);
    if (!session) {
        return error_of(ErrorKind::kSystem, ENOMEM, "cannot start a FUSE session: out of memory");
    }
    return session;
}

struct Answered {
    SessionPointer session;
    int descriptor;  // the session's, a pipe's so far
    std::string reply;
};

// A session that has answered INIT, to us instead of to the kernel.
Result<Answered> answer(std::string request, const MountOptions& options,
                        const fuse_lowlevel_ops& operations, void* userdata) {
    UMBRA_ASSIGN(SessionPointer session, new_session(options, operations, userdata));
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "cannot make a pipe");
    const UniqueFd reader(ends[0]);
    // libfuse takes a connected device by this name, and closes it with the session.
    const int descriptor = ends[1];
    if (fuse_session_mount(session.get(), ("/dev/fd/" + std::to_string(descriptor)).c_str()) != 0) {
        ::close(descriptor);
        return error_of(ErrorKind::kSystem, EIO, "cannot hand /dev/fuse to libfuse");
    }
    fuse_buf buffer{};
    buffer.size = request.size();
    buffer.mem = request.data();
    fuse_session_process_buf(session.get(), &buffer);
    std::string reply(4096, '\0');
    const ssize_t size = ::read(reader.get(), reply.data(), reply.size());
    fuse_out_header header{};
    if (size < static_cast<ssize_t>(sizeof header)) {
        return error_of(ErrorKind::kSystem, EPROTO, "libfuse does not answer the kernel's INIT");
    }
    reply.resize(static_cast<std::size_t>(size));
    std::memcpy(&header, reply.data(), sizeof header);
    if (header.error != 0) {
        return errno_error(-header.error, "this kernel's FUSE protocol is not understood");
    }
    return Answered{std::move(session), descriptor, std::move(reply)};
}

void choose_alone(void* userdata, fuse_conn_info* connection) {
    operations::choose_features(connection, *static_cast<const MountOptions*>(userdata));
}

// Its effect is that a read that waits begins anew.
void do_nothing(int) {}

bool is_forget(const char* request) {
    fuse_in_header header{};
    std::memcpy(&header, request, sizeof header);
    return header.opcode == FUSE_FORGET || header.opcode == FUSE_BATCH_FORGET;
}

}  // namespace

Result<std::string> answer_to_init(const std::string& request, MountOptions options) {
    fuse_lowlevel_ops operations = operations::table();
    operations.init = choose_alone;
    UMBRA_ASSIGN(Answered answered, answer(request, options, operations, &options));
    return std::move(answered.reply);
}

Result<Negotiation> negotiate(int device, const MountOptions& options) {
    std::string request(kBufferBytes, '\0');
    ssize_t size;
    do size = ::read(device, request.data(), request.size());
    while (size < 0 && (errno == EINTR || errno == ENOENT));
    if (size < 0) return errno_error(errno, "cannot read from /dev/fuse");
    request.resize(static_cast<std::size_t>(size));
    request.shrink_to_fit();
    UMBRA_ASSIGN(std::string reply, answer_to_init(request, options));
    if (::write(device, reply.data(), reply.size()) != static_cast<ssize_t>(reply.size())) {
        return errno_error(errno, "cannot answer the kernel's INIT");
    }
    return Negotiation{std::move(request), std::move(reply)};
}

Result<SessionPointer> resume_session(UniqueFd device, const Negotiation& agreed,
                                      const MountOptions& options, MountContext& context) {
    UMBRA_ASSIGN(Answered answered, answer(agreed.request, options, operations::table(), &context));
    if (answered.reply != agreed.reply) {
        return error_of(ErrorKind::kSystem, EPROTO,
                        "this program would use the mount in another way than was agreed upon with "
                        "the kernel: unmount it and mount it again");
    }
    if (::dup3(device.get(), answered.descriptor, O_CLOEXEC) < 0) {
        return errno_error(errno, "cannot hand /dev/fuse to libfuse");
    }
    return std::move(answered.session);
}

Result<UniqueFd> clone_device(int device) {
    UniqueFd clone(::open("/dev/fuse", O_RDWR | O_CLOEXEC));
    auto original = static_cast<std::uint32_t>(device);
    if (!clone.valid() || ::ioctl(clone.get(), FUSE_DEV_IOC_CLONE, &original) != 0) {
        return errno_error(errno, "cannot open /dev/fuse once more");
    }
    return clone;
}

Result<void> SessionWorkers::start() {
    struct sigaction action {};
    action.sa_handler = do_nothing;
    action.sa_flags = SA_RESTART;
    ::sigaction(kWakeSignal, &action, nullptr);
    if (!nothing_.valid()) nothing_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!nothing_.valid()) return errno_error(errno, "cannot open /dev/null");
    const std::lock_guard lock(mutex_);
    stopping_ = false;
    idle_ = 0;
    return add_locked();
}

Result<void> SessionWorkers::add_locked() {
    UMBRA_ASSIGN(UniqueFd device, clone_device(device_));
    UniqueFd reader(::fcntl(device.get(), F_DUPFD_CLOEXEC, 0));
    if (!reader.valid()) return errno_error(errno, "cannot open /dev/fuse once more");
    UMBRA_ASSIGN(SessionPointer session,
                 resume_session(std::move(device), agreed_, options_, context_));
    Worker& worker = workers_.emplace_back();
    worker.session = std::move(session);
    worker.reader = std::move(reader);
    ++idle_;
    worker.thread = std::thread([this, &worker] { work(worker); });
    return {};
}

void SessionWorkers::work(Worker& worker) {
    const std::unique_ptr<char, decltype(&std::free)> buffer(
        static_cast<char*>(std::aligned_alloc(4096, kBufferBytes)), &std::free);
    if (buffer) {
        serve(worker, buffer.get(), kBufferBytes);
    } else {
        end(Error{ENOMEM, ErrorKind::kSystem, "cannot serve the mount: out of memory"});
    }
    worker.finished = true;
}

void SessionWorkers::serve(Worker& worker, char* buffer, std::size_t size) {
    for (;;) {
        worker.reading = true;
        const ssize_t got = ::read(worker.reader.get(), buffer, size);
        const int code = errno;
        worker.reading = false;
        if (got == 0) return;  // from what stop() has put in the device's place
        if (got < 0) {
            // ENOENT: the request was interrupted before it could be taken.
            if (code == EINTR || code == EAGAIN || code == ENOENT) continue;
            if (code == ENODEV) return end({});
            return end(errno_error(code, "cannot read from /dev/fuse").value());
        }
        const bool forgets = is_forget(buffer);
        about_to_serve(forgets);
        process(worker.session.get(), buffer, static_cast<std::size_t>(got));
        if (!forgets) {
            const std::lock_guard lock(mutex_);
            ++idle_;
        }
    }
}

void SessionWorkers::process(fuse_session* session, char* buffer, std::size_t size) {
    if (statx_request::answered(context_, fuse_session_fd(session), buffer, size)) return;
    fuse_buf request{};
    request.size = size;
    request.mem = buffer;
    fuse_session_process_buf(session, &request);
}

// Somebody must be left who waits for requests, as far as there may be more threads.
void SessionWorkers::about_to_serve(bool forgets) {
    if (forgets) return;  // never waits for anything
    const std::lock_guard lock(mutex_);
    --idle_;
    if (idle_ > 0 || stopping_ || ended_ || workers_.size() >= options_.max_threads) return;
    static_cast<void>(add_locked());  // fewer will do
}

void SessionWorkers::end(std::optional<Error> failure) {
    const std::lock_guard lock(mutex_);
    ended_ = true;
    if (failure && !failure_) failure_ = std::move(failure);
    changed_.notify_all();
}

void SessionWorkers::wait() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return ended_ || woken_; });
    woken_ = false;
}

void SessionWorkers::wake() {
    const std::lock_guard lock(mutex_);
    woken_ = true;
    changed_.notify_all();
}

bool SessionWorkers::ended() const {
    const std::lock_guard lock(mutex_);
    return ended_;
}

std::optional<Error> SessionWorkers::failure() const {
    const std::lock_guard lock(mutex_);
    return failure_;
}

// A worker that waits in read(2) is sent a signal: the kernel begins the call anew, and finds
// another file behind the number. One that has taken a request reads from there when it has
// answered. So no read is given up that has taken a request.
void SessionWorkers::stop() {
    std::list<Worker> stopped;
    {
        const std::lock_guard lock(mutex_);
        stopping_ = true;
        stopped.swap(workers_);
    }
    for (Worker& worker : stopped) ::dup3(nothing_.get(), worker.reader.get(), O_CLOEXEC);
    const auto all_finished = [&] {
        bool finished = true;
        for (Worker& worker : stopped) {
            if (worker.finished) continue;
            finished = false;
            if (worker.reading) ::pthread_kill(worker.thread.native_handle(), kWakeSignal);
        }
        return finished;
    };
    while (!all_finished()) ::usleep(kRepeatMicroseconds);
    for (Worker& worker : stopped) worker.thread.join();
    // Others may still have to answer requests of these sessions.
    retired_.splice(retired_.end(), stopped);
}

}  // namespace umbra
