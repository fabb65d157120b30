#include "cli/ask_share.h"

#include <memory>

#include "cli/output.h"
#include "fuse/registry.h"
#include "fuse/share_access.h"

namespace umbra {

Result<nlohmann::json> ask_share(const SharePath& share, const std::string& method,
                                 const nlohmann::json& parameters) {
    UMBRA_ASSIGN(const std::unique_ptr<ShareAccess> access,
                 open_share(Registry(), share, print_event));
    return access->call(method, parameters);
}

Result<nlohmann::json> ask_share(const std::string& share, const std::string& method,
                                 const nlohmann::json& parameters) {
    UMBRA_ASSIGN(const SharePath found, resolve_share(Registry(), share));
    return ask_share(found, method, parameters);
}

}  // namespace umbra
