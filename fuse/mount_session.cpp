#include "fuse/mount_session.h"

#include <fuse3/fuse_lowlevel.h>

#include <cerrno>
#include <utility>

#include "fuse/dirty_pages.h"
#include "fuse/kernel_mount.h"
#include "fuse/mount_context.h"
#include "fuse/operations.h"

namespace umbra {

namespace {

struct SessionCloser {
    void operator()(fuse_session* session) const { fuse_session_destroy(session); }
};
using SessionPointer = std::unique_ptr<fuse_session, SessionCloser>;

struct LoopConfigFree {
    void operator()(fuse_loop_config* config) const { fuse_loop_cfg_destroy(config); }
};

Result<SessionPointer> new_session(const MountOptions& options, MountContext& context) {
    fuse_args arguments = FUSE_ARGS_INIT(0, nullptr);
    fuse_opt_add_arg(&arguments, "umbra");
    if (options.debug) fuse_opt_add_arg(&arguments, "-odebug");
    const fuse_lowlevel_ops& operations = operations::table();
    SessionPointer session(fuse_session_new(&arguments, &operations, sizeof operations, &context));
    fuse_opt_free_args(&arguments);
    if (!session) {
        return error_of(ErrorKind::kSystem, ENOMEM, "cannot start a FUSE session: out of memory");
    }
    return session;
}

}  // namespace

// Members are destroyed from the last to the first: the session before what its requests use.
struct MountSession::State {
    State(Volume& volume, const MountOptions& options, NodeNumbering numbering, KernelMount mounted)
        : context(volume, options, numbering), mount(std::move(mounted)) {}

    // Nobody answers any more. Who still waits must not wait for ever; nor must our own threads.
    void cut_off() {
        mount.detach_lazily();
        if (session) mount.abort(fuse_session_fd(session.get()));
        context.notifications().disconnect();
        context.snapshot_thread().stop();
        context.delayed_answers().stop();
    }

    MountContext context;
    KernelMount mount;
    SessionPointer session;
};

MountSession::MountSession(std::unique_ptr<State> state) : state_(std::move(state)) {}

Result<std::unique_ptr<MountSession>> MountSession::mount(Volume& volume,
                                                          const MountOptions& options) {
    UMBRA_ASSIGN(const NodeNumbering numbering, NodeNumbering::of_share(volume.live().root()));
    const bool read_only = options.read_only || volume.read_only();
    UMBRA_ASSIGN(KernelMount mounted,
                 KernelMount::attach(options, volume.identity().share, read_only));
    auto state = std::make_unique<State>(volume, options, numbering, std::move(mounted));
    State& made = *state;
    // From here on the mount goes away with the session, also on errors.
    std::unique_ptr<MountSession> session(new MountSession(std::move(state)));

    UMBRA_ASSIGN(made.session, new_session(options, made.context));
    // libfuse takes a connected device by this name, and closes it with the session.
    const int device = made.mount.take_device().release();
    if (fuse_session_mount(made.session.get(), ("/dev/fd/" + std::to_string(device)).c_str()) !=
        0) {
        ::close(device);
        return error_of(ErrorKind::kSystem, EIO, "cannot hand /dev/fuse to libfuse");
    }
    made.mount.raise_read_ahead();
    made.context.notifications().connect(made.session.get());
    volume.set_flush_hook([&made] { hand_over_dirty_pages(made.context, made.session.get()); });
    volume.set_slow_hook(DelayedAnswers::owe);
    volume.set_snapshot_hook([&made](const Snapshot& snapshot, bool created) {
        made.context.notifications().snapshot_changed(snapshot, created);
    });
    volume.set_view_hook([&made, &volume] {
        made.context.notifications().view_changed(volume.catalog().snapshots());
    });
    return session;
}

Result<void> MountSession::run() {
    const std::unique_ptr<fuse_loop_config, LoopConfigFree> config(fuse_loop_cfg_create());
    if (!config) return error_of(ErrorKind::kSystem, ENOMEM, "cannot serve: out of memory");
    fuse_loop_cfg_set_clone_fd(config.get(), 1);  // a queue for each worker
    fuse_loop_cfg_set_max_threads(config.get(), state_->context.options().max_threads);
    const int result = fuse_session_loop_mt(state_->session.get(), config.get());
    state_->cut_off();
    if (result != 0) return errno_error(result < 0 ? -result : EIO, "cannot serve the mount");
    return {};
}

void MountSession::request_exit() {
    const KernelMount& mount = state_->mount;
    const int device = fuse_session_fd(state_->session.get());
    mount.detach();
    // Unmounted everywhere: the kernel has sent everything, and run() ends by itself.
    if (!KernelMount::connected(device)) return;
    hand_over_dirty_pages(state_->context, state_->session.get());
    mount.detach_lazily();
    mount.abort(device);
}

UniqueFd MountSession::abort_switch() const { return state_->mount.abort_switch(); }

std::map<std::string, std::uint64_t> MountSession::request_counts() const {
    return state_->context.counters().by_name();
}

std::size_t MountSession::known_nodes() const { return state_->context.nodes().size(); }

MountSession::~MountSession() {
    Volume& volume = state_->context.volume();
    volume.set_flush_hook({});
    volume.set_snapshot_hook({});
    volume.set_view_hook({});
    volume.set_slow_hook({});
    state_->cut_off();
}

}  // namespace umbra
