// What is shown of many snapshots, the nodes of the ways to them, and who may go there.
#include <doctest/doctest.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "fuse/access_check.h"
#include "fuse/view_nodes.h"
#include "snapstore/directory_versions.h"

using namespace umbra;

namespace {

std::vector<Snapshot> snapshots(Epoch first, Epoch last) {
    std::vector<Snapshot> made;
    for (Epoch epoch = first; epoch <= last; ++epoch) {
        Snapshot snapshot;
        snapshot.epoch = epoch;
        made.push_back(snapshot);
    }
    return made;
}

std::set<Epoch> epochs(const std::vector<Snapshot>& snapshots) {
    std::set<Epoch> found;
    for (const auto& snapshot : snapshots) found.insert(snapshot.epoch);
    CHECK(found.size() == snapshots.size());
    return found;
}

struct stat status_of(mode_t mode, uid_t uid, gid_t gid) {
    struct stat status {};
    status.st_mode = S_IFDIR | mode;
    status.st_uid = uid;
    status.st_gid = gid;
    return status;
}

void put(std::string& bytes, const void* value, std::size_t size) {
    bytes.append(static_cast<const char*>(value), size);
}

std::string acl_of(const std::vector<posix_acl_xattr_entry>& entries) {
    std::string bytes;
    const posix_acl_xattr_header header{POSIX_ACL_XATTR_VERSION};
    put(bytes, &header, sizeof header);
    for (const auto& entry : entries) put(bytes, &entry, sizeof entry);
    return bytes;
}

constexpr std::uint32_t kNobody = ~std::uint32_t{0};

}  // namespace

TEST_SUITE("snapshot views") {
    TEST_CASE(
        "of many snapshots the newest half and the oldest are shown, and no more than asked") {
        for (const Epoch count : {1, 2, 5, 100, 513, 1000, 5000})
            for (const std::size_t most : {1U, 2U, 3U, 10U, 511U, 512U}) {
                const auto all = snapshots(1000, 1000 + count - 1);
                const auto shown = thinned(all, most);
                const auto shown_epochs = epochs(shown);
                CHECK(std::is_sorted(shown.begin(), shown.end(),
                                     [](auto& a, auto& b) { return a.epoch < b.epoch; }));
                CHECK(shown.size() == std::min<std::size_t>(all.size(), most));
                const std::size_t newest = std::min<std::size_t>(all.size(), most - most / 2);
                for (std::size_t i = 0; i < newest; ++i)
                    CHECK(shown_epochs.count(all[all.size() - 1 - i].epoch) == 1);
                if (most > 1) CHECK(shown_epochs.count(all.front().epoch) == 1);
            }
    }

    TEST_CASE("older ones are spread, and stay the same ones while snapshots come") {
        const auto before = epochs(thinned(snapshots(1, 5000), 512));
        const auto after = epochs(thinned(snapshots(1, 5001), 512));
        std::vector<Epoch> gone;
        std::set_difference(before.begin(), before.end(), after.begin(), after.end(),
                            std::back_inserter(gone));
        CHECK(gone.size() <= 2);
        // No gap of more than twice what an even spread would leave, and one.
        Epoch last = 1;
        for (const Epoch epoch : before) {
            CHECK(epoch - last <= 2 * (5000 - 256) / 255 + 32);
            last = epoch;
        }
    }

    TEST_CASE("a place has one node, and another place another") {
        std::set<std::uint64_t> in_use;
        ViewNodes nodes([&](NodeId node) { return in_use.count(node.value()) != 0; });
        const NodeId here(77), there(78);
        const NodeId node = nodes.node_of({5, {9, 1}, here});
        CHECK(node.is_view());
        CHECK(nodes.node_of({5, {9, 1}, here}) == node);
        CHECK(nodes.node_of({5, {9, 1}, there}) != node);
        CHECK(nodes.node_of({6, {9, 1}, here}) != node);
        CHECK(nodes.node_of({5, {9, 2}, here}) != node);
        const auto found = nodes.find(node);
        REQUIRE(found.has_value());
        CHECK(found->epoch == 5);
        CHECK(found->id == ObjectId{9, 1});
        CHECK(found->parent == here);
        CHECK_FALSE(nodes.find(NodeId::view(1'000'000)).has_value());

        // What is used stays however many come; what nobody uses goes.
        in_use.insert(node.value());
        const NodeId unused = nodes.node_of({7, {1, 1}, here});
        for (std::uint64_t inode = 10; inode < 10 + 3 * ViewNodes::kMostUnused; ++inode)
            nodes.node_of({8, {inode, 1}, here});
        CHECK(nodes.find(node).has_value());
        CHECK(nodes.node_of({5, {9, 1}, here}) == node);
        CHECK_FALSE(nodes.find(unused).has_value());
    }

    TEST_CASE("permissions are those that the kernel would find") {
        using access_check::permits;
        using access_check::Requester;
        const Requester owner{10, 20, {}}, member{11, 21, {20}}, other{12, 22, {}}, root{0, 0, {}};
        const auto status = status_of(0750, 10, 20);
        CHECK(permits(owner, status, {}, R_OK | W_OK | X_OK));
        CHECK(permits(member, status, {}, R_OK | X_OK));
        CHECK_FALSE(permits(member, status, {}, W_OK));
        CHECK_FALSE(permits(other, status, {}, X_OK));
        CHECK(permits(root, status_of(0, 10, 20), {}, R_OK | W_OK | X_OK));
        // The owner's own bits count, not those of his group.
        CHECK_FALSE(permits(owner, status_of(0070, 10, 20), {}, R_OK));
        CHECK_FALSE(permits(member, status_of(0707, 10, 20), {}, R_OK));

        const std::string acl = acl_of({{ACL_USER_OBJ, 7, kNobody},
                                        {ACL_USER, 5, 12},
                                        {ACL_USER, 7, 13},
                                        {ACL_GROUP_OBJ, 0, kNobody},
                                        {ACL_GROUP, 4, 21},
                                        {ACL_MASK, 5, kNobody},
                                        {ACL_OTHER, 1, kNobody}});
        CHECK(permits(owner, status, acl, R_OK | W_OK | X_OK));
        CHECK(permits(other, status, acl, R_OK | X_OK));
        CHECK_FALSE(permits({13, 99, {}}, status, acl, W_OK));  // the mask
        CHECK(permits({13, 99, {}}, status, acl, R_OK | X_OK));
        CHECK(permits(member, status, acl, R_OK));        // one of his groups gives it
        CHECK_FALSE(permits(member, status, acl, X_OK));  // no single one, and not other
        CHECK(permits({50, 50, {}}, status, acl, X_OK));
        CHECK_FALSE(permits({50, 50, {}}, status, acl, R_OK));
        // Damage opens nothing.
        for (const std::string& bad : {std::string("x"), acl.substr(0, acl.size() - 1),
                                       "\x03" + acl.substr(1), acl.substr(0, 4)})
            CHECK_FALSE(permits(other, status_of(0777, 10, 20), bad, R_OK));
    }
}
