// volume.toml and area.toml: who a volume is and how its diff area is limited (docs/format.md,
// "volume.toml and area.toml"). Both carry a format version; a newer one is refused.
#pragma once

#include <string>
#include <string_view>

#include "snapstore/result.h"
#include "snapstore/size_limit.h"
#include "snapstore/unique_fd.h"
#include "snapstore/view_settings.h"
#include "snapstore/volume.h"

namespace umbra {

inline constexpr int kVolumeFormat = 1;

struct VolumeConfig {
    std::string uuid;
    std::string diff_area;  // absolute path; empty: the default place inside SHARE/.umbra
    std::string on_event;   // shell command that is run for every event; empty: none
    ViewSettings view{};
};

struct AreaConfig {
    std::string uuid;
    SizeLimit max_size;
    OnFull on_full = OnFull::kEvict;
};

// `where` is the file's path for messages. Errors: kRefused for a newer format, kDiffArea for
// unreadable contents.
Result<VolumeConfig> parse_volume_config(const std::string& text, const std::string& where);
Result<AreaConfig> parse_area_config(const std::string& text, const std::string& where);
std::string format_volume_config(const VolumeConfig& config);
std::string format_area_config(const AreaConfig& config);

// A command for on_event: kUsage where it is too long or has control characters.
Result<void> check_event_command(const std::string& command);
// "evict", "throttle", "refuse".
const char* on_full_name(OnFull on_full);
Result<OnFull> parse_on_full(std::string_view text);  // kUsage

// Reads a small file of a directory whole (at most 1 MiB). ENOENT stays ENOENT.
Result<std::string> read_small_file(int directory, const char* name);
// The same of one that is open, from its beginning; `name` is for messages.
Result<std::string> read_small_file(const UniqueFd& fd, const std::string& name);
// Replaces a file atomically and durably: temporary file, sync, rename, sync of the directory.
Result<void> write_small_file(int directory, const char* name, const std::string& text);

std::string new_uuid();

}  // namespace umbra
