#include "restore/job_check.h"

#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <map>
#include <string>

#include "restore/planner.h"

namespace umbra {

namespace {

// Which component restores which path.
using Owners = std::map<std::string, const ComponentSpec*>;

std::optional<Error> clash_in(const ComponentPlan& plan, const ComponentSpec& spec,
                              Owners& owners) {
    for (const auto& planned : plan.entries) {
        if (planned.entry.action == RestoreAction::kUnchanged || planned.entry.on_the_way) continue;
        const auto [there, added] = owners.emplace(planned.entry.path, &spec);
        if (added || there->second == &spec) continue;
        return Error{EINVAL, ErrorKind::kUsage,
                     fmt::format("'{}' is in the components '{}' and '{}': let one of them exclude "
                                 "it",
                                 planned.entry.path, there->second->name, spec.name)};
    }
    return std::nullopt;
}

std::optional<Error> no_room_for(std::uint64_t bytes, int target_root) {
    struct statvfs space {};
    if (target_root < 0 || ::fstatvfs(target_root, &space) != 0) return std::nullopt;
    const std::uint64_t room = static_cast<std::uint64_t>(space.f_bavail) * space.f_frsize;
    if (bytes <= room) return std::nullopt;
    return Error{ENOSPC, ErrorKind::kSystem,
                 fmt::format("{} bytes are to be written by all components together, and there is "
                             "room for {}: make room, or restore them one by one",
                             bytes, room)};
}

}  // namespace

std::optional<Error> check_whole_job(const RestoreJob& job, const RestoreRoots& roots,
                                     const RunOptions& options) {
    if (job.components.size() < 2) return std::nullopt;
    Owners owners;
    std::uint64_t bytes = 0;
    for (const auto& component : job.components) {
        if (component.status.status == RestoreStatus::kAll) continue;
        PlanOptions how = plan_options(*job.spec, options);
        how.on_unchanged = nullptr;
        // What fails by itself is said by the component's own plan.
        const auto plan = Planner(roots.source, roots.target, component.spec, how).plan();
        if (!plan || plan->obstacle) continue;
        if (auto clash = clash_in(*plan, component.spec, owners)) return clash;
        bytes += plan->bytes;
    }
    return no_room_for(bytes, roots.target);
}

}  // namespace umbra
