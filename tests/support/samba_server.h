// Debian's real smbd, serving on loopback with configuration, users and state of its own.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tests/support/process.h"
#include "tests/support/scratch.h"

namespace umbra::test {

// What this machine lacks for serving by Samba, or nothing.
std::optional<std::string> missing_for_samba();

// Two users exist: "root", and "daemon" (Debian's user 1), who has no privileges. Methods throw
// std::runtime_error with what the program said.
class SambaServer {
   public:
    // `sections`: the shares as smb.conf has them. `global`: more lines for [global].
    explicit SambaServer(const std::string& sections, const std::string& global = "");
    SambaServer(const SambaServer&) = delete;
    SambaServer& operator=(const SambaServer&) = delete;
    // Ends smbd with all its children.
    ~SambaServer();

    const std::filesystem::path& config() const { return config_; }
    int port() const { return port_; }
    // Changes what is shared; what is connected from then on sees it.
    void reload(const std::string& sections);

    // smbclient's answer to `commands` ("allinfo x; get y -").
    ProcessResult client(const std::string& share, const std::string& commands,
                         const std::string& user = "root") const;
    // Its stdout; throws where it fails.
    std::string must(const std::string& share, const std::string& commands,
                     const std::string& user = "root") const;
    // smbtorture's run of one test, or of a suite.
    ProcessResult torture(const std::string& share, const std::string& test,
                          const std::vector<std::string>& options = {},
                          std::chrono::milliseconds timeout = std::chrono::minutes(2)) const;
    // What smbd has logged.
    std::string log() const;

    static constexpr const char* kPassword = "umbra-test";

   private:
    void write_config(const std::string& sections) const;
    void add_user(const std::string& user) const;
    void start();

    TempDir directory_{"samba"};
    std::filesystem::path config_;
    std::string global_;
    int port_ = 0;
    pid_t pid_ = -1;
};

}  // namespace umbra::test
