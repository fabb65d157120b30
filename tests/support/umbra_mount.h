// A share mounted by the real umbra program for the time of a test.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <string>
#include <vector>

#include "tests/support/process.h"

namespace umbra::test {

// The program under test: $UMBRA_BIN, else "umbra" from PATH.
std::string umbra_binary();

// Runs `umbra ARGUMENTS...`.
ProcessResult umbra(const std::vector<std::string>& arguments, const ProcessOptions& options = {});

struct SnapshotInfo {
    std::string token;
    std::string label;
    int64_t epoch = 0;
};

struct MountOptions {
    std::filesystem::path mountpoint;      // empty: in place, over the share itself
    std::vector<std::string> arguments;    // added to `umbra mount SHARE [MOUNTPOINT]`
    std::vector<std::string> environment;  // of `umbra mount`, and so of the daemon
};

// All methods throw std::runtime_error with the command and its stderr when umbra fails.
class UmbraMount {
   public:
    explicit UmbraMount(const std::filesystem::path& share, const MountOptions& options = {});
    UmbraMount(const UmbraMount&) = delete;
    UmbraMount& operator=(const UmbraMount&) = delete;

    // Unmounts and ends the daemon, by force if asking does not help.
    ~UmbraMount();

    // Where the share is seen through Umbra.
    const std::filesystem::path& path() const;
    const std::filesystem::path& share() const { return share_; }
    std::filesystem::path snapshots_path() const { return path() / ".snapshots"; }
    std::filesystem::path snapshot_path(const std::string& token) const {
        return snapshots_path() / token;
    }

    // The new snapshot's token.
    std::string create_snapshot(const std::string& label = "");
    void delete_snapshot(const std::string& token);
    // In the order `umbra snapshot list` gives them.
    std::vector<SnapshotInfo> snapshots() const;

    pid_t daemon_pid() const;

    // SIGKILLs the daemon, waits for its end and detaches the dead mount.
    void kill_daemon();
    // `umbra umount`, then `umbra mount` as at first. After kill_daemon(): only the latter.
    void remount();
    void unmount();
    void mount();
    bool mounted() const { return mounted_; }
    // What `umbra mount` said on stderr the last time.
    const std::string& said() const { return said_; }
    // Whether the daemon started last still runs; asks nobody.
    bool daemon_runs() const;

   private:
    void force_unmount() noexcept;

    std::filesystem::path share_;
    MountOptions options_;
    bool mounted_ = false;
    std::string said_;
    pid_t last_pid_ = -1;
};

}  // namespace umbra::test
