#include "restore/writer_session.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "restore/writer_command.h"
#include "restore/writer_keeper.h"
#include "snapstore/unique_fd.h"

namespace umbra {

namespace {

constexpr int kLookMilliseconds = 100;
constexpr std::size_t kLongestAnswer = 1 << 20;

}  // namespace

class WriterSession::Shared {
   public:
    Shared(std::vector<WriterDefinition> definitions, WriterSessionOptions options)
        : definitions_(std::move(definitions)), options_(std::move(options)) {
        for (const auto& definition : definitions_) {
            reports_.emplace_back();
            reports_.back().name = definition.name;
        }
    }

    ~Shared() {
        if (socket_.valid()) send(std::string(1, keeper_request::kQuit));
        socket_.reset();
        while (keeper_ > 0 && ::waitpid(keeper_, nullptr, 0) < 0 && errno == EINTR) {
        }
    }

    Result<void> start() {
        int ends[2];
        if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
            return errno_error(errno, "cannot make a socket to the keeper of the writers");
        socket_.reset(ends[0]);
        const UniqueFd other(ends[1]);
        keeper_ = ::fork();
        if (keeper_ < 0) return errno_error(errno, "cannot start the keeper of the writers");
        if (keeper_ == 0) become_writer_keeper(other.get(), definitions_, options_);
        return {};
    }

    Result<void> ask(char step, const char* name, const std::string& text = "") {
        if (options_.on_step) options_.on_step(name);
        if (!socket_.valid()) return {};
        maybe_frozen_ = maybe_frozen_ || step == keeper_request::kFreeze;
        if (!send(step + text)) {
            keeper_died();
            return {};
        }
        const bool stoppable = step == keeper_request::kPrepare || step == keeper_request::kFreeze;
        const bool interrupted = take_answer(stoppable);
        if (step == keeper_request::kThaw) maybe_frozen_ = false;
        if (!interrupted) return {};
        return error_of(ErrorKind::kSystem, EINTR,
                        "interrupted: no snapshot was taken, and the writers are thawed");
    }

    const std::vector<WriterReport>& reports() const { return reports_; }
    const WriterSessionOptions& options() const { return options_; }

   private:
    bool send(const std::string& message) {
        ssize_t count = 0;
        do {
            count = ::send(socket_.get(), message.data(), message.size(), MSG_NOSIGNAL);
        } while (count < 0 && errno == EINTR);
        return count >= 0;
    }

    // Waits for the keeper's answer. True where it was interrupted meanwhile.
    bool take_answer(bool stoppable) {
        bool interrupted = false;
        for (;;) {
            struct pollfd waited {
                socket_.get(), POLLIN, 0
            };
            const int count = ::poll(&waited, 1, kLookMilliseconds);
            if (stoppable && !interrupted && options_.interrupted && options_.interrupted()) {
                interrupted = true;
                send(std::string(1, keeper_request::kAbort));
            }
            if (count <= 0) continue;
            std::string answer(kLongestAnswer, '\0');
            const ssize_t size = ::recv(socket_.get(), answer.data(), answer.size(), 0);
            if (size < 0 && errno == EINTR) continue;
            if (size <= 0) {
                keeper_died();
                return interrupted;
            }
            answer.resize(static_cast<std::size_t>(size));
            if (answer[0] == 'P') {
                running_ = static_cast<pid_t>(std::strtol(answer.c_str() + 1, nullptr, 10));
                continue;
            }
            if (auto reports = decode_writer_reports(answer.substr(1)); reports)
                reports_ = std::move(*reports);
            return interrupted;
        }
    }

    // What may be frozen is thawed here then.
    void keeper_died() {
        socket_.reset();
        if (running_ > 0) ::kill(-running_, SIGKILL);
        for (std::size_t i = definitions_.size(); i-- > 0;) {
            WriterReport& report = reports_[i];
            if (report.failed()) continue;
            report.state =
                maybe_frozen_ ? WriterState::kFailedAtFreeze : WriterState::kFailedAtShutdown;
            report.error = WriterError::kUnexpected;
            report.sentence = "the process that runs the writers' commands was ended";
            if (!maybe_frozen_) continue;
            const WriterOutcome outcome = run_writer_command(
                definitions_[i], WriterStep::kThaw, {{"UMBRA_SHARE", options_.share}}, "", {});
            report.sentence += outcome.ok() ? "; the writer has been thawed"
                                            : "; its thaw failed, too: " + outcome.sentence;
        }
        maybe_frozen_ = false;
    }

