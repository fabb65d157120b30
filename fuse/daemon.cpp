#include "fuse/daemon.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/sinks/syslog_sink.h>
#include <spdlog/spdlog.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <memory>

#include "fuse/connection_guard.h"
#include "fuse/daemon_channel.h"
#include "fuse/daemon_methods.h"
#include "fuse/event_sink.h"
#include "fuse/mount_session.h"
#include "fuse/mount_table.h"
#include "fuse/share_path.h"
#include "fuse/signal_watcher.h"
#include "snapstore/event_log.h"
#include "snapstore/unique_fd.h"

namespace umbra {

namespace {

constexpr rlim_t kWantedDescriptors = 1 << 20;
constexpr int kRetryMilliseconds = 500;

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

// Sleeps; false as soon as nobody waits for the mount any more or a signal asks to end.
bool keep_waiting(const DaemonReport& report, const SignalWatcher& signals) {
    struct pollfd waited[2] = {{signals.descriptor(), POLLIN, 0}, {report.abandoned_fd, 0, 0}};
    return ::poll(waited, 2, kRetryMilliseconds) == 0;
}

Result<std::unique_ptr<Volume>> open_volume(const DaemonOptions& options,
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
    const auto deadline = std::chrono::steady_clock::now() + options.wait;
    bool said = false;
    for (;;) {
        auto volume = Volume::open({options.share,
                                    options.read_only,
                                    options.memory_bytes,
                                    {options.lease, options.take_over}},
                                   announce);
        const bool owned =
            !volume && volume.error().kind == ErrorKind::kRefused && volume.error().code == EAGAIN;
        if (owned && std::chrono::steady_clock::now() < deadline) {
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

MountOptions session_options(const DaemonOptions& options) {
    MountOptions mount;
    mount.mountpoint = options.mountpoint;
    mount.read_only = options.read_only;
    mount.writeback = options.writeback;
    mount.debug = options.debug;
    mount.extra_options = options.extra_options;
    return mount;
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

Result<std::unique_ptr<Presence>> appear(const Registry& registry, const MountedShare& mounted,
                                         DaemonMethods& methods) {
    UMBRA_ASSIGN(RegistryEntry entry, registry.publish(mounted));
    auto presence = std::make_unique<Presence>(Presence{std::move(entry), nullptr});
    UMBRA_ASSIGN(presence->server, ControlServer::start(registry.socket_path(mounted.uuid),
                                                        [&methods](const ControlRequest& request,
                                                                   const PeerIdentity& peer) {
                                                            return methods.call(request, peer);
                                                        }));
    return presence;
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

Result<void> serve(Volume& volume, const DaemonOptions& options, const Registry& registry,
                   const DaemonReport& report, SignalWatcher& signals) {
    UMBRA_ASSIGN(std::unique_ptr<MountSession> session,
                 MountSession::mount(volume, session_options(options)));
    UMBRA_ASSIGN(const ConnectionGuard guard, ConnectionGuard::start(session->abort_switch()));
    UMBRA_ASSIGN(const MountPoint place, MountPoint::of(options.mountpoint));

    const MountedShare mounted = describe(volume, options);
    DaemonMethods methods(volume, *session, mounted, place);
    UMBRA_ASSIGN(const std::unique_ptr<Presence> presence, appear(registry, mounted, methods));
    signals.watch([&](int number) { stop_serving(place, *session, number); });
    spdlog::info("serving {} at {}", options.share, options.mountpoint);
    if (report.ready) report.ready();

    auto served = session->run();
    signals.stop();
    // Callers of the socket may wait for requests of theirs to the mount, which only its end
    // answers.
    methods.session_ends();
    session.reset();
    presence->server.reset();
    return served;
}

}  // namespace

Result<void> run_daemon(const DaemonOptions& options, const Registry& registry,
                        const DaemonReport& report) {
    UMBRA_ASSIGN(SignalWatcher signals, SignalWatcher::block());
    prepare_process();
    EventSink sink(options.share);
    UMBRA_ASSIGN(std::unique_ptr<Volume> volume, open_volume(options, report, signals, sink));
    sink.follow(volume.get());
    // Somebody else serves the share now: end, as on a signal.
    volume->set_lost_hook([] { ::kill(::getpid(), SIGTERM); });
    UMBRA_TRY(check_diff_area_stays_visible(volume->identity(), options));
    auto served = serve(*volume, options, registry, report, signals);
    sink.follow(nullptr);
    volume.reset();
    if (served) spdlog::info("{} is unmounted and its volume closed", options.share);
    return served;
}

Result<void> run_in_foreground(const DaemonOptions& options, const Registry& registry) {
    spdlog::set_default_logger(spdlog::stderr_logger_mt("umbra"));
    return run_daemon(options, registry, {});
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
