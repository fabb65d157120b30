// The calling side of the control socket.
#pragma once

#include <sys/types.h>

#include <nlohmann/json.hpp>
#include <string>

#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

// One connection; calls are made one after the other. Not thread-safe.
class ControlClient {
   public:
    // The errno of connect(2) when nobody listens: ENOENT, ECONNREFUSED.
    static Result<ControlClient> connect(const std::string& socket_path);

    // The method's result, or its error as the daemon had it. Waits as long as the daemon needs.
    Result<nlohmann::json> call(const std::string& method,
                                const nlohmann::json& parameters = nlohmann::json::object());

    // The process that listens.
    pid_t daemon_pid() const;

   private:
    explicit ControlClient(UniqueFd socket) : socket_(std::move(socket)) {}
    Result<void> send(const std::string& line);
    Result<std::string> receive();

    UniqueFd socket_;
    std::string received_;
    int next_id_ = 1;
};

}  // namespace umbra
