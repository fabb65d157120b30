#include "restore/writer_command.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <nlohmann/json.hpp>
#include <optional>

namespace umbra {

namespace {

using SteadyClock = std::chrono::steady_clock;
constexpr int kLookMilliseconds = 50;
constexpr std::size_t kKeptOfErrors = 600;
constexpr const char* kFrozenLine = "frozen\n";
// What the child says when it cannot become the command.
constexpr int kCannotRun = 127;

struct Identity {
    std::string name = "root";
    std::string home = "/root";
    uid_t uid = 0;
    gid_t gid = 0;
    std::vector<gid_t> groups;
};

Result<Identity> identity_of(const std::string& user) {
    Identity identity;
    if (user.empty() || user == "root") return identity;
    std::vector<char> buffer(1 << 16);
    struct passwd entry {};
    struct passwd* found = nullptr;
    ::getpwnam_r(user.c_str(), &entry, buffer.data(), buffer.size(), &found);
    if (found == nullptr)
        return error_of(ErrorKind::kNotFound, ENOENT, "there is no user '" + user + "'");
    identity.name = user;
    identity.home = found->pw_dir;
    identity.uid = found->pw_uid;
    identity.gid = found->pw_gid;
    int count = 256;
    identity.groups.resize(static_cast<std::size_t>(count));
    if (::getgrouplist(user.c_str(), found->pw_gid, identity.groups.data(), &count) < 0)
        return error_of(ErrorKind::kSystem, EOVERFLOW, "'" + user + "' is in too many groups");
    identity.groups.resize(static_cast<std::size_t>(count));
    return identity;
}

std::string upper_word(std::string text) {
    for (char& c : text) c = c == '-' ? '_' : static_cast<char>(std::toupper(c));
    return text;
}

std::vector<std::string> environment_of(const WriterDefinition& writer, WriterStep step,
                                        const Identity& identity,
                                        const WriterVariables& variables) {
    std::map<std::string, std::string> all{
        {"PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
        {"LC_ALL", "C.UTF-8"},
        {"HOME", identity.home},
        {"USER", identity.name},
        {"LOGNAME", identity.name}};
    for (const auto& [name, value] : writer.environment) all[name] = value;
    for (const auto& [name, value] : writer.settings)
        all["UMBRA_SETTING_" + upper_word(name)] = value;
    for (const auto& [name, value] : variables) all[name] = value;
    all["UMBRA_WRITER"] = writer.name;
    all["UMBRA_STEP"] = writer_step_name(step);
    std::vector<std::string> texts;
    for (const auto& [name, value] : all) texts.push_back(name + "=" + value);
    return texts;
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    for (auto& text : texts) pointers.push_back(text.data());
    pointers.push_back(nullptr);
    return pointers;
}

struct Pipe {
    UniqueFd read;
    UniqueFd write;
    static Result<Pipe> make() {
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) return errno_error(errno, "making a pipe");
        return Pipe{UniqueFd(ends[0]), UniqueFd(ends[1])};
    }
};

// In the child, between fork and exec: system calls alone.
[[noreturn]] void become(const Identity& identity, int input, int output, int errors,
                         char* const* arguments, char* const* environment) {
    ::setpgid(0, 0);
    sigset_t none;
    ::sigemptyset(&none);
    struct sigaction usual {};
    usual.sa_handler = SIG_DFL;
    for (int number = 1; number < NSIG; ++number) ::sigaction(number, &usual, nullptr);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    const bool ready =
        ::dup2(input, STDIN_FILENO) >= 0 && ::dup2(output, STDOUT_FILENO) >= 0 &&
        ::dup2(errors, STDERR_FILENO) >= 0 && ::chdir("/") == 0 &&
        (identity.uid == 0 || (::setgroups(identity.groups.size(), identity.groups.data()) == 0 &&
                               ::setresgid(identity.gid, identity.gid, identity.gid) == 0 &&
                               ::setresuid(identity.uid, identity.uid, identity.uid) == 0));
    ::umask(022);
    if (ready) {
        ::syscall(SYS_close_range, 3U, ~0U, 0U);
        ::execvpe(arguments[0], arguments, environment);
    }
    const char* why = ::strerrordesc_np(errno);
    static_cast<void>(::write(STDERR_FILENO, why, std::strlen(why)) == 0);
    ::_exit(kCannotRun);
}

std::string end_of(const std::string& text) {
    std::string end = text.size() > kKeptOfErrors ? text.substr(text.size() - kKeptOfErrors) : text;
    while (!end.empty() && std::isspace(static_cast<unsigned char>(end.back())) != 0)
        end.pop_back();
    for (char& c : end)
        if (std::iscntrl(static_cast<unsigned char>(c)) != 0) c = ' ';
    return end;
}

bool is_text(const std::string& bytes) {
    using nlohmann::json;
    if (bytes.find('\0') != std::string::npos) return false;
    const std::string valid = json(bytes).dump(-1, ' ', false, json::error_handler_t::ignore);
    return json::parse(valid, nullptr, false) == json(bytes);
}

}  // namespace

WriterCommand::~WriterCommand() { kill_group(); }

WriterCommand& WriterCommand::operator=(WriterCommand&& other) noexcept {
    if (this == &other) return *this;
    kill_group();
    what_ = std::move(other.what_);
    process_ = std::exchange(other.process_, 0);
    stays_ = other.stays_;
    frozen_ = other.frozen_;
    too_long_ = other.too_long_;
    pidfd_ = std::move(other.pidfd_);
    input_ = std::move(other.input_);
    output_ = std::move(other.output_);
    errors_ = std::move(other.errors_);
    output_text_ = std::move(other.output_text_);
    errors_text_ = std::move(other.errors_text_);
    return *this;
}

void WriterCommand::kill_group() {
    if (process_ <= 0) return;
    ::kill(-process_, SIGKILL);
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
    process_ = 0;
}

Result<WriterCommand> WriterCommand::start(const WriterDefinition& writer, WriterStep step,
                                           const WriterVariables& variables,
                                           const std::string& input, bool stays) {
    WriterCommand made;
    made.what_ = fmt::format("writer '{}': {}", writer.name, writer_step_name(step));
    made.stays_ = stays;
    UMBRA_ASSIGN(Identity identity, identity_of(writer.user));
    UMBRA_ASSIGN(Pipe in, Pipe::make());
    UMBRA_ASSIGN(Pipe out, Pipe::make());
    UMBRA_ASSIGN(Pipe errors, Pipe::make());
    std::vector<std::string> arguments = writer.command(step);
    std::vector<std::string> environment = environment_of(writer, step, identity, variables);
    const std::vector<char*> argument_pointers = pointers_to(arguments);
    const std::vector<char*> environment_pointers = pointers_to(environment);
    // Written before anybody reads: all of it must fit into the pipe.
    if (!input.empty() && ::fcntl(in.write.get(), F_SETPIPE_SZ, input.size()) < 0)
        return errno_error(errno, "making room for what " + made.what_ + " reads");
    if (!input.empty() &&
        ::write(in.write.get(), input.data(), input.size()) != static_cast<ssize_t>(input.size()))
        return errno_error(errno, "writing what " + made.what_ + " reads");
    const pid_t child = ::fork();
    if (child < 0) return errno_error(errno, "starting " + made.what_);
    if (child == 0)
        become(identity, in.read.get(), out.write.get(), errors.write.get(),
               argument_pointers.data(), environment_pointers.data());
    ::setpgid(child, child);
    made.process_ = child;
    made.pidfd_.reset(static_cast<int>(::syscall(SYS_pidfd_open, child, 0)));
    if (stays) made.input_ = std::move(in.write);
    made.output_ = std::move(out.read);
    made.errors_ = std::move(errors.read);
    for (const UniqueFd* fd : {&made.output_, &made.errors_})
        ::fcntl(fd->get(), F_SETFL, O_NONBLOCK);
    return made;
}

void WriterCommand::take_output() {
    std::array<char, 4096> bytes{};
    for (;;) {
        const ssize_t count = ::read(output_.get(), bytes.data(), bytes.size());
        if (count <= 0) break;
        too_long_ = too_long_ || output_text_.size() > 2 * kLongestWriterDocument;
        if (!too_long_) output_text_.append(bytes.data(), static_cast<std::size_t>(count));
    }
    for (;;) {
        const ssize_t count = ::read(errors_.get(), bytes.data(), bytes.size());
        if (count <= 0) break;
        errors_text_.append(bytes.data(), static_cast<std::size_t>(count));
        if (errors_text_.size() > 4 * kKeptOfErrors)
            errors_text_.erase(0, errors_text_.size() - 2 * kKeptOfErrors);
    }
    if (!stays_ || frozen_) return;
    const std::size_t at = output_text_.find(kFrozenLine);
    if (at == std::string::npos || (at > 0 && output_text_[at - 1] != '\n')) return;
    frozen_ = true;
    output_text_.erase(0, at + std::strlen(kFrozenLine));
}

WriterOutcome WriterCommand::ended(int status) {
    process_ = 0;
    take_output();
    WriterOutcome outcome;
    outcome.output = output_text_;
    const std::string said = errors_text_.empty() ? "" : ": " + end_of(errors_text_);
    if (WIFSIGNALED(status)) {
        outcome.error = WriterError::kUnexpected;
        outcome.sentence =
            fmt::format("{} was ended by signal {}{}", what_, WTERMSIG(status), said);
    } else if (WEXITSTATUS(status) != 0) {
        const int code = WEXITSTATUS(status);
        outcome.error = code == kCannotRun || code == 126 ? WriterError::kNonRetryable
                                                          : WriterError::kRetryable;
        outcome.sentence = fmt::format("{} left exit status {}{}", what_, code, said);
    } else if (too_long_ || output_text_.size() > kLongestWriterDocument) {
        outcome.error = WriterError::kUnexpected;
        outcome.sentence =
            fmt::format("{} printed more than {} bytes to be kept", what_, kLongestWriterDocument);
    } else if (!is_text(output_text_)) {
        outcome.error = WriterError::kUnexpected;
        outcome.sentence = what_ + " printed what is no UTF-8 text";
    }
    return outcome;
}

WriterOutcome WriterCommand::go_on(SteadyClock::time_point until, const std::function<bool()>& stop,
                                   bool until_frozen) {
    const auto cut_short = [&](WriterError error, const char* why) {
        kill_group();
        take_output();
        WriterOutcome outcome;
        outcome.error = error;
        outcome.sentence = what_ + why;
        if (!errors_text_.empty()) outcome.sentence += ": " + end_of(errors_text_);
        return outcome;
    };
    for (;;) {
        std::array<struct pollfd, 3> waited{
            {{pidfd_.get(), POLLIN, 0}, {output_.get(), POLLIN, 0}, {errors_.get(), POLLIN, 0}}};
        // Pipes that others still hold open, or have closed, must not keep us busy.
        ::poll(waited.data(), 1, until_frozen ? 5 : kLookMilliseconds);
        take_output();
        if ((waited[0].revents & POLLIN) != 0) {
            int status = 0;
            ::waitpid(process_, &status, 0);
            WriterOutcome outcome = ended(status);
            if (until_frozen && !frozen_ && outcome.ok()) {
                outcome.error = WriterError::kUnexpected;
                outcome.sentence = what_ + " ended without saying that it is frozen";
            }
            return outcome;
        }
        if (until_frozen && frozen_) return {};
        if (stop && stop()) return cut_short(WriterError::kUnexpected, " was interrupted");
        if (SteadyClock::now() >= until)
            return cut_short(WriterError::kTimedOut, " took longer than its limit and was killed");
    }
}

WriterOutcome WriterCommand::wait(SteadyClock::time_point until,
                                  const std::function<bool()>& stop) {
    return go_on(until, stop, stays_);
}

bool WriterCommand::has_ended() {
    if (process_ <= 0) return true;
    struct pollfd waited {
        pidfd_.get(), POLLIN, 0
    };
    return ::poll(&waited, 1, 0) > 0;
}

WriterOutcome WriterCommand::finish(SteadyClock::time_point until) {
    input_.reset();
    return go_on(until, {}, false);
}

WriterOutcome run_writer_command(const WriterDefinition& writer, WriterStep step,
                                 const WriterVariables& variables, const std::string& input,
                                 const std::function<bool()>& stop,
                                 const std::function<void(pid_t)>& started) {
    if (writer.command(step).empty()) return {};
    auto command = WriterCommand::start(writer, step, variables, input, false);
    if (!command)
        return {WriterError::kNonRetryable,
                fmt::format("writer '{}': {}: {}", writer.name, writer_step_name(step),
                            command.error().text()),
                {}};
    if (started) started(command->pid());
    return command->wait(SteadyClock::now() + writer.limit(step), stop);
}

}  // namespace umbra