    const std::vector<WriterDefinition> definitions_;
    const WriterSessionOptions options_;
    std::vector<WriterReport> reports_;
    UniqueFd socket_;
    pid_t keeper_ = 0;
    pid_t running_ = 0;          // the process group of the command that is being run
    bool maybe_frozen_ = false;  // a freeze was asked for, and no thaw answered
};

WriterSession::WriterSession(std::unique_ptr<Shared> shared) : shared_(std::move(shared)) {}
WriterSession::~WriterSession() = default;

Result<std::unique_ptr<WriterSession>> WriterSession::start(
    std::vector<WriterDefinition> definitions, WriterSessionOptions options) {
    sort_writers(definitions);
    auto shared = std::make_unique<Shared>(std::move(definitions), std::move(options));
    UMBRA_TRY(shared->start());
    return std::unique_ptr<WriterSession>(new WriterSession(std::move(shared)));
}

Result<void> WriterSession::prepare() {
    return shared_->ask(keeper_request::kPrepare, "prepare the writers");
}

Result<void> WriterSession::freeze() {
    return shared_->ask(keeper_request::kFreeze, "freeze the writers");
}

Result<void> WriterSession::thaw() {
    return shared_->ask(keeper_request::kThaw, "thaw the writers");
}

Result<void> WriterSession::post_snapshot(const std::string& token) {
    return shared_->ask(keeper_request::kPostSnapshot, "tell the writers", token);
}

const std::vector<WriterReport>& WriterSession::reports() const { return shared_->reports(); }
const WriterSessionOptions& WriterSession::options() const { return shared_->options(); }

namespace {

Error writers_failed(const WriterSession& session) {
    return Error{ECANCELED, ErrorKind::kSystem,
                 "no snapshot was taken: " + failed_writers_text(session.reports()) +
                     " (--allow-failed-writers goes on without them)"};
}

bool must_end(const WriterSession& session) {
    return !session.options().allow_failed && any_writer_failed(session.reports());
}

// The snapshot is there, and must not be: whatever else fails, say so.
Error take_back_because(Error why, const std::string& token, const WriterSession& session,
                        const WriterRecord& record, const WriterTakeBack& take_back) {
    // It says of itself that it is not consistent, should it stay.
    static_cast<void>(record(token, session.reports()));
    if (auto gone = take_back(token); !gone)
        why.message += "; the snapshot " + token +
                       " could not be deleted again and is not consistent: " + gone.error().text();
    return why;
}

}  // namespace

Result<WriterSnapshot> snapshot_with_writers(WriterSession& session, const WriterCut& cut,
                                             const WriterRecord& record,
                                             const WriterTakeBack& take_back) {
    const auto step = [&](const char* name) {
        if (session.options().on_step) session.options().on_step(name);
    };
    UMBRA_TRY(session.prepare());
    if (must_end(session)) return tl::make_unexpected(writers_failed(session));
    UMBRA_TRY(session.freeze());
    if (must_end(session)) {
        UMBRA_TRY(session.thaw());
        return tl::make_unexpected(writers_failed(session));
    }
    step("cut");
    auto token = cut(session.reports());
    UMBRA_TRY(session.thaw());
    if (!token) return forward_error(token);
    if (!must_end(session)) UMBRA_TRY(session.post_snapshot(*token));
    if (must_end(session))
        return tl::make_unexpected(
            take_back_because(writers_failed(session), *token, session, record, take_back));
    step("record the writers");
    if (auto recorded = record(*token, session.reports()); !recorded)
        return tl::make_unexpected(
            take_back_because(recorded.error(), *token, session, record, take_back));
    return WriterSnapshot{*token, session.reports()};
}

}  // namespace umbra
