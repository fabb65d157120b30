#include "fuse/control_server.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <list>
#include <mutex>
#include <thread>

#include "fuse/volume_methods.h"
#include "snapstore/unique_fd.h"

namespace umbra {

namespace {

constexpr int kListenBacklog = 64;

Result<PeerIdentity> identify(int connection) {
    struct ucred credentials {};
    socklen_t size = sizeof credentials;
    if (::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
        return errno_error(errno, "cannot tell who has connected");
    }
    PeerIdentity peer{credentials.pid, credentials.uid, credentials.gid, {}};
    std::vector<gid_t> groups(64);
    for (;;) {
        size = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
        if (::getsockopt(connection, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &size) == 0) break;
        if (errno != ERANGE)
            return errno_error(errno, "cannot tell the groups of who has connected");
        groups.resize(size / sizeof(gid_t));
    }
    groups.resize(size / sizeof(gid_t));
    peer.groups = std::move(groups);
    return peer;
}

bool send_line(int connection, std::string line) {
    line.push_back('\n');
    std::string_view rest = line;
    while (!rest.empty()) {
        const ssize_t count = ::send(connection, rest.data(), rest.size(), MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR) continue;
        if (count <= 0) return false;
        rest.remove_prefix(static_cast<std::size_t>(count));
    }
    return true;
}

void set_timeouts(int connection, int seconds) {
    const struct timeval limit { seconds, 0 };
    ::setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

Result<UniqueFd> listen_at(const std::string& path) {
    struct sockaddr_un address {};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) {
        return errno_error(ENAMETOOLONG, "cannot listen at " + path);
    }
    std::memcpy(address.sun_path, path.c_str(), path.size());
    UniqueFd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!listener.valid()) return errno_error(errno, "cannot make a socket");
    ::unlink(path.c_str());
    if (::bind(listener.get(), reinterpret_cast<struct sockaddr*>(&address), sizeof address) != 0 ||
        ::chmod(path.c_str(), 0666) != 0 || ::listen(listener.get(), kListenBacklog) != 0) {
        return errno_error(errno, "cannot listen at " + path);
    }
    return listener;
}

}  // namespace

class ControlServer::Shared {
   public:
    Shared(std::string path, UniqueFd listener, UniqueFd stop, ControlHandler handler,
           ControlLimits limits)
        : path_(std::move(path)),
          listener_(std::move(listener)),
          stop_(std::move(stop)),
          handler_(std::move(handler)),
          limits_(limits),
          acceptor_([this] { accept_all(); }) {}

    ~Shared() {
        if (!listener_.valid()) return;
        ::unlink(path_.c_str());
        stop();
    }

    UniqueFd leave() {
        stop();
        return std::move(listener_);
    }

    std::size_t connections() const {
        const std::lock_guard lock(mutex_);
        return static_cast<std::size_t>(
            std::count_if(connections_.begin(), connections_.end(),
                          [](const auto& one) { return !one.finished; }));
    }

