#include "fuse/doctor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/timex.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cstring>
#include <ctime>
#include <filesystem>
#include <fstream>

#include "fuse/mount_table.h"
#include "snapstore/live_tree.h"
#include "snapstore/token.h"
#include "snapstore/unique_fd.h"
#include "snapstore/view_settings.h"

namespace umbra {

namespace {

using nlohmann::json;
using Findings = std::vector<Finding>;

constexpr std::uint64_t kFewestFiles = 16'384;  // of the daemon: as many as smbd opens
constexpr unsigned kNearlyFull = 90;            // percent

std::string failure() { return std::strerror(errno); }

void examine_share(const SharePath& share, const json& status, Findings& findings) {
    if (!share.mounted) {
        findings.push_back({"share", Health::kProblem,
                            fmt::format("'{}' is not mounted: no history is kept", share.share),
                            fmt::format("umbra mount {}", share.share)});
        return;
    }
    if (status.is_null()) {
        findings.push_back(
            {"share", Health::kProblem,
             fmt::format("the daemon (process {}) does not answer", share.mounted->pid),
             "look at 'umbra events', unmount and mount the share again"});
        return;
    }
    findings.push_back(
        {"share",
         Health::kFine,
         fmt::format("mounted at '{}', {} snapshots", share.root(), status.value("snapshots", 0)),
         {}});
}

// One line of /proc/self/mountinfo says both what the kernel and what FUSE were told.
std::string mount_line(const std::string& mountpoint) {
    std::ifstream file("/proc/self/mountinfo");
    std::string found;
    for (std::string line; std::getline(file, line);) {
        const auto entries = parse_mount_table(line);
        if (!entries.empty() && entries.front().mountpoint == mountpoint) found = line;
    }
    return found;
}

void examine_mount(const SharePath& share, Findings& findings) {
    const std::string line = mount_line(share.root());
    if (line.empty() || line.find(kMountType) == std::string::npos) {
        findings.push_back({"mount", Health::kProblem,
                            fmt::format("what is seen at '{}' is not Umbra: something is mounted "
                                        "over it, or it is mounted elsewhere only",
                                        share.root()),
                            fmt::format("findmnt {}", share.root())});
        return;
    }
    const auto has = [&](const char* option) { return line.find(option) != std::string::npos; };
    if (!has("allow_other") || !has("default_permissions")) {
        findings.push_back({"mount", Health::kProblem,
                            "other users than root cannot use the mount, or their permissions are "
                            "not checked (allow_other and default_permissions are missing)",
                            "unmount the share and mount it with 'umbra mount'"});
        return;
    }
    if (share.mounted && share.mounted->options.starts_with("ro")) {
        findings.push_back({"mount", Health::kWarning, "the share is mounted read-only",
                            "if clients are to write: 'mount -o remount,rw'"});
        return;
    }
    findings.push_back({"mount", Health::kFine, "for all users, with permissions checked", {}});
}

void examine_snapdir(const SharePath& share, Findings& findings) {
    const std::string path = share.root() + "/" + kSnapshotsDirectoryName;
    struct stat root {};
    std::error_code error;
    std::size_t count = 0;
    for (std::filesystem::directory_iterator entry(path, error), end; !error && entry != end;
         entry.increment(error)) {
        ++count;
    }
    if (error || ::stat(share.root().c_str(), &root) != 0) {
        findings.push_back({"snapdir", Health::kProblem,
                            fmt::format("'{}' cannot be read: {}", path, error.message()),
                            "mount the share; see 'umbra events'"});
        return;
    }
    if ((root.st_mode & S_IXOTH) == 0 && (root.st_mode & S_IXGRP) == 0) {
        findings.push_back(
            {"snapdir", Health::kWarning,
             fmt::format("only its owner may enter '{}': nobody else sees versions", share.root()),
             fmt::format("chmod o+x {}", share.root())});
        return;
    }
    findings.push_back(
        {"snapdir", Health::kFine, fmt::format("'{}' lists {} snapshots", path, count), {}});
}

void examine_clock(const json& status, Findings& findings) {
    // Tokens name the time: a clock that was ahead leaves snapshots in the future.
    const std::string newest =
        status.is_object() && status.contains("newest") && status["newest"].is_string()
            ? status["newest"].get<std::string>()
            : std::string();
    char now[32] = {};
    const std::time_t seconds = std::time(nullptr) + 60;
    struct tm utc {};
    ::gmtime_r(&seconds, &utc);
    std::strftime(now, sizeof now, "@GMT-%Y.%m.%d-%H.%M.%S", &utc);
    if (!newest.empty() && newest > now) {
        findings.push_back({"clock", Health::kProblem,
                            fmt::format("the newest snapshot, {}, is later than now", newest),
                            "set the clock right; new snapshots get later tokens until then"});
        return;
    }
    struct timex state {};
    if (::adjtimex(&state) == TIME_ERROR || (state.status & STA_UNSYNC) != 0) {
        findings.push_back({"clock", Health::kWarning,
                            "the clock is not kept right by a time server: snapshots are named by "
                            "it, and clients compare it with theirs",
                            "install and start chrony or systemd-timesyncd"});
        return;
    }
    findings.push_back({"clock", Health::kFine, "kept right, no snapshot is in the future", {}});
}

// On a file without a name, which is gone with its descriptor.
void examine_attributes(const SharePath& share, Findings& findings) {
    const UniqueFd file(::open(share.root().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
    if (!file.valid()) {
        findings.push_back({"xattr", errno == EROFS ? Health::kSkipped : Health::kProblem,
                            fmt::format("no file can be made in '{}': {}", share.root(), failure()),
                            errno == EROFS ? "" : "see 'umbra status' and 'umbra events'"});
        return;
    }
    const auto set = [&](const char* name) {
        return ::fsetxattr(file.get(), name, "umbra", 5, 0) == 0;
    };
    for (const char* name : {"user.umbra-doctor", "security.NTACL"}) {
        if (set(name)) continue;
        findings.push_back(
            {"xattr", ::geteuid() == 0 ? Health::kProblem : Health::kSkipped,
             fmt::format("extended attribute '{}' cannot be set: {}", name, failure()),
             "streams, DOS attributes and NT ACLs need extended attributes: mount the filesystem "
             "below with user_xattr, or use another"});
        return;
    }
    const ssize_t acl = ::fgetxattr(file.get(), "system.posix_acl_access", nullptr, 0);
    if (acl < 0 && errno == EOPNOTSUPP) {
        findings.push_back({"xattr", Health::kProblem, "there are no POSIX ACLs",
                            "mount the filesystem below with the option acl"});
        return;
    }
    findings.push_back({"xattr", Health::kFine, "extended attributes and ACLs are kept", {}});
}

std::optional<std::uint64_t> open_files_limit(pid_t pid) {
    std::ifstream file("/proc/" + std::to_string(pid) + "/limits");
    constexpr std::string_view kLine = "Max open files";
    for (std::string line; std::getline(file, line);) {
        if (!line.starts_with(kLine)) continue;
        return std::strtoull(line.c_str() + kLine.size(), nullptr, 10);
    }
    return std::nullopt;
}

void examine_limits(const SharePath& share, const json& status, const json& settings,
                    Findings& findings) {
    bool fine = true;
    const auto find = [&](Health health, std::string message, std::string advice) {
        findings.push_back({"limits", health, std::move(message), std::move(advice)});
        fine = false;
    };
    if (share.mounted) {
        const auto limit = open_files_limit(share.mounted->pid);
        if (limit && *limit < kFewestFiles)
            find(Health::kWarning,
                 fmt::format("the daemon may open {} files; clients may want more", *limit),
                 fmt::format("ulimit -n {} before 'umbra mount'", kFewestFiles));
    }
    const std::string most =
        settings.is_object() ? settings.value(kShareViewMaxSetting, "") : std::string();
    if (most == "unlimited" || std::strtoull(most.c_str(), nullptr, 10) > kDefaultShareViewMax)
        find(Health::kWarning,
             fmt::format("up to {} snapshots are listed; Windows shows none when there are more "
                         "than {}",
                         most, kDefaultShareViewMax),
             fmt::format("umbra set {} {} {}", share.share, kShareViewMaxSetting,
                         kDefaultShareViewMax));
    const unsigned used = status.is_object() && status.contains("space")
                              ? status["space"].value("used_percent", 0U)
                              : 0;
    if (used >= kNearlyFull)
        find(Health::kWarning, fmt::format("the diff area is {} % full", used),
             fmt::format("umbra storage resize {} --max-size SIZE, or delete snapshots",
                         share.share));
    if (fine) findings.push_back({"limits", Health::kFine, "open files, snapshots and space", {}});
}

}  // namespace

const char* health_name(Health health) {
    switch (health) {
        case Health::kFine:
            return "ok";
        case Health::kSkipped:
            return "skipped";
        case Health::kWarning:
            return "warning";
        case Health::kProblem:
            return "problem";
    }
    return "problem";
}

std::vector<Finding> examine(const SharePath& share, const json& status, const json& settings,
                             const DoctorOptions& options) {
    Findings findings;
    examine_share(share, status, findings);
    if (share.mounted) {
        examine_mount(share, findings);
        examine_snapdir(share, findings);
        examine_attributes(share, findings);
    }
    examine_clock(status, findings);
    examine_limits(share, status, settings, findings);
    examine_samba(share, settings, options, findings);
    return findings;
}

}  // namespace umbra
