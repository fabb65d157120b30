// Looks at everything that serving a share depends on, and says what to change.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "fuse/share_path.h"
#include "snapstore/result.h"

namespace umbra {

enum class Health { kFine, kSkipped, kWarning, kProblem };
const char* health_name(Health health);  // "ok", "skipped", "warning", "problem"

struct Finding {
    std::string check;  // what was looked at, one word
    Health health = Health::kFine;
    std::string message;  // what was found
    std::string advice;   // what to do; empty where nothing is to be done
};

struct DoctorOptions {
    std::string smb_conf;  // empty: where testparm looks by itself
};

// `status` and `settings`: what the control endpoint says of the share; both null where it could
// not be asked. Everything is looked at, also where something before was bad.
std::vector<Finding> examine(const SharePath& share, const nlohmann::json& status,
                             const nlohmann::json& settings, const DoctorOptions& options);

// The part of it that looks at Samba (samba_doctor.cpp).
void examine_samba(const SharePath& share, const nlohmann::json& settings,
                   const DoctorOptions& options, std::vector<Finding>& findings);

}  // namespace umbra
