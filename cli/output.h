// What people and scripts see: results on stdout, everything else on stderr.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "snapstore/volume.h"

namespace umbra {

// "umbra: TEXT" on stderr, always one line.
void print_error(std::string_view text);
// "umbra: note: TEXT" on stderr.
void print_note(std::string_view text);
void print_event(const Event& event);

// A line on stdout.
void print_line(std::string_view text);
void print_json(const nlohmann::json& value);
// Columns as wide as their widest cell. Columns named in `right` (by index) are aligned to the
// right.
void print_table(const std::vector<std::string>& header,
                 const std::vector<std::vector<std::string>>& rows,
                 const std::vector<std::size_t>& right = {});
// False when something could not be written.
bool flush_output();

// "0 B", "1.5 KiB", "12 GiB".
std::string human_size(std::uint64_t bytes);
// "90 seconds", "5 hours".
std::string human_time(std::int64_t seconds);
// How full a diff area is, and when it will be: of "space" in a result.
std::string fill_in(const nlohmann::json& space);
// "2024-02-29T12:00:00Z" as local time with zone; anything else as it is.
std::string local_time(const std::string& utc);
// The path with control characters, backslashes and what is not UTF-8 as \n, \\ or \xHH.
std::string printable(std::string_view path);
// The path that set_path() put into a result: the exact bytes.
std::string path_in(const nlohmann::json& object, const char* key);
// A string member, or "" where it is null or absent.
std::string text_in(const nlohmann::json& object, const char* key);

}  // namespace umbra
