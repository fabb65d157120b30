// What most commands do: find the share, ask it one thing, show the answer.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "fuse/share_path.h"
#include "snapstore/result.h"

namespace umbra {

// Calls a method of the share that this path lies in; events of opening go to stderr.
Result<nlohmann::json> ask_share(const std::string& share, const std::string& method,
                                 const nlohmann::json& parameters = nlohmann::json::object());

// The same for a share that has been found already.
Result<nlohmann::json> ask_share(const SharePath& share, const std::string& method,
                                 const nlohmann::json& parameters = nlohmann::json::object());

}  // namespace umbra