   private:
    void stop() {
        const std::uint64_t one = 1;
        (void)!::write(stop_.get(), &one, sizeof one);
        acceptor_.join();
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
            // Answers under way may still be sent.
            for (auto& connection : connections_) ::shutdown(connection.socket.get(), SHUT_RD);
        }
        for (auto& connection : connections_) connection.thread.join();
    }

    struct Connection {
        UniqueFd socket;
        uid_t uid = 0;
        bool finished = false;  // guarded by mutex_
        std::thread thread;
    };

    void accept_all() {
        struct pollfd waited[2] = {{listener_.get(), POLLIN, 0}, {stop_.get(), POLLIN, 0}};
        for (;;) {
            if (::poll(waited, 2, -1) < 0 && errno != EINTR) return;
            if (waited[1].revents != 0) return;
            UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
            if (socket.valid()) {
                admit(std::move(socket));
            } else if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
                // The connection stays queued: do not spin on it.
                std::this_thread::sleep_for(std::chrono::milliseconds(100));
            }
        }
    }

    void admit(UniqueFd socket) {
        set_timeouts(socket.get(), limits_.idle_seconds);
        auto peer = identify(socket.get());
        if (!peer) {
            send_line(socket.get(), encode_error(nullptr, RpcCode::kInvalidRequest, peer.error()));
            return;
        }
        reap();
        const std::lock_guard lock(mutex_);
        if (!room_for(peer->uid)) {
            const Error full{EAGAIN, ErrorKind::kSystem,
                             "too many connections to this share's daemon: try again"};
            send_line(socket.get(), encode_error(nullptr, RpcCode::kInvalidRequest, full));
            return;
        }
        Connection& connection = connections_.emplace_back();
        connection.socket = std::move(socket);
        connection.uid = peer->uid;
        connection.thread = std::thread([this, &connection, peer = std::move(*peer)] {
            converse(connection.socket.get(), peer);
            const std::lock_guard finished_lock(mutex_);
            ::shutdown(connection.socket.get(), SHUT_RDWR);
            connection.finished = true;
        });
    }

    // Under mutex_.
    bool room_for(uid_t uid) const {
        if (uid == 0) return connections_.size() < limits_.connections * 2;
        const auto of_user = std::count_if(connections_.begin(), connections_.end(),
                                           [&](const auto& other) { return other.uid == uid; });
        return connections_.size() < limits_.connections &&
               static_cast<std::size_t>(of_user) < limits_.connections_of_one_user;
    }

    void reap() {
        std::list<Connection> finished;
        {
            const std::lock_guard lock(mutex_);
            for (auto it = connections_.begin(); it != connections_.end();) {
                const auto next = std::next(it);
                if (it->finished) finished.splice(finished.end(), connections_, it);
                it = next;
            }
        }
        for (auto& connection : finished) connection.thread.join();
    }

    void converse(int connection, const PeerIdentity& peer) {
        std::string received;
        char buffer[8192];
        for (;;) {
            const std::size_t end = received.find('\n');
            if (end != std::string::npos) {
                if (!send_line(connection, answer(std::string_view(received).substr(0, end), peer)))
                    return;
                received.erase(0, end + 1);
                continue;
            }
            if (received.size() > kMaximumRequestBytes) {
                send_line(connection, answer(received, peer));
                return;
            }
            const ssize_t count = ::recv(connection, buffer, sizeof buffer, 0);
            if (count < 0 && errno == EINTR) continue;
            if (count <= 0) return;
            received.append(buffer, static_cast<std::size_t>(count));
        }
    }

    std::string answer(std::string_view line, const PeerIdentity& peer) {
        const auto request = parse_request(line);
        if (!request) return request.error().reply;
        {
            const std::lock_guard lock(mutex_);
            if (stopping_) {
                return encode_error(
                    request->id, RpcCode::kMethodFailed,
                    Error{ESHUTDOWN, ErrorKind::kSystem, "the share is being unmounted"});
            }
        }
        if (!method_access(request->method)) {
            return encode_error(request->id, RpcCode::kMethodNotFound,
                                Error{ENOSYS, ErrorKind::kUsage,
                                      fmt::format("there is no method '{}'", request->method)});
        }
        const auto result = handler_(*request, peer);
        if (result) return encode_result(request->id, *result);
        const bool misused = result.error().kind == ErrorKind::kUsage;
        return encode_error(request->id,
                            misused ? RpcCode::kInvalidParameters : RpcCode::kMethodFailed,
                            result.error());
    }

    const std::string path_;
    UniqueFd listener_;
    const UniqueFd stop_;
    const ControlHandler handler_;
    const ControlLimits limits_;
    mutable std::mutex mutex_;
    bool stopping_ = false;              // guarded by mutex_
    std::list<Connection> connections_;  // guarded by mutex_; only the acceptor adds and removes
    std::thread acceptor_;               // last: it uses all above
};

ControlServer::ControlServer(std::unique_ptr<Shared> shared) : shared_(std::move(shared)) {}
ControlServer::~ControlServer() = default;

Result<std::unique_ptr<ControlServer>> ControlServer::start(const std::string& path,
                                                            ControlHandler handler,
                                                            const ControlLimits& limits) {
    UMBRA_ASSIGN(UniqueFd listener, listen_at(path));
    return resume(path, std::move(listener), std::move(handler), limits);
}

UniqueFd ControlServer::leave() { return shared_->leave(); }

std::size_t ControlServer::connections() const { return shared_->connections(); }

Result<std::unique_ptr<ControlServer>> ControlServer::resume(const std::string& path,
                                                             UniqueFd listener,
                                                             ControlHandler handler,
                                                             const ControlLimits& limits) {
    UniqueFd stop(::eventfd(0, EFD_CLOEXEC));
    if (!stop.valid()) return errno_error(errno, "cannot make an event descriptor");
    return std::unique_ptr<ControlServer>(new ControlServer(std::make_unique<Shared>(
        path, std::move(listener), std::move(stop), std::move(handler), limits)));
}

}  // namespace umbra
