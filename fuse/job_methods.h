// The methods of the control endpoint about restore jobs: where they are kept, and whose they are.
// What is in them is the business of who restores (restore/).
#pragma once

#include <sys/types.h>

#include <nlohmann/json.hpp>
#include <string>

#include "fuse/volume_methods.h"
#include "snapstore/result.h"
#include "snapstore/volume.h"

namespace umbra::job_methods {

using nlohmann::json;

Result<json> create(Volume& volume, const json& parameters, const MethodCaller& caller);
Result<json> begin(Volume& volume, const json& parameters, const MethodCaller& caller);
Result<json> end(Volume& volume, const json& parameters, const MethodCaller& caller);
Result<json> append(Volume& volume, const json& parameters, const MethodCaller& caller);
Result<json> read(Volume& volume, const json& parameters, const MethodCaller& caller);
Result<json> list(Volume& volume, const json& parameters, const MethodCaller& caller);
Result<json> forget(Volume& volume, const json& parameters, const MethodCaller& caller);
Result<json> sync(Volume& volume, const json& parameters, const MethodCaller& caller);
Result<json> untouched(Volume& volume, const json& parameters, const MethodCaller& caller);
Result<json> changed(Volume& volume, const json& parameters, const MethodCaller& caller);

}  // namespace umbra::job_methods
