#include "fuse/nfs_export.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <cstdint>
#include <string_view>

namespace umbra {

namespace {

bool is_control(char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; }

Result<void> check_path(const std::string& path) {
    if (std::none_of(path.begin(), path.end(), is_control)) return {};
    return error_of(ErrorKind::kUsage, EINVAL,
                    "the mount point's path has control characters, which the configuration of an "
                    "NFS server cannot hold: mount the share at another place");
}

// Addresses with prefix lengths, names, wildcards and netgroups: nothing that could end a value.
Result<void> check_client(const std::string& client) {
    const auto allowed = [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
               std::string_view(".:/-_*?@").find(c) != std::string_view::npos;
    };
    if (!client.empty() && std::all_of(client.begin(), client.end(), allowed)) return {};
    return error_of(ErrorKind::kUsage, EINVAL,
                    fmt::format("'{}' is no client: give an address, a network like 10.1.0.0/16, a "
                                "host name or '*'",
                                client));
}

Result<void> check(const NfsExport& share) {
    UMBRA_TRY(check_path(share.path));
    for (const auto& client : share.clients) UMBRA_TRY(check_client(client));
    return {};
}

std::string quoted(const std::string& text) {
    std::string result = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') result += '\\';
        result += c;
    }
    return result + "\"";
}

// exports(5): a space, a quote or a backslash as \ and three octal digits, also between quotes.
std::string escaped(const std::string& path) {
    std::string result;
    for (const char c : path) {
        if (c == ' ' || c == '"' || c == '\\' || c == '#' || c == '(' || c == ')')
            result += fmt::format("\\{:03o}", static_cast<unsigned>(c));
        else
            result += c;
    }
    return result;
}

std::uint64_t number_of(const std::string& uuid, std::uint64_t which) {
    return XXH3_64bits_withSeed(uuid.data(), uuid.size(), which);
}

// 1 to 65535; 0 is Ganesha's own.
std::uint64_t export_id(const std::string& uuid) { return number_of(uuid, 0) % 65535 + 1; }

std::string joined(const std::vector<std::string>& texts) {
    std::string result;
    for (const auto& text : texts) result += (result.empty() ? "" : ", ") + text;
    return result;
}

}  // namespace

Result<std::string> ganesha_export(const NfsExport& share) {
    UMBRA_TRY(check(share));
    const char* access = share.read_only ? "RO" : "RW";
    std::string text = fmt::format(
        "# For nfs-ganesha: put this into /etc/ganesha/ganesha.conf.\n"
        "EXPORT {{\n"
        "    Export_Id = {};\n"
        "    Path = {};\n"
        "    Pseudo = {};\n"
        "    # From the volume's UUID, so that clients know it again after a restart.\n"
        "    Filesystem_Id = {}.{};\n"
        "    Protocols = 3, 4;\n"
        "    Transports = TCP;\n"
        "    SecType = sys;\n"
        "    Squash = Root_Squash;\n"
        "    Access_Type = {};\n"
        "    # What others change (Samba, snapshots) is seen after so many seconds. With 0 "
        "listings\n"
        "    # fail more often while files are removed.\n"
        "    Attr_Expiration_Time = 5;\n"
        "    # Places in a directory stay good while it changes: no listing has to begin anew.\n"
        "    UseCookieVerifier = false;\n",
        export_id(share.uuid), quoted(share.path), quoted(share.path), number_of(share.uuid, 1),
        number_of(share.uuid, 2), share.clients.empty() ? access : "None");
    if (!share.clients.empty()) {
        text +=
            fmt::format("    CLIENT {{\n        Clients = {};\n        Access_Type = {};\n    }}\n",
                        joined(share.clients), access);
    }
    return text + "    FSAL {\n        Name = VFS;\n    }\n}\n";
}

Result<std::string> kernel_export(const NfsExport& share) {
    UMBRA_TRY(check(share));
    std::vector<std::string> clients = share.clients;
    if (clients.empty()) clients.emplace_back("*");
    std::string line = escaped(share.path);
    for (const auto& client : clients) {
        line += fmt::format(" {}({},fsid={},root_squash,no_subtree_check)", client,
                            share.read_only ? "ro" : "rw", share.uuid);
    }
    return "# For the kernel's NFS server: put this into /etc/exports.\n" + line + "\n";
}

}  // namespace umbra
