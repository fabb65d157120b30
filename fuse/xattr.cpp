// setxattr, getxattr, listxattr, removexattr
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "fuse/operations.h"
#include "fuse/snapshot_view.h"

namespace umbra::operations {

namespace {

// Is the caller in this group by one of his supplementary groups? Those do not come with a request,
// the kernel has to be asked.
bool has_supplementary_group(const Request& request, gid_t group) {
    std::vector<gid_t> groups(64);
    for (;;) {
        const int count =
            fuse_req_getgroups(request.raw(), static_cast<int>(groups.size()), groups.data());
        if (count < 0) return false;  // a process that is not to be seen here
        const bool all = static_cast<std::size_t>(count) <= groups.size();
        groups.resize(static_cast<std::size_t>(count));
        if (all) return std::find(groups.begin(), groups.end(), group) != groups.end();
    }
}

// An access ACL takes set-group-ID from a file unless the caller is in its group.
Caller caller_with_group_of(const Request& request, ObjectId object) {
    Caller caller = request.caller();
    const auto status = request.context().live().status(object);
    if (caller.uid != 0 && status && (status->st_mode & S_ISGID) != 0 &&
        has_supplementary_group(request, status->st_gid)) {
        caller.gid = status->st_gid;
    }
    return caller;
}

}  // namespace

void setxattr(Request& request, fuse_ino_t node, const char* name, const char* value,
              std::size_t size, int flags) {
    MountContext& context = request.context();
    const auto object = context.live_object(NodeId(node));
    if (!object) return request.error(object.error());
    const Caller caller = std::strcmp(name, "system.posix_acl_access") == 0
                              ? caller_with_group_of(request, *object)
                              : request.caller();
    request.done_or_error(
        context.live().set_extended(*object, name, std::string(value, size), flags, caller));
}

void removexattr(Request& request, fuse_ino_t node, const char* name) {
    MountContext& context = request.context();
    const auto object = context.live_object(NodeId(node));
    if (!object) return request.error(object.error());
    request.done_or_error(context.live().remove_extended(*object, name));
}

namespace {

Result<std::string> value_of(MountContext& context, NodeId node, const char* name) {
    if (node.is_folder_snapshots() && std::strcmp(name, "system.posix_acl_access") == 0) {
        return value_of(context, node.folder(), name);  // whoever reads the folder may read it
    }
    if (node.is_snapshots_directory()) return errno_only(ENODATA);
    if (node.in_snapshot()) {
        UMBRA_ASSIGN(const PastObject object, context.past_object(node));
        return context.volume().past(object.epoch).get_extended(object.id, name);
    }
    UMBRA_ASSIGN(const ObjectId object, context.live_object(node));
    auto value = context.live().get_extended(object, name);
    // The kernel asks for the ACL of a removed directory that somebody still works in.
    if (!value && value.error().code == ESTALE && context.nodes().removed_directory(node)) {
        return errno_only(ENODATA);
    }
    return value;
}

Result<std::vector<std::string>> names_of(MountContext& context, NodeId node) {
    if (node.is_snapshots_directory()) return std::vector<std::string>{};
    if (node.in_snapshot()) {
        UMBRA_ASSIGN(const PastObject object, context.past_object(node));
        return context.volume().past(object.epoch).list_extended(object.id);
    }
    UMBRA_ASSIGN(const ObjectId object, context.live_object(node));
    return context.live().list_extended(object);
}

}  // namespace

void getxattr(Request& request, fuse_ino_t node, const char* name, std::size_t room) {
    const auto value = value_of(request.context(), NodeId(node), name);
    if (!value) return request.error(value.error());
    request.extended(*value, room);
}

void listxattr(Request& request, fuse_ino_t node, std::size_t room) {
    const auto names = names_of(request.context(), NodeId(node));
    if (!names) return request.error(names.error());
    // "trusted." names are listed for the administrator only; the kernel leaves that to the
    // filesystem.
    const bool administrator = request.caller().uid == 0;
    std::string list;
    for (const std::string& name : *names) {
        if (!administrator && name.starts_with("trusted.")) continue;
        list += name;
        list += '\0';
    }
    request.extended(list, room);
}

}  // namespace umbra::operations
