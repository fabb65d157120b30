// The one JSON shape of every result: what the control socket answers and what --json prints.
// docs/control.md describes them. Sizes are integers in bytes, times ISO 8601 in UTC.
#pragma once

#include <cstdint>
#include <ctime>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "fuse/registry.h"
#include "snapstore/volume.h"

namespace umbra {

// "2024-02-29T12:00:00Z"; with nine digits of a second where there are some.
std::string format_utc(const struct timespec& time);
std::string format_utc(std::int64_t seconds);

nlohmann::json to_json(const Snapshot& snapshot);
// `existing`: the snapshots of the volume, ascending; those the version spans are listed as
// "tokens".
nlohmann::json to_json(const Version& version, const std::vector<Snapshot>& existing);
nlohmann::json to_json(const Difference& difference);
nlohmann::json to_json(const Volume::Resize& resize);
nlohmann::json to_json(const SpaceUse& space);
nlohmann::json to_json(const Event& event);
nlohmann::json to_json(const ScrubSlice& slice);

// "added", "removed", "modified", "metadata", "renamed", "type-changed".
const char* difference_kind_name(DifferenceKind kind);
// "file", "directory", "symlink", "fifo", "socket", "block-device", "character-device", "unknown".
const char* file_type_name(unsigned char directory_entry_type);

// "evict" or "refuse".

// What `status` says of any volume; "mounted" is false and the members about the mount are null.
Result<nlohmann::json> volume_status_json(Volume& volume);
// Fills in the members about the mount.
void add_mount_status(nlohmann::json& status, const MountedShare& mounted);

}  // namespace umbra
