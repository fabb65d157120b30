// How a share shows its snapshots to those who browse them: settings of the volume (volume.toml),
// asked for at nearly every request of .snapshots.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>

#include "snapstore/result.h"

namespace umbra {

// Windows' Explorer shows no previous versions at all where there are more.
inline constexpr std::uint32_t kDefaultShareViewMax = 512;
inline constexpr std::uint32_t kUnlimitedShareView = UINT32_MAX;

struct ViewSettings {
    // .snapshots in every folder (listing what differs there), not only in the root.
    bool everywhere = false;
    // A folder's or file's permissions of today must allow it, too.
    bool and_now = false;
    std::uint32_t share_view_max = kDefaultShareViewMax;  // most snapshots that a listing shows

    bool operator==(const ViewSettings&) const = default;
};

// The settings as text, by the names that `umbra set` has for them. kUsage says what there is.
inline constexpr const char* kSnapdirSetting = "snapdir";                 // root, everywhere
inline constexpr const char* kSnapshotAccessSetting = "snapshot-access";  // as-then, and-now
inline constexpr const char* kShareViewMaxSetting = "share-view-max";     // 1.., unlimited

std::string snapdir_text(const ViewSettings& settings);
std::string snapshot_access_text(const ViewSettings& settings);
std::string share_view_max_text(const ViewSettings& settings);
Result<void> set_snapdir(ViewSettings& settings, std::string_view text);
Result<void> set_snapshot_access(ViewSettings& settings, std::string_view text);
Result<void> set_share_view_max(ViewSettings& settings, std::string_view text);

// Read and replaced as a whole, from any thread, without a lock.
class AtomicViewSettings {
   public:
    ViewSettings load() const {
        const std::uint64_t bits = bits_.load(std::memory_order_acquire);
        return {(bits & kEverywhere) != 0, (bits & kAndNow) != 0, static_cast<std::uint32_t>(bits)};
    }
    void store(const ViewSettings& settings) {
        bits_.store((settings.everywhere ? kEverywhere : 0) | (settings.and_now ? kAndNow : 0) |
                        settings.share_view_max,
                    std::memory_order_release);
    }

   private:
    static constexpr std::uint64_t kEverywhere = std::uint64_t{1} << 63;
    static constexpr std::uint64_t kAndNow = std::uint64_t{1} << 62;
    std::atomic<std::uint64_t> bits_{kDefaultShareViewMax};
};

}  // namespace umbra
