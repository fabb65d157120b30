#include "restore/writer_keeper.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>

namespace umbra {

namespace {

using SteadyClock = std::chrono::steady_clock;
using std::chrono::milliseconds;

void send_to(int socket, const std::string& message) {
    while (::send(socket, message.data(), message.size(), MSG_NOSIGNAL) < 0 && errno == EINTR) {
    }
}

}  // namespace

WriterKeeper::WriterKeeper(int socket, const std::vector<WriterDefinition>& definitions,
                           const WriterSessionOptions& options)
    : socket_(socket), options_(options), variables_{{"UMBRA_SHARE", options.share}} {
    for (const auto& definition : definitions) {
        asked_.emplace_back();
        asked_.back().writer = &definition;
        asked_.back().report.name = definition.name;
    }
}

void WriterKeeper::serve() {
    for (;;) {
        const auto by = deadline();
        int patience = -1;
        if (by) {
            const auto left = std::chrono::ceil<milliseconds>(*by - SteadyClock::now()).count();
            patience = static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
        }
        struct pollfd waited {
            socket_, POLLIN, 0
        };
        const int count = ::poll(&waited, 1, patience);
        if (count < 0 && errno == EINTR) continue;
        if (count == 0) {
            thaw_late();
            continue;
        }
        std::string request(256, '\0');
        const ssize_t size = ::recv(socket_, request.data(), request.size(), 0);
        if (size < 0 && errno == EINTR) continue;
        gone_ = gone_ || size <= 0;
        if (gone_) break;
        request.resize(static_cast<std::size_t>(size));
        if (request[0] == keeper_request::kQuit) break;
        if (request[0] != keeper_request::kAbort) answer(request);
    }
    if (gone_) orphaned();
    thaw_all();
}

void WriterKeeper::answer(const std::string& request) {
    switch (request[0]) {
        case keeper_request::kPrepare:
            prepare();
            break;
        case keeper_request::kFreeze:
            freeze();
            break;
        case keeper_request::kThaw:
            thaw_late();
            thaw_all();
            break;
        case keeper_request::kPostSnapshot:
            post_snapshot(request.substr(1));
            break;
        default:
            break;
    }
    std::vector<WriterReport> reports;
    for (const auto& asked : asked_) reports.push_back(asked.report);
    send_to(socket_, "R" + encode_writer_reports(reports));
}

void WriterKeeper::orphaned() {
    bool any = false;
    for (auto& asked : asked_) {
        any = any || asked.report.state != WriterState::kUnknown;
        if (asked.report.failed() || asked.report.state == WriterState::kUnknown) continue;
        const bool was_frozen = asked.frozen;
        thaw_one(asked);
        if (asked.report.failed()) continue;
        asked.report.state = WriterState::kFailedAtShutdown;
        asked.report.error = WriterError::kUnexpected;
        asked.report.sentence =
            fmt::format("the command that takes the snapshot ended before it was done{}",
                        was_frozen ? "; the writer has been thawed" : "");
    }
    thaw_all();
    if (!any || !options_.on_orphaned) return;
    std::vector<WriterReport> reports;
    for (const auto& asked : asked_) reports.push_back(asked.report);
    options_.on_orphaned(reports);
}

bool WriterKeeper::should_stop() {
    struct pollfd waited {
        socket_, POLLIN, 0
    };
    if (::poll(&waited, 1, 0) > 0) {
        char request = 0;
        const ssize_t size = ::recv(socket_, &request, 1, MSG_DONTWAIT | MSG_PEEK);
        gone_ = gone_ || size == 0;
        aborted_ = aborted_ || (size > 0 && request == keeper_request::kAbort);
    }
    const auto by = deadline();
    return gone_ || aborted_ || (by && SteadyClock::now() >= *by);
}

std::optional<WriterKeeper::Moment> WriterKeeper::deadline() const {
    std::optional<Moment> by;
    for (const auto& asked : asked_) {
        if (!asked.frozen) continue;
        const Moment own = std::min(asked.thaw_by, cut_by_);
        by = by ? std::min(*by, own) : own;
    }
    return by;
}

void WriterKeeper::fail(Asked& asked, WriterStep step, const WriterOutcome& outcome) {
    if (asked.report.failed()) return;  // the first failure is what explains it
    asked.report.state = failed_at(step);
    asked.report.error = outcome.error;
    asked.report.sentence = outcome.sentence;
}

void WriterKeeper::tell_process(pid_t process) const {
    send_to(socket_, "P" + std::to_string(process));
}

bool WriterKeeper::run(Asked& asked, WriterStep step) {
    const bool stoppable = step != WriterStep::kThaw;
    const WriterOutcome outcome = run_writer_command(
        *asked.writer, step, variables_, "",
        stoppable ? std::function<bool()>([this] { return should_stop(); }) : nullptr,
        [this](pid_t process) { tell_process(process); });
    tell_process(0);
    if (!outcome.ok()) fail(asked, step, outcome);
    if (outcome.ok() && (step == WriterStep::kThaw || step == WriterStep::kPostSnapshot))
        keep_document(asked, outcome.output);
    return outcome.ok();
}

void WriterKeeper::keep_document(Asked& asked, const std::string& output) {
    if (asked.report.document.size() + output.size() > kLongestWriterDocument) {
        fail(asked, WriterStep::kPostSnapshot,
             {WriterError::kUnexpected,
              fmt::format("writer '{}' printed more than {} bytes to be kept", asked.writer->name,
                          kLongestWriterDocument),
              {}});
        return;
    }
    asked.report.document += output;
}

void WriterKeeper::prepare() {
    for (auto& asked : asked_) {
        if (gone_ || aborted_) return;
        if (!run(asked, WriterStep::kIdentify)) {
            if (!options_.allow_failed) return;
            continue;
        }
        asked.report.state = WriterState::kStable;
    }
    for (auto& asked : asked_) {
        if (gone_ || aborted_) return;
        if (asked.report.failed()) continue;
        if (run(asked, WriterStep::kPrepare)) {
            asked.report.state = WriterState::kWaitingForFreeze;
        } else if (!options_.allow_failed) {
            return;
        }
    }
}

void WriterKeeper::freeze() {
    for (auto& asked : asked_) {
        if (asked.report.failed()) continue;
        freeze_one(asked);
        if (!asked.report.failed()) continue;
        thaw_one(asked);
        thaw_late();
        if (gone_ || aborted_ || !options_.allow_failed) {
            thaw_all();
            return;
        }
    }
    cut_by_ = Moment::max();
    for (const auto& asked : asked_)
        if (asked.frozen) cut_by_ = std::min(cut_by_, SteadyClock::now() + asked.writer->cut_limit);
}

void WriterKeeper::freeze_one(Asked& asked) {
    const WriterDefinition& writer = *asked.writer;
    const Moment by = SteadyClock::now() + writer.limit(WriterStep::kFreeze);
    asked.frozen = true;
    asked.thaw_by = Moment::max();  // its command has its limit
    if (!writer.freeze_stays) {
        if (run(asked, WriterStep::kFreeze)) asked.report.state = WriterState::kFrozen;
        asked.thaw_by = by;
        return;
    }
    auto command = WriterCommand::start(writer, WriterStep::kFreeze, variables_, "", true);
    if (!command) {
        fail(asked, WriterStep::kFreeze,
             {WriterError::kNonRetryable, "freeze: " + command.error().text(), {}});
        return;
    }
    tell_process(command->pid());
    const WriterOutcome outcome = command->wait(by, [this] { return should_stop(); });
    tell_process(0);
    if (!outcome.ok() || command->has_ended()) {
        fail(asked, WriterStep::kFreeze,
             !outcome.ok()
                 ? outcome
                 : WriterOutcome{WriterError::kUnexpected, "the freeze ended before the thaw", {}});
        return;
    }
    asked.held = std::move(*command);
    asked.thaw_by = by;
    asked.report.state = WriterState::kFrozen;
}

// Whatever is over its limit takes everybody with it: there is one cut for all.
void WriterKeeper::thaw_late() {
    const auto by = deadline();
    if (!by || SteadyClock::now() < *by) return;
    const bool by_cut = *by == cut_by_;
    for (auto& asked : asked_) {
        if (!asked.frozen) continue;
        fail(asked, WriterStep::kFreeze,
             {WriterError::kTimedOut,
              fmt::format("writer '{}' was thawed before the snapshot was taken: {}",
                          asked.writer->name,
                          by_cut ? "taking it took longer than the limit 'cut'"
                                 : "the limit 'freeze' was over"),
              {}});
    }
    thaw_all();
}

void WriterKeeper::thaw_all() {
    for (std::size_t i = asked_.size(); i-- > 0;) thaw_one(asked_[i]);
    cut_by_ = Moment::max();
}

void WriterKeeper::thaw_one(Asked& asked) {
    if (!asked.frozen) return;
    const WriterDefinition& writer = *asked.writer;
    if (asked.held.started()) {
        const bool early = asked.held.has_ended();
        const WriterOutcome outcome =
            asked.held.finish(SteadyClock::now() + writer.limit(WriterStep::kThaw));
        if (early) {
            fail(asked, WriterStep::kFreeze,
                 {WriterError::kUnexpected,
                  "the freeze ended before the thaw" +
                      (outcome.ok() ? std::string() : ": " + outcome.sentence),
                  {}});
        } else if (!outcome.ok()) {
            fail(asked, WriterStep::kThaw, outcome);
        } else {
            keep_document(asked, outcome.output);
        }
    }
    const bool thawed = run(asked, WriterStep::kThaw);
    asked.frozen = false;
    if (thawed && !asked.report.failed()) asked.report.state = WriterState::kWaitingForPostSnapshot;
}

void WriterKeeper::post_snapshot(const std::string& token) {
    variables_.emplace_back("UMBRA_SNAPSHOT", token);
    for (auto& asked : asked_) {
        if (asked.report.failed()) continue;
        if (run(asked, WriterStep::kPostSnapshot)) asked.report.state = WriterState::kStable;
    }
}

void become_writer_keeper(int socket, const std::vector<WriterDefinition>& definitions,
                          const WriterSessionOptions& options) {
    ::setsid();
    // Whoever ends a session or a terminal does not mean the applications.
    for (const int number : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE}) ::signal(number, SIG_IGN);
    for (const int number : {SIGCHLD, SIGUSR1, SIGUSR2}) ::signal(number, SIG_DFL);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    // Nothing of ours must wait for this process: no pipe, no mount, no lock.
    constexpr int kSocket = 3;
    if (::chdir("/") != 0 || ::dup2(socket, kSocket) < 0) ::_exit(1);
    ::syscall(SYS_close_range, static_cast<unsigned>(kSocket + 1), ~0U, 0U);
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    for (const int fd : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO}) ::dup2(null, fd);
    ::fcntl(kSocket, F_SETFD, FD_CLOEXEC);
    WriterKeeper(kSocket, definitions, options).serve();
    ::_exit(0);
}

}  // namespace umbra
