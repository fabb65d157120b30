// The methods of the control endpoint about writers: their definitions, how they ended the last
// time, and how they stood at a snapshot. What is in a definition is the business of who runs it
// (restore/).
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "fuse/volume_methods.h"
#include "snapstore/result.h"
#include "snapstore/volume.h"

namespace umbra::writer_methods {

using nlohmann::json;

Result<json> list(Volume& volume, const json& parameters, const MethodCaller& caller);
Result<json> read(Volume& volume, const json& parameters, const MethodCaller& caller);
Result<json> add(Volume& volume, const json& parameters, const MethodCaller& caller);
Result<json> remove(Volume& volume, const json& parameters, const MethodCaller& caller);
Result<json> report(Volume& volume, const json& parameters, const MethodCaller& caller);
Result<json> documents(Volume& volume, const json& parameters, const MethodCaller& caller);
Result<json> of_snapshot(Volume& volume, const json& parameters, const MethodCaller& caller);

// The reports that a request has under "writers", as text; "" where it has none. kUsage where they
// are no reports, or too long.
Result<std::string> reports_in(const json& parameters);
// Reports without what only root may see; an empty array where the text cannot be read.
json shown_reports(const std::string& text);

}  // namespace umbra::writer_methods
