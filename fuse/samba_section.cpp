#include "fuse/samba_section.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>

#include "snapstore/live_tree.h"

namespace umbra {

namespace {

constexpr std::size_t kLongestName = 80;  // characters, of a share for Windows

bool is_control(char c) { return static_cast<unsigned char>(c) < ' ' || c == 0x7F; }

// Well-formed UTF-8, as smb.conf is read; counts the characters.
bool is_utf8(std::string_view text, std::size_t& characters) {
    characters = 0;
    for (std::size_t at = 0; at < text.size(); ++characters) {
        const auto first = static_cast<unsigned char>(text[at]);
        const std::size_t length = first < 0x80                     ? 1
                                   : first >= 0xC2 && first <= 0xDF ? 2
                                   : (first & 0xF0) == 0xE0         ? 3
                                   : first >= 0xF0 && first <= 0xF4 ? 4
                                                                    : 0;
        if (length == 0 || at + length > text.size()) return false;
        const auto follows = [](char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; };
        if (!std::all_of(text.begin() + static_cast<std::ptrdiff_t>(at + 1),
                         text.begin() + static_cast<std::ptrdiff_t>(at + length), follows)) {
            return false;
        }
        at += length;
    }
    return true;
}

std::string lower_case(std::string_view text) {
    std::string lower(text);
    std::transform(lower.begin(), lower.end(), lower.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return lower;
}

tl::unexpected<Error> bad(const std::string& what, std::string_view text, const std::string& why,
                          const std::string& advice) {
    return error_of(ErrorKind::kUsage, EINVAL,
                    fmt::format("{} '{}' {}; {}", what, text, why, advice));
}

// smb.conf has no quoting that would help: it takes space, quotes and a backslash off the ends of a
// value and replaces what begins with '%'.
Result<void> check_path(const std::string& path) {
    const char* advice = "mount the share at another place, and share that";
    std::size_t characters = 0;
    if (!is_utf8(path, characters)) return bad("the path", path, "is not UTF-8", advice);
    if (std::any_of(path.begin(), path.end(), is_control))
        return bad("the path", path, "has control characters", advice);
    if (const auto odd = path.find_first_of("%\"\\"); odd != std::string::npos)
        return bad("the path", path,
                   fmt::format("has '{}', which means something else in smb.conf", path[odd]),
                   advice);
    if (path.back() == ' ') return bad("the path", path, "ends with a space", advice);
    return {};
}

// vfs_shell_snap gives the path to a shell, unquoted.
Result<void> check_shell_path(const std::string& path) {
    const auto safe = [](unsigned char c) {
        return std::isalnum(c) != 0 ||
               std::string_view("/_-.,+@:=").find(static_cast<char>(c)) != std::string_view::npos;
    };
    if (std::all_of(path.begin(), path.end(), safe)) return {};
    return bad("the path", path, "has characters that a shell would misread",
               "without --remote-snapshots it can be shared");
}

const char* yes_or_no(bool value) { return value ? "yes" : "no"; }

}  // namespace

Result<void> check_samba_share_name(std::string_view name) {
    const char* advice = "give another with --name";
    const auto refuse = [&](const std::string& why) {
        return bad("the share name", name, why, advice);
    };
    if (name.empty()) return refuse("is empty");
    std::size_t characters = 0;
    if (!is_utf8(name, characters)) return refuse("is not UTF-8");
    if (characters > kLongestName)
        return refuse(fmt::format("has more than {} characters", kLongestName));
    if (std::any_of(name.begin(), name.end(), is_control)) return refuse("has control characters");
    if (const auto odd = name.find_first_of("%<>*?|/\\+=;:\",[]"); odd != std::string_view::npos)
        return refuse(fmt::format("has '{}', which Samba allows in none", name[odd]));
    if (name.front() == ' ' || name.back() == ' ') return refuse("begins or ends with a space");
    if (name == "." || name == "..") return refuse("is no name of a share");
    static constexpr std::array<std::string_view, 8> kReserved{
        "global", "homes", "printers", "print$", "ipc$", "admin$", "netlogon", "sysvol"};
    const std::string lower = lower_case(name);
    if (std::find(kReserved.begin(), kReserved.end(), lower) != kReserved.end())
        return refuse("means something else to Samba");
    return {};
}

Result<std::string> samba_section(const SambaShare& share) {
    UMBRA_TRY(check_samba_share_name(share.name));
    UMBRA_TRY(check_path(share.path));
    UMBRA_TRY(check_path(share.mountpoint));
    const bool remote = !share.remote_snapshots_program.empty();
    if (remote) {
        UMBRA_TRY(check_shell_path(share.path));
        UMBRA_TRY(check_shell_path(share.remote_snapshots_program));
    }
    std::string text = fmt::format(
        "[{}]\n"
        "    path = {}\n"
        "    read only = no\n"
        "    vfs objects = {}acl_xattr streams_xattr shadow_copy2\n",
        share.name, share.path, remote ? "shell_snap " : "");
    text += fmt::format(
        "    # Previous versions. .snapshots is not listed, but can be entered.\n"
        "    shadow:mountpoint = {}\n"
        "    shadow:snapdir = {}\n"
        "    shadow:snapdirseverywhere = {}\n"
        "    shadow:format = @GMT-%Y.%m.%d-%H.%M.%S\n"
        "    shadow:localtime = no\n"
        "    shadow:sort = desc\n"
        "    shadow:fixinodes = no\n",
        share.mountpoint, kSnapshotsDirectoryName, yes_or_no(share.snapdir_everywhere));
    text +=
        "    # Streams, DOS attributes and NT ACLs in extended attributes, of which each snapshot\n"
        "    # has its own.\n"
        "    ea support = yes\n"
        "    store dos attributes = yes\n"
        "    map archive = no\n"
        "    map hidden = no\n"
        "    map readonly = no\n"
        "    map system = no\n"
        "    streams_xattr:prefix = user.DosStream.\n"
        "    streams_xattr:store_stream_type = yes\n"
        "    acl_xattr:ignore system acls = no\n"
        "    inherit acls = yes\n"
        "    map acl inherit = yes\n"
        "    # Locks of clients are seen by local programs, and the other way round. FUSE has no\n"
        "    # leases that would tell Samba of local access.\n"
        "    posix locking = yes\n"
        "    strict locking = auto\n"
        "    kernel oplocks = no\n"
        "    kernel share modes = no\n"
        "    # Names as Windows expects them: case is kept and does not matter.\n"
        "    case sensitive = no\n"
        "    preserve case = yes\n"
        "    short preserve case = yes\n"
        "    # What a client has flushed survives a power cut.\n"
        "    strict sync = yes\n";
    if (remote) {
        const auto command = [&](const char* what) {
            return fmt::format("    shell_snap:{} command = {} share remote-snapshot {}\n", what,
                               share.remote_snapshots_program,
                               std::string_view(what) == "check path" ? "check" : what);
        };
        text +=
            "    # Clients may create and delete snapshots (FSRVP). Besides, [global] needs\n"
            "    #     registry shares = yes\n"
            "    #     include = registry\n";
        text += command("check path") + command("create") + command("delete");
    }
    return text;
}

}  // namespace umbra
