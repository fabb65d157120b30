// Paths relative to a root, as restores use them: "" is the root, no leading '/'.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace umbra {

// What a restore in progress puts beside what it changes. Nobody's data.
inline constexpr const char* kAsidePrefix = ".umbra-restore.";

inline bool is_aside_name(std::string_view name) { return name.starts_with(kAsidePrefix); }

inline std::string join_path(const std::string& folder, const std::string& name) {
    return folder.empty() || name.empty() ? folder + name : folder + "/" + name;
}
inline std::string parent_of(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    return slash == std::string::npos ? std::string() : path.substr(0, slash);
}
inline std::string name_of(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// The parts between slashes.
std::vector<std::string> split_path(const std::string& path);
// Is `path` the folder `folder` or below it?
bool is_at_or_below(std::string_view path, std::string_view folder);

}  // namespace umbra
