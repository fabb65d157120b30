// The control endpoint of a mounted share: a unix socket answering JSON-RPC
// (fuse/control_protocol.h). Anybody may connect; what a caller may do is decided from the
// credentials that the kernel vouches for.
#pragma once

#include <sys/types.h>

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "fuse/control_protocol.h"
#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

// Who has connected, as of then.
struct PeerIdentity {
    pid_t pid = 0;
    uid_t uid = 0;
    gid_t gid = 0;
    std::vector<gid_t> groups;  // supplementary
};

struct ControlLimits {
    // Further connections are told so and closed. Root is not counted against the limit for one
    // user.
    std::size_t connections = 64;
    std::size_t connections_of_one_user = 16;
    // A connection that sends nothing, or takes nothing, for so long is closed.
    int idle_seconds = 60;
};

// Answers a request. Called from several threads at once; a thread of its own per connection, so
// that it may take as long as it needs.
using ControlHandler =
    std::function<Result<nlohmann::json>(const ControlRequest& request, const PeerIdentity& peer)>;

class ControlServer {
   public:
    // Listens at `path` (mode 0666, replacing a socket left there) and serves until destroyed. The
    // errno of the failed call when it cannot.
    static Result<std::unique_ptr<ControlServer>> start(const std::string& path,
                                                        ControlHandler handler,
                                                        const ControlLimits& limits = {});

    // Goes on with a socket that leave() of a predecessor gave.
    static Result<std::unique_ptr<ControlServer>> resume(const std::string& path, UniqueFd socket,
                                                         ControlHandler handler,
                                                         const ControlLimits& limits = {});

    // Takes no more requests, waits for those being answered, removes the socket.
    ~ControlServer();

    // The same, but the socket stays: who connects waits for a successor.
    UniqueFd leave();

    // Connections that there are.
    std::size_t connections() const;

   private:
    class Shared;
    explicit ControlServer(std::unique_ptr<Shared> shared);
    std::unique_ptr<Shared> shared_;
};

}  // namespace umbra
