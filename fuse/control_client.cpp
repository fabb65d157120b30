#include "fuse/control_client.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>

#include "fuse/control_protocol.h"

namespace umbra {

Result<ControlClient> ControlClient::connect(const std::string& socket_path) {
    struct sockaddr_un address {};
    address.sun_family = AF_UNIX;
    if (socket_path.size() >= sizeof address.sun_path) {
        return errno_error(ENAMETOOLONG, "cannot reach the daemon at " + socket_path);
    }
    std::memcpy(address.sun_path, socket_path.c_str(), socket_path.size());
    UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (!socket.valid()) return errno_error(errno, "cannot make a socket");
    if (::connect(socket.get(), reinterpret_cast<struct sockaddr*>(&address), sizeof address) !=
        0) {
        return errno_error(errno, "cannot reach the daemon at " + socket_path);
    }
    return ControlClient(std::move(socket));
}

Result<nlohmann::json> ControlClient::call(const std::string& method,
                                           const nlohmann::json& parameters) {
    const nlohmann::json id = next_id_++;
    UMBRA_ASSIGN(const std::string line, encode_request({id, method, parameters}));
    if (line.size() > kMaximumRequestBytes) {
        return error_of(
            ErrorKind::kUsage, E2BIG,
            fmt::format("the request has {} bytes, {} are allowed: ask for less at once",
                        line.size(), kMaximumRequestBytes));
    }
    UMBRA_TRY(send(line + "\n"));
    UMBRA_ASSIGN(const std::string answer, receive());
    return parse_response(answer, id);
}

pid_t ControlClient::daemon_pid() const {
    struct ucred credentials {};
    socklen_t size = sizeof credentials;
    if (::getsockopt(socket_.get(), SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) return 0;
    return credentials.pid;
}

Result<void> ControlClient::send(const std::string& line) {
    std::string_view rest = line;
    while (!rest.empty()) {
        const ssize_t count = ::send(socket_.get(), rest.data(), rest.size(), MSG_NOSIGNAL);
        if (count < 0 && errno == EINTR) continue;
        // A daemon that refuses the connection answers before it reads.
        if (count < 0 && errno == EPIPE) return {};
        if (count <= 0) return errno_error(errno, "cannot send to the daemon");
        rest.remove_prefix(static_cast<std::size_t>(count));
    }
    return {};
}

Result<std::string> ControlClient::receive() {
    char buffer[65536];
    std::size_t searched = 0;
    for (;;) {
        const std::size_t end = received_.find('\n', searched);
        if (end != std::string::npos) {
            std::string line = received_.substr(0, end);
            received_.erase(0, end + 1);
            return line;
        }
        searched = received_.size();
        const ssize_t count = ::recv(socket_.get(), buffer, sizeof buffer, 0);
        if (count < 0 && errno == EINTR) continue;
        if (count < 0) return errno_error(errno, "cannot hear from the daemon");
        if (count == 0) {
            return error_of(ErrorKind::kSystem, ECONNRESET,
                            "the daemon ended the connection without an answer: "
                            "see 'umbra status' and the system log");
        }
        received_.append(buffer, static_cast<std::size_t>(count));
    }
}

}  // namespace umbra
