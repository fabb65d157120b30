#include "fuse/daemon.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <optional>
#include <utility>

#include "fuse/connection_guard.h"
#include "fuse/daemon_channel.h"
#include "fuse/daemon_methods.h"
#include "fuse/event_sink.h"
#include "fuse/hand_over.h"
#include "fuse/mount_place.h"
#include "fuse/mount_session.h"
#include "fuse/mount_table.h"
#include "fuse/service_manager.h"
#include "fuse/share_path.h"
#include "fuse/signal_watcher.h"
#include "snapstore/event_log.h"
#include "snapstore/folder_below.h"
#include "snapstore/unique_fd.h"
#include "snapstore/volume_config.h"
#include "snapstore/volume_files.h"

namespace umbra {

namespace {

constexpr rlim_t kWantedDescriptors = 1 << 20;
constexpr int kRetryMilliseconds = 500;
// For the diff area, or another host's hand in between, when the users of a mount wait already.
constexpr std::chrono::seconds kRestartPatience{60};

// Each of these makes serving better and none is needed for it.
void prepare_process() {
    ::umask(0);  // modes come from callers, and are to be kept as they are
    if (::chdir("/") != 0) spdlog::warn("cannot leave the current directory");

    struct rlimit limit {};
    ::getrlimit(RLIMIT_NOFILE, &limit);
    const struct rlimit raised { kWantedDescriptors, std::max(limit.rlim_max, kWantedDescriptors) };
    const struct rlimit allowed { limit.rlim_max, limit.rlim_max };
    if (::setrlimit(RLIMIT_NOFILE, &raised) != 0) ::setrlimit(RLIMIT_NOFILE, &allowed);

    // Ending this process would end access to the share for everybody: choose others first.
    if (const UniqueFd score(::open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC));
        score.valid()) {
        (void)!::write(score.get(), "-500", 4);
    }
}

// Whoever asked for the mount has died: it is not to appear behind everybody's back.
Result<void> check_awaited(const DaemonOptions& options, const DaemonReport& report) {
    struct pollfd channel {
        report.abandoned_fd, 0, 0
    };
    if (::poll(&channel, 1, 0) == 0) return {};
    return error_of(
        ErrorKind::kRefused, ECANCELED,
        fmt::format("share '{}' is not mounted: the command that asked for it has ended",
                    options.share));
}

// Sleeps; false as soon as nobody waits for the mount any more or a signal asks to end.
bool keep_waiting(const DaemonReport& report, const SignalWatcher& signals) {
    struct pollfd waited[2] = {{signals.descriptor(), POLLIN, 0}, {report.abandoned_fd, 0, 0}};
    return ::poll(waited, 2, kRetryMilliseconds) == 0;
}

// "" where it cannot be read.
std::string uuid_of(const std::string& share) {
    const std::string path = share + "/" + kControlDirectoryName + "/" + kVolumeFileName;
    const auto text = read_small_file(AT_FDCWD, path.c_str());
    if (!text) return "";
    const auto config = parse_volume_config(*text, path);
    return config ? config->uuid : "";
}

// The volume may be mounted by another path, too.
bool is_mounted(const Registry& registry, const std::string& share) {
    const auto all = registry.mounted();
    const std::string uuid = uuid_of(share);
    return !all || std::any_of(all->begin(), all->end(), [&](const MountedShare& mounted) {
        return (mounted.share == share || mounted.uuid == uuid) && is_shown(mounted);
    });
}

// Whether an error of Volume::open() is about somebody who will be gone: a daemon that has been
// unmounted and closes the volume, or a command, which opens it for a moment.
bool goes_by(const Error& error, const Registry& registry, const DaemonOptions& options,
             std::chrono::steady_clock::duration waited) {
    if (error.kind != ErrorKind::kRefused) return false;
    if (error.code == EAGAIN) return waited < options.wait;
    return error.code == EBUSY && waited < std::max(options.wait, kEndingPatience) &&
           !is_mounted(registry, options.share);
}

Result<std::unique_ptr<Volume>> open_volume(const DaemonOptions& options, const Registry& registry,
                                            const DaemonReport& report,
                                            const SignalWatcher& signals, EventSink& sink) {
    if (options.initialise && !Volume::is_share(options.share)) {
        CreateOptions creation;
        creation.share = options.share;
        UMBRA_TRY(Volume::create(creation));
    }
    const auto announce = [&sink, event = report.event](const Event& happened) {
        sink.take(happened);
        if (event) event(happened);
    };
    // What happens before the volume is open.
    const auto record = [&](EventId id, std::string message) {
        Event event{id, std::move(message)};
        if (!options.read_only) static_cast<void>(EventLog::append_to(options.share, event));
        sink.take(event);
        return event;
    };
    const auto began = std::chrono::steady_clock::now();
    const auto deadline = began + options.wait;
    bool said = false;
    for (;;) {
        auto volume = Volume::open({options.share,
                                    options.read_only,
                                    options.memory_bytes,
                                    {options.lease, options.take_over}},
                                   announce);
        const auto waited = std::chrono::steady_clock::now() - began;
        if (!volume && goes_by(volume.error(), registry, options, waited)) {
            if (!keep_waiting(report, signals)) return volume;
            continue;
        }
        // Another volume's area, a damaged or a full one will not become the right one by waiting.
        const bool missing =
            !volume && volume.error().kind == ErrorKind::kDiffArea && volume.error().code == ENOENT;
        if (!missing) {
            if (volume && said) {
                Event appeared{EventId::kAreaAppeared, "the diff area of share '" + options.share +
                                                           "' is there now, with its history"};
                (*volume)->record(appeared);
                sink.take(appeared);
            }
            if (!volume && volume.error().kind == ErrorKind::kDiffArea)
                record(EventId::kAreaRefused, volume.error().text());
            return volume;
        }
        if (std::chrono::steady_clock::now() >= deadline) {
            record(EventId::kAreaMissing, volume.error().text());
            return volume;
        }
        if (!said) {
            const Event waiting = record(EventId::kWaitingForArea, volume.error().text());
            if (report.event) report.event(waiting);
        }
        said = true;
        if (!keep_waiting(report, signals)) return volume;
    }
}

Result<void> check_diff_area_stays_visible(const VolumeIdentity& identity,
                                           const DaemonOptions& options) {
    if (options.mountpoint == options.share ||
        !path_is_within(identity.diff_area, options.mountpoint))
        return {};
    return error_of(
        ErrorKind::kRefused, EINVAL,
        fmt::format(
            "the diff area '{}' lies in the mount point '{}' and would be hidden by the mount",
            identity.diff_area, options.mountpoint));
}

MountedShare describe(const Volume& volume, const DaemonOptions& options) {
    return {volume.identity().uuid,
            options.share,
            options.mountpoint,
            volume.identity().diff_area,
            ::getpid(),
            static_cast<std::int64_t>(std::time(nullptr)),
            options.text()};
}

// Published and listening for as long as it lives; the socket goes before the registry entry.
struct Presence {
    RegistryEntry entry;
    std::unique_ptr<ControlServer> server;
};

// Makes it known, or goes on with what a predecessor has made known.
Result<std::unique_ptr<Presence>> appear(const Registry& registry, const MountedShare& mounted,
                                         DaemonMethods& methods, HandOver* predecessor) {
    const auto answer = [&methods](const ControlRequest& request, const PeerIdentity& peer) {
        return methods.call(request, peer);
    };
    const std::string socket = registry.socket_path(mounted.uuid);
    if (predecessor != nullptr) {
        auto presence = std::make_unique<Presence>(
            Presence{registry.adopt(mounted, std::move(predecessor->registry_entry)), nullptr});
        UMBRA_ASSIGN(presence->server,
                     ControlServer::resume(socket, std::move(predecessor->socket), answer));
        return presence;
    }
    UMBRA_ASSIGN(RegistryEntry entry, registry.publish(mounted));
    auto presence = std::make_unique<Presence>(Presence{std::move(entry), nullptr});
    UMBRA_ASSIGN(presence->server, ControlServer::start(socket, answer));
    return presence;
}

Result<std::unique_ptr<MountSession>> show(Volume& volume, const DaemonOptions& options,
                                           HandOver* predecessor) {
    if (predecessor == nullptr) return MountSession::mount(volume, mount_options(options));
    return MountSession::resume(volume, mount_options(options), std::move(predecessor->mount));
}

Result<ConnectionGuard> guarded(const MountSession& session, HandOver* predecessor) {
    if (predecessor == nullptr) return ConnectionGuard::start(session.abort_switch());
    return ConnectionGuard::adopt(std::exchange(predecessor->guard, -1));
}

// Is a request to the mount answered? Waits for the answer.
bool mount_answers(const MountSession& session, const std::string& mountpoint) {
    const auto served = [&] { return session.request_counts()["statfs"]; };
    const std::uint64_t before = served();
    struct statfs status {};
    const bool answered = ::statfs(mountpoint.c_str(), &status) == 0;
    // Something else is mounted over it: nothing is known, so nothing bad.
    if (answered && status.f_type != FUSE_SUPER_MAGIC) return true;
    return answered && served() > before;
}

// SIGTERM and the like: a clean unmount if nobody uses the mount, otherwise the end of serving.
void stop_serving(const MountPoint& place, MountSession& session, int signal_number) {
    if (place.unmount()) {
        spdlog::info("unmounted {} on signal {}", place.path(), signal_number);
    } else {
        spdlog::warn("{} is in use; detaching it on signal {}", place.path(), signal_number);
    }
    session.request_exit();  // also where another mount namespace still has it
}

// What goes on with a mount: a successor, or this process, which opens the volume with other
// options.
struct Departure {
    HandOver state;
    std::optional<DaemonOptions> remount;
};

// Serves until the mount has ended, or returns what is needed to go on.
Result<std::optional<Departure>> serve(Volume& volume, const DaemonOptions& options,
                                       const Registry& registry, const DaemonReport& report,
                                       SignalWatcher& signals, HandOver* predecessor) {
    ServiceManager manager;
    UMBRA_ASSIGN(std::unique_ptr<MountSession> session, show(volume, options, predecessor));
    UMBRA_ASSIGN(ConnectionGuard guard, guarded(*session, predecessor));
    UMBRA_ASSIGN(const MountPoint place, MountPoint::of(options.mountpoint));

    const std::uint64_t restarts = predecessor == nullptr ? 0 : predecessor->restarts;
    MountedShare mounted =
        predecessor == nullptr ? describe(volume, options) : predecessor->mounted;
    mounted.options = options.text();
    DaemonMethods methods(
        volume, *session, mounted, place, options, restarts,
        predecessor == nullptr ? std::nullopt : std::move(predecessor->remount_failure));
    UMBRA_ASSIGN(const std::unique_ptr<Presence> presence,
                 appear(registry, mounted, methods, predecessor));
    methods.count_clients([&server = *presence->server] { return server.connections(); });
    signals.watch([&](int number) { stop_serving(place, *session, number); });
    spdlog::info("serving {} at {}", options.share, options.mountpoint);
    if (report.ready) report.ready();
    manager.ready(fmt::format("serving {} at {}", options.share, options.mountpoint));
    manager.start_watchdog(
        [&session = *session, &options] { return mount_answers(session, options.mountpoint); });

    auto served = session->run();
    const bool goes_on = served && *served == MountSession::Ended::kAskedToLeave;
    goes_on ? manager.reloading() : manager.stopping();
    manager.stop_watchdog();
    std::optional<Departure> departure;
    UniqueFd socket;
    // These may wait for the mount, which still answers.
    if (goes_on) socket = presence->server->leave();
    signals.stop();
    // Callers of the socket may wait for requests of theirs to the mount, which only its end
    // answers.
    methods.session_ends();
    if (goes_on) {
        auto left = session->leave();
        auto folder = volume.live().open_directory(volume.live().root());
        if (left && folder) {
            departure.emplace();
            departure->remount = methods.remount();
            HandOver& state = departure->state;
            state.options = options.for_later_life();
            state.mounted = mounted;
            state.registry_directory = registry.directory();
            state.foreground = report.foreground;
            state.guard = guard.release();
            state.restarts = restarts + 1;
            state.folder = std::move(*folder);
            state.registry_entry = std::move(presence->entry).release();
            state.socket = std::move(socket);
            state.mount = std::move(*left);
        }
    }
    session.reset();
    presence->server.reset();
    if (!served) return forward_error(served);
    return departure;
}

// One life: from opening the volume to closing it.
Result<std::optional<Departure>> live(const DaemonOptions& options, const Registry& registry,
                                      const DaemonReport& report, HandOver* predecessor) {
    UMBRA_ASSIGN(SignalWatcher signals, SignalWatcher::block());
    prepare_process();
    // The share's path leads to the mount, which waits to be served.
    std::optional<FolderBelow> below;
    if (predecessor != nullptr) below.emplace(options.share, predecessor->folder.get());
    EventSink sink(options.share);
    UMBRA_ASSIGN(std::unique_ptr<Volume> volume,
                 open_volume(options, registry, report, signals, sink));
    below.reset();
    sink.follow(volume.get());
    // Somebody else serves the share now: end, as on a signal.
    volume->set_lost_hook([] { ::kill(::getpid(), SIGTERM); });
    UMBRA_TRY(check_diff_area_stays_visible(volume->identity(), options));
    if (predecessor == nullptr) UMBRA_TRY(check_awaited(options, report));
    if (predecessor != nullptr && volume->identity().uuid != predecessor->mounted.uuid) {
        return error_of(ErrorKind::kRefused, ESTALE,
                        fmt::format("'{}' holds another volume than before", options.share));
    }
    auto served = serve(*volume, options, registry, report, signals, predecessor);
    sink.follow(nullptr);
    volume.reset();
    if (served && !*served) {
        spdlog::info("{} is unmounted and its volume closed", options.share);
    }
    return served;
}

// Opened with the options of a remount; with those before where that fails.
Result<std::optional<Departure>> live_remounted(const DaemonOptions& options,
                                                const Registry& registry,
                                                const DaemonReport& report, HandOver& state) {
    spdlog::info("remounting {}: {}", options.share, options.text());
    const DaemonOptions before = std::exchange(state.options, options);
    auto lived = live(options, registry, report, &state);
    // Once the mount is served there is nothing to go back to.
    if (lived || !state.mount.device.valid()) return lived;
    spdlog::error("{}: {} stays as it was", lived.error().text(), options.share);
    state.remount_failure = lived.error();
    state.options = before;
    return live(before, registry, report, &state);
}

// Lives, and lives on as another program, or with other options, as often as it is asked to.
Result<void> live_on(const DaemonOptions& options, const Registry& registry,
                     const DaemonReport& report, std::optional<HandOver> predecessor) {
    // Nobody waits for the later lives but the users of the mount.
    DaemonReport later;
    later.foreground = report.foreground;
    UMBRA_ASSIGN(std::optional<Departure> departure,
                 live(options, registry, report, predecessor ? &*predecessor : nullptr));
    while (departure) {
        HandOver state = std::move(departure->state);
        if (const auto remount = std::move(departure->remount)) {
            UMBRA_ASSIGN(departure, live_remounted(*remount, registry, later, state));
            continue;
        }
        spdlog::info("restarting the daemon of {}", state.options.share);
        NotHandedOver stayed = become_successor(std::move(state));
        spdlog::error("{}: going on as the same program", stayed.reason.text());
        DaemonOptions current = stayed.state.options;
        current.wait = kRestartPatience;
        UMBRA_ASSIGN(departure, live(current, registry, later, &stayed.state));
    }
    return {};
}

}  // namespace

