// A share mounted by umbra and served by smbd as `umbra share samba` says.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tests/support/samba_server.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {

// Debian's own Python, for which python3-impacket is installed, and a program for it in this
// folder.
inline constexpr const char* kPython = "/usr/bin/python3";
std::string python_program(const std::string& name);
std::optional<std::string> missing_for_impacket();

// What `umbra share samba` prints for a share; throws where it fails.
std::string printed_section(const std::filesystem::path& share, const std::string& name = "data",
                            const std::vector<std::string>& options = {});

class Served {
   public:
    // `settings`: NAME and VALUE of `umbra set`, in turns.
    explicit Served(const std::vector<std::string>& settings = {});

    std::filesystem::path path(const std::string& inside) const { return share_.path(inside); }
    UmbraMount& umbra() { return share_.mount(); }
    SambaServer& server() { return server_; }

    std::string snapshot() { return share_.mount().create_snapshot(); }
    // `umbra set`.
    void set(const std::string& name, const std::string& value);

    // What smbclient says; throws where a command of it fails.
    std::string smb(const std::string& commands, const std::string& user = "root") const {
        return server_.must("data", commands, user);
    }
    // NT_STATUS_... of the first command that failed; "" where all went well.
    std::string smb_error(const std::string& commands, const std::string& user = "root") const;
    // A file's contents, fetched by smbclient.
    std::string fetch(const std::string& path, const std::string& user = "root") const;
    // The tokens that `allinfo` lists for a path, newest first.
    std::vector<std::string> versions(const std::string& path,
                                      const std::string& user = "root") const;

   private:
    Share share_;
    SambaServer server_;
};

}  // namespace umbra::test

// The first line of a test case that serves a share.
#define UMBRA_NEEDS_SAMBA()                            \
    UMBRA_NEEDS_MOUNTS();                              \
    UMBRA_SKIP_IF(::umbra::test::missing_for_samba()); \
    UMBRA_SKIP_IF(::umbra::test::missing_for_impacket())
