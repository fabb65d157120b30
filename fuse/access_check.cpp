#include "fuse/access_check.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

namespace umbra::access_check {

namespace {

constexpr const char* kAccessAcl = "system.posix_acl_access";

// The kernel's form of an ACL in an extended attribute (linux/posix_acl_xattr.h).
constexpr std::uint32_t kAclVersion = 2;
constexpr std::uint16_t kUserObject = 0x01, kUser = 0x02, kGroupObject = 0x04, kGroup = 0x08,
                        kMask = 0x10, kOther = 0x20;

struct AclEntry {
    std::uint16_t tag = 0;
    std::uint16_t permissions = 0;
    std::uint32_t id = 0;
};
static_assert(sizeof(AclEntry) == 8);

// No value for what is no ACL.
std::optional<std::vector<AclEntry>> parse_acl(std::string_view bytes) {
    std::uint32_t version = 0;
    if (bytes.size() < sizeof version || (bytes.size() - sizeof version) % sizeof(AclEntry) != 0)
        return std::nullopt;
    std::memcpy(&version, bytes.data(), sizeof version);
    if (version != kAclVersion) return std::nullopt;
    std::vector<AclEntry> entries((bytes.size() - sizeof version) / sizeof(AclEntry));
    if (entries.empty()) return entries;  // memcpy takes no null pointer, not even for no bytes
    std::memcpy(entries.data(), bytes.data() + sizeof version, entries.size() * sizeof(AclEntry));
    return entries;
}

// acl(5), "ACCESS CHECK ALGORITHM".
bool acl_permits(const Requester& requester, const struct stat& status,
                 const std::vector<AclEntry>& entries, int wanted) {
    const auto allows = [&](const AclEntry& entry, int mask) {
        return (entry.permissions & mask & wanted) == wanted;
    };
    int mask = 7;
    for (const auto& entry : entries)
        if (entry.tag == kMask) mask = entry.permissions;
    for (const auto& entry : entries) {
        if (entry.tag == kUserObject && requester.uid == status.st_uid) return allows(entry, 7);
        if (entry.tag == kUser && requester.uid == entry.id) return allows(entry, mask);
    }
    bool in_a_group = false;
    for (const auto& entry : entries) {
        const bool member = (entry.tag == kGroupObject && requester.in_group(status.st_gid)) ||
                            (entry.tag == kGroup && requester.in_group(entry.id));
        if (member && allows(entry, mask)) return true;
        in_a_group = in_a_group || member;
    }
    if (in_a_group) return false;
    for (const auto& entry : entries)
        if (entry.tag == kOther) return allows(entry, 7);
    return false;
}

// What holds now of an object; no value where nothing of it is left.
Result<std::optional<bool>> permits_today(MountContext& context, const Requester& requester,
                                          ObjectId object, int wanted) {
    const auto status = context.live().status(object);
    if (!status && status.error().code == ESTALE) return std::optional<bool>{};
    if (!status) return tl::make_unexpected(status.error());
    const auto acl = context.live().get_extended(object, kAccessAcl);
    return std::optional(permits(requester, *status, acl ? *acl : std::string(), wanted));
}

Result<void> refuse_unless_today(MountContext& context, const Requester& requester, ObjectId object,
                                 int wanted) {
    UMBRA_ASSIGN(const std::optional<bool> permitted,
                 permits_today(context, requester, object, wanted));
    if (permitted && !*permitted) return errno_only(EACCES);
    return {};
}

}  // namespace

bool Requester::in_group(gid_t group) const {
    return gid == group || std::find(groups.begin(), groups.end(), group) != groups.end();
}

Requester requester_of(const Request& request) {
    const Caller caller = request.caller();
    Requester requester{caller.uid, caller.gid, {}};
    if (caller.uid == 0) return requester;
    // They do not come with a request, the kernel has to be asked.
    requester.groups.resize(64);
    for (;;) {
        const int count = fuse_req_getgroups(
            request.raw(), static_cast<int>(requester.groups.size()), requester.groups.data());
        // Not to be seen here: he has what his own ids give him.
        const std::size_t size = count < 0 ? 0 : static_cast<std::size_t>(count);
        const bool all = size <= requester.groups.size();
        requester.groups.resize(size);
        if (all) return requester;
    }
}

bool permits(const Requester& requester, const struct stat& status, std::string_view acl,
             int wanted) {
    if (requester.uid == 0) return true;
    if (!acl.empty()) {
        const auto entries = parse_acl(acl);
        return entries && acl_permits(requester, status, *entries, wanted);
    }
    const int shift = requester.uid == status.st_uid      ? 6
                      : requester.in_group(status.st_gid) ? 3
                                                          : 0;
    return (static_cast<int>(status.st_mode >> shift) & wanted) == wanted;
}

Result<void> check_way(MountContext& context, const Requester& requester, Epoch epoch,
                       const std::vector<ObjectId>& way) {
    if (requester.uid == 0) return {};
    const bool today = context.volume().view_settings().and_now;
    for (std::size_t i = 0; i + 1 < way.size(); ++i) {
        UMBRA_ASSIGN(const Attributes then, context.volume().past(epoch).attributes(way[i]));
        std::string acl;
        for (const auto& attribute : then.extended)
            if (attribute.name == kAccessAcl) acl = attribute.value;
        if (!permits(requester, then.status, acl, X_OK)) return errno_only(EACCES);
        if (today) UMBRA_TRY(refuse_unless_today(context, requester, way[i], X_OK));
    }
    return {};
}

Result<void> check_today(MountContext& context, const Request& request, ObjectId object,
                         int wanted) {
    if (!context.volume().view_settings().and_now || request.caller().uid == 0) return {};
    return refuse_unless_today(context, requester_of(request), object, wanted);
}

}  // namespace umbra::access_check