Result<void> run_daemon(const DaemonOptions& options, const Registry& registry,
                        const DaemonReport& report) {
    return live_on(options, registry, report, std::nullopt);
}

Result<void> go_on(int hand_over) {
    auto state = take_hand_over(hand_over);
    if (!state) {
        spdlog::set_default_logger(spdlog::syslog_logger_mt("umbra", "umbra", LOG_PID, LOG_DAEMON));
        spdlog::error("{}", state.error().text());
        return forward_error(state);
    }
    spdlog::set_default_logger(
        state->foreground ? spdlog::stderr_logger_mt("umbra")
                          : spdlog::syslog_logger_mt("umbra", "umbra", LOG_PID, LOG_DAEMON));
    const Registry registry(state->registry_directory);
    DaemonOptions options = state->options;
    options.wait = kRestartPatience;
    DaemonReport report;
    report.foreground = state->foreground;
    auto done = live_on(options, registry, report, std::move(*state));
    if (!done) spdlog::error("{}", done.error().text());
    return done;
}

Result<void> check_hand_over(int hand_over) {
    UMBRA_ASSIGN(const HandOver state, take_hand_over(hand_over));
    return MountSession::check_agreement(mount_options(state.options), state.mount.init_request,
                                         state.mount.init_reply);
}

Result<void> run_in_foreground(const DaemonOptions& options, const Registry& registry) {
    spdlog::set_default_logger(spdlog::stderr_logger_mt("umbra"));
    DaemonReport report;
    report.foreground = true;
    return run_daemon(options, registry, report);
}

