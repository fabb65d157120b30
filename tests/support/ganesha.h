// Debian's nfs-ganesha, serving exports to libnfs's tools in a network of its own: nothing of the
// machine's network is touched, and no port can be taken already.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/scratch.h"

namespace umbra::test {

// What this machine lacks for it, or nothing.
std::optional<std::string> missing_for_nfs();

// Throws std::runtime_error when the server does not come up.
class Ganesha {
   public:
    // `exports`: EXPORT blocks, as `umbra share nfs` prints them.
    explicit Ganesha(const std::string& exports);
    Ganesha(const Ganesha&) = delete;
    Ganesha& operator=(const Ganesha&) = delete;
    ~Ganesha();

    void stop();
    void start();

    // nfs://127.0.0.1/PATH with what libnfs needs behind it.
    static std::string url(const std::filesystem::path& path);
    // Runs a program in the server's network.
    ProcessResult run(const std::vector<std::string>& argv) const;
    std::vector<std::string> in_network(const std::vector<std::string>& argv) const;
    // A process in the server's network, which lives as long as this.
    pid_t network_process() const { return network_.pid(); }

    // What nfs-cat prints; throws with its stderr unless it succeeds.
    std::string contents(const std::filesystem::path& path) const;
    // The names nfs-ls prints, in its order, with "." and "..".
    std::vector<std::string> names(const std::filesystem::path& directory) const;
    // The end of the server's log, for messages.
    std::string log() const;

   private:
    TempDir directory_;
    BackgroundProcess network_;  // holds the network namespace
    std::unique_ptr<BackgroundProcess> portmapper_;
    std::unique_ptr<BackgroundProcess> server_;
};

}  // namespace umbra::test
