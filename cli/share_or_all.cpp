#include "cli/share_or_all.h"

#include <vector>

#include "cli/output.h"
#include "fuse/registry.h"

namespace umbra {

void add_share_or_all(Command command, ShareOrAll& options) {
    Argument all = command.add_flag("--all", options.all, "All shares that are mounted");
    command.add_option("SHARE", options.share, "The share, or any path in it").excludes(all);
}

Result<ExitCode> for_each_share(const ShareOrAll& options,
                                const std::function<Result<void>(const std::string&)>& act) {
    if (!options.all) {
        if (options.share.empty())
            return error_of(ErrorKind::kUsage, EINVAL, "SHARE is required, or --all");
        UMBRA_TRY(act(options.share));
        return ExitCode::kDone;
    }
    ExitCode code = ExitCode::kDone;
    UMBRA_ASSIGN(const std::vector<MountedShare> mounted, Registry().mounted());
    for (const auto& share : mounted) {
        const auto done = act(share.share);
        if (done) continue;
        print_error(done.error().text());
        code = exit_code_of(done.error());
    }
    return code;
}

}  // namespace umbra