namespace {

// From here on the process has nothing of the terminal it was started from.
void detach_from_caller() {
    ::setsid();
    const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null.get(), fd);
    spdlog::set_default_logger(spdlog::syslog_logger_mt("umbra", "umbra", LOG_PID, LOG_DAEMON));
}

[[noreturn]] void be_daemon(const DaemonOptions& options, const Registry& registry, UniqueFd pipe) {
    detach_from_caller();
    if (options.end_with_parent) ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    DaemonChannel channel(std::move(pipe));
    DaemonReport report;
    report.event = [&](const Event& event) { channel.send_event(event); };
    report.ready = [&] { channel.send_ready(); };
    report.abandoned_fd = channel.descriptor();
    const auto done = run_daemon(options, registry, report);
    if (!done) {
        spdlog::error("{}", done.error().text());
        channel.send_error(done.error());
    }
    spdlog::shutdown();
    std::exit(done ? EXIT_SUCCESS : EXIT_FAILURE);
}

// The loop answers this from its first moment on.
Result<void> check_answers(const std::string& mountpoint) {
    struct stat status {};
    if (::stat(mountpoint.c_str(), &status) != 0) {
        return errno_error(
            errno,
            fmt::format("the mount at '{}' does not answer; see the system log", mountpoint));
    }
    UMBRA_ASSIGN(const std::vector<MountTableEntry> table, read_mount_table());
    const auto top = mount_at(table, mountpoint);
    if (top && top->type == kMountType) return {};
    return error_of(ErrorKind::kSystem, ENOTCONN,
                    fmt::format("the mount at '{}' is gone again; see the system log", mountpoint));
}

}  // namespace

Result<pid_t> start_daemon(const DaemonOptions& options, const Registry& registry,
                           const std::function<void(const Event&)>& announce) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0)
        return errno_error(errno, "cannot make a pipe to the daemon");
    UniqueFd reader(ends[0]), writer(ends[1]);
    std::fflush(nullptr);
    const pid_t daemon = ::fork();
    if (daemon < 0) return errno_error(errno, "cannot start the daemon");
    if (daemon == 0) {
        reader.reset();
        be_daemon(options, registry, std::move(writer));
    }
    writer.reset();
    auto started = await_daemon(std::move(reader), announce);
    if (started) started = check_answers(options.mountpoint);
    if (!started) {
        // It has said why, and ends by itself; what it held is free once it has.
        ::kill(daemon, SIGTERM);
        ::waitpid(daemon, nullptr, 0);
        return forward_error(started);
    }
    return daemon;
}

}  // namespace umbra
