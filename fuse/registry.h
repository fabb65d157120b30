// Which shares are mounted: one pair of files a volume in /run/umbra.
//
//   UUID.json   what is mounted where, by whom; write-locked by the daemon for as long as it lives
//   UUID.sock   its control socket
//   .lock       held while entries are made or cleaned
//
// An entry whose lock nobody holds belongs to a daemon that died: it is ignored, and removed by
// whoever may.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "snapstore/result.h"
#include "snapstore/unique_fd.h"

namespace umbra {

inline constexpr const char* kRegistryDirectory = "/run/umbra";
inline constexpr const char* kMountType = "fuse.umbra";

struct MountedShare {
    std::string uuid;
    std::string share;       // absolute, without symbolic links
    std::string mountpoint;  // the same as `share` when mounted in place
    std::string diff_area;
    pid_t pid = 0;
    std::int64_t mounted_since = 0;  // seconds since 1970, UTC
    std::string options;             // comma separated, may be empty

    bool in_place() const { return share == mountpoint; }
};

nlohmann::json to_json(const MountedShare& mounted);
// kSystem with EBADMSG when it is not what to_json wrote.
Result<MountedShare> mounted_share_from_json(const nlohmann::json& object);

// A published entry: removed, with its lock, by the destructor.
class RegistryEntry {
   public:
    RegistryEntry(RegistryEntry&&) noexcept = default;
    RegistryEntry& operator=(RegistryEntry&&) = delete;
    ~RegistryEntry();

    // Leaves the entry published for as long as the descriptor is open; for Registry::adopt.
    UniqueFd release() && { return std::move(lock_); }

   private:
    friend class Registry;
    RegistryEntry(std::string directory, std::string path, UniqueFd lock)
        : directory_(std::move(directory)), path_(std::move(path)), lock_(std::move(lock)) {}

    std::string directory_;
    std::string path_;
    UniqueFd lock_;
};

class Registry {
   public:
    explicit Registry(std::string directory = kRegistryDirectory)
        : directory_(std::move(directory)) {}

    const std::string& directory() const { return directory_; }
    std::string socket_path(const std::string& uuid) const;

    // Makes the directory (0755) if it is missing.
    Result<void> prepare() const;

    // Publishes an entry. kRefused when a living daemon has published this volume already.
    Result<RegistryEntry> publish(const MountedShare& mounted) const;

    // An entry that this process has published and released, maybe before exec(2); `mounted` is
    // what it says from now on.
    RegistryEntry adopt(const MountedShare& mounted, UniqueFd entry) const;

    // Entries of living daemons, sorted by share. A directory that is missing is an empty one.
    Result<std::vector<MountedShare>> mounted() const;

    // Entries whose daemon has died; they stay in place.
    Result<std::vector<MountedShare>> left_behind() const;

    // Removes entries and sockets of daemons that have died. Silent for those who may not.
    void clean() const;

   private:
    enum class Wanted { kLiving, kDead };
    Result<std::vector<MountedShare>> read_entries(Wanted wanted) const;

    std::string directory_;
};

}  // namespace umbra
