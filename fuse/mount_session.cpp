#include "fuse/mount_session.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "fuse/dirty_pages.h"
#include "fuse/kernel_mount.h"
#include "fuse/mount_context.h"
#include "fuse/mount_state.h"
#include "fuse/session_workers.h"

namespace umbra {

// Members are destroyed from the last to the first: the sessions before what their requests use.
struct MountSession::State {
    State(Volume& volume, const MountOptions& options, NodeNumbering numbering, KernelMount mounted)
        : context(volume, options, numbering), mount(std::move(mounted)) {}

    // Nobody answers any more. Who still waits must not wait for ever; nor must our own threads.
    void cut_off() {
        mount.detach_lazily();
        mount.abort(device.get());
        if (workers) workers->stop();
        context.notifications().disconnect();
        context.snapshot_thread().stop();
        context.delayed_answers().stop();
    }

    // Everything is answered: threads are idle, and end.
    void quiet_down() {
        context.delayed_answers().stop();
        const auto idle = [this] {
            return context.snapshot_thread().idle() && context.notifications().idle();
        };
        for (workers->stop(); !idle(); workers->stop()) {
            // These need somebody who answers.
            if (!workers->start()) return;
            while (!idle()) ::usleep(1000);
        }
        context.notifications().disconnect();
        context.snapshot_thread().stop();
    }

    Result<void> begin(Volume& volume) {
        UniqueFd own(::fcntl(device.get(), F_DUPFD_CLOEXEC, 0));
        if (!own.valid()) return errno_error(errno, "cannot hand /dev/fuse to libfuse");
        UMBRA_ASSIGN(session, resume_session(std::move(own), agreed, context.options(), context));
        workers =
            std::make_unique<SessionWorkers>(device.get(), agreed, context.options(), context);
        context.notifications().connect(session.get());
        volume.set_flush_hook([this] { hand_over_dirty_pages(context, session.get()); });
        volume.set_slow_hook(DelayedAnswers::owe);
        volume.set_snapshot_hook([this](const Snapshot& snapshot, bool created) {
            context.notifications().snapshot_changed(snapshot, created);
        });
        volume.set_view_hook([this, &volume] {
            context.notifications().view_changed(volume.catalog().snapshots());
        });
        return {};
    }

    MountContext context;
    KernelMount mount;
    UniqueFd device;
    Negotiation agreed;
    SessionPointer session;  // for what is told to the kernel
    std::unique_ptr<SessionWorkers> workers;
    bool left = false;
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
    made.device = made.mount.take_device();
    // From here on the mount goes away with the session, also on errors.
    std::unique_ptr<MountSession> session(new MountSession(std::move(state)));
    UMBRA_ASSIGN(made.agreed, negotiate(made.device.get(), options));
    made.mount.raise_read_ahead();
    UMBRA_TRY(made.begin(volume));
    return session;
}

Result<std::unique_ptr<MountSession>> MountSession::resume(Volume& volume,
                                                           const MountOptions& options,
                                                           MountState left) {
    UMBRA_ASSIGN(const NodeNumbering numbering, NodeNumbering::of_share(volume.live().root()));
    auto state = std::make_unique<State>(volume, options, numbering,
                                         KernelMount::known(left.mountpoint, left.device_number));
    State& made = *state;
    made.device = std::move(left.device);
    made.agreed = {std::move(left.init_request), std::move(left.init_reply)};
    // Where this fails, the mount stays where it is and answers nobody: what is below it must not
    // come to light, where nobody would preserve it.
    made.left = true;
    std::unique_ptr<MountSession> session(new MountSession(std::move(state)));
    put_back(made.context, std::move(left));
    UMBRA_TRY(made.begin(volume));
    made.left = false;
    return session;
}

Result<void> MountSession::check_agreement(const MountOptions& options,
                                           const std::string& init_request,
                                           const std::string& init_reply) {
    UMBRA_ASSIGN(const std::string reply, answer_to_init(init_request, options));
    if (reply == init_reply) return {};
    return error_of(ErrorKind::kRefused, EPROTO,
                    "the program would agree upon something else with the kernel");
}

Result<MountSession::Ended> MountSession::run() {
    UMBRA_TRY(state_->workers->start());
    state_->workers->wait();
    if (!state_->workers->ended()) return Ended::kAskedToLeave;
    state_->cut_off();
    if (auto failure = state_->workers->failure()) return tl::make_unexpected(*failure);
    return Ended::kUnmounted;
}

void MountSession::request_leave() { state_->workers->wake(); }

Result<MountState> MountSession::leave() {
    state_->quiet_down();
    state_->session.reset();
    MountState left = taken_from(state_->context);
    left.mountpoint = state_->mount.mountpoint();
    left.device_number = state_->mount.device_number();
    left.init_request = state_->agreed.request;
    left.init_reply = state_->agreed.reply;
    state_->workers.reset();
    left.device = std::move(state_->device);
    state_->left = true;
    return left;
}

const std::string& MountSession::init_request() const { return state_->agreed.request; }
const std::string& MountSession::init_reply() const { return state_->agreed.reply; }

void MountSession::request_exit() {
    const KernelMount& mount = state_->mount;
    const int device = state_->device.get();
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
    if (!state_->left) state_->cut_off();
}

}  // namespace umbra
