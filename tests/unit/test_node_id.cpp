#include <doctest/doctest.h>

#include <cerrno>
#include <set>
#include <string>

#include "fuse/node_id.h"

using namespace umbra;

namespace {

constexpr std::uint64_t kRootInode = 12345;

NodeNumbering numbering() { return *NodeNumbering::of_share(ObjectId{kRootInode, 7}); }

bool always(Epoch) { return true; }
bool never(Epoch) { return false; }

}  // namespace

TEST_SUITE("node id") {
    TEST_CASE("the live root is node 1, both ways") {
        CHECK(*numbering().live(kRootInode) == NodeId(1));
        CHECK(numbering().inode_of(NodeId(1)) == kRootInode);
        CHECK(numbering().shown_inode(NodeId(1)) == kRootInode);
        CHECK(NodeId(1).is_live());
        CHECK(numbering().is_any_root(NodeId(1)));
    }

    TEST_CASE("a live object is its inode number") {
        const NodeId node = *numbering().live(99);
        CHECK(node.value() == 99);
        CHECK(node.is_live());
        CHECK_FALSE(node.in_snapshot());
        CHECK(numbering().inode_of(node) == 99);
        CHECK(numbering().shown_inode(node) == 99);
        CHECK_FALSE(numbering().is_any_root(node));
    }

    TEST_CASE("the same inode is another node in each snapshot") {
        std::set<std::uint64_t> nodes, shown;
        for (Epoch epoch = 1; epoch <= 100; ++epoch) {
            const NodeId node = *numbering().past(epoch, 99);
            CHECK(node.snapshot_number() == epoch);
            CHECK(numbering().inode_of(node) == 99);
            CHECK_FALSE(node.is_live());
            nodes.insert(node.value());
            shown.insert(numbering().shown_inode(node));
        }
        CHECK(nodes.size() == 100);
        CHECK(shown.size() == 100);
        CHECK(shown.count(99) == 0);
    }

    TEST_CASE("the root of a snapshot has the inode number of the share's root") {
        const NodeId node = numbering().past_root(3);
        CHECK(node.value() == (std::uint64_t{3} << 42 | kRootInode));
        CHECK(node == *numbering().past(3, kRootInode));
        CHECK(numbering().is_any_root(node));
    }

    TEST_CASE(".snapshots is neither live nor in a snapshot nor any object's node") {
        const NodeId node = NodeId::snapshots_directory();
        CHECK_FALSE(node.is_live());
        CHECK_FALSE(node.in_snapshot());
        CHECK(numbering().live(node.value()).error().code == EOVERFLOW);
        CHECK(numbering().past(1, node.value()).error().code == EOVERFLOW);
    }

    TEST_CASE("the .snapshots of a folder, and what is found through it, are nobody else's nodes") {
        const NodeId folder = *numbering().live(99);
        const NodeId node = NodeId::folder_snapshots(folder);
        CHECK(node.is_snapshots_directory());
        CHECK(node.is_folder_snapshots());
        CHECK(node.folder() == folder);
        CHECK_FALSE(node.is_live());
        CHECK_FALSE(node.in_snapshot());
        CHECK_FALSE(NodeId::snapshots_directory().is_folder_snapshots());
        CHECK(NodeId::snapshots_directory().folder() == NodeId::root());

        // Also where its running number is the inode number of the root.
        const NodeId view = NodeId::view(kRootInode);
        CHECK(view.in_snapshot());
        CHECK(view.is_view());
        CHECK_FALSE(view.is_live());
        CHECK_FALSE(numbering().is_any_root(view));
        for (Epoch epoch = 1; epoch <= NodeId::kSnapshotNumbers; epoch += 999) {
            const NodeId past = *numbering().past(epoch, 99);
            CHECK_FALSE(past.is_view());
            CHECK_FALSE(past.is_folder_snapshots());
        }
        CHECK_FALSE(numbering().past(NodeId::kSnapshotNumbers, 99)->is_view());
    }

    TEST_CASE("inode numbers beyond 42 bits are refused") {
        const std::uint64_t highest = NodeId::kInodeMask - 1;
        CHECK(numbering().live(highest)->value() == highest);
        CHECK(numbering().inode_of(*numbering().past(NodeId::kSnapshotNumbers, highest)) ==
              highest);
        for (const std::uint64_t inode :
             {NodeId::kInodeMask, NodeId::kInodeMask + 1, ~std::uint64_t{0}, std::uint64_t{0}}) {
            CHECK(numbering().live(inode).error().code == EOVERFLOW);
            CHECK(numbering().past(1, inode).error().code == EOVERFLOW);
        }
        const auto root = NodeNumbering::of_share(ObjectId{std::uint64_t{1} << 42, 0});
        REQUIRE_FALSE(root.has_value());
        CHECK(root.error().code == EOVERFLOW);
        CHECK(root.error().message.find("4398046511104") != std::string::npos);
    }

    TEST_CASE("inode 1 cannot be taken for the root") {
        CHECK(numbering().live(1).error().code == EOVERFLOW);
        const auto tmpfs = *NodeNumbering::of_share(ObjectId{1, 0});
        CHECK(*tmpfs.live(1) == NodeId::root());
        CHECK(tmpfs.inode_of(NodeId::root()) == 1);
    }

    TEST_CASE("snapshot numbers are never 0 and come round after 2^22 - 3") {
        const Epoch round = NodeId::kSnapshotNumbers;
        CHECK(snapshot_number_of(1) == 1);
        CHECK(snapshot_number_of(round) == round);
        CHECK(snapshot_number_of(round + 1) == 1);
        CHECK(snapshot_number_of(3 * round + 5) == 5);
        CHECK(snapshot_number_of(2 * round) == round);
    }

    TEST_CASE("a snapshot number means the newest existing epoch that has it") {
        const Epoch round = NodeId::kSnapshotNumbers;
        CHECK(epoch_of_snapshot_number(4, 10, always) == 4);
        CHECK(epoch_of_snapshot_number(10, 10, always) == 10);
        CHECK(epoch_of_snapshot_number(11, 10, always) == 0);
        CHECK(epoch_of_snapshot_number(0, 10, always) == 0);
        CHECK(epoch_of_snapshot_number(4, 10, never) == 0);
        CHECK(epoch_of_snapshot_number(5, 3 * round + 5, always) == 3 * round + 5);
        CHECK(epoch_of_snapshot_number(6, 3 * round + 5, always) == 2 * round + 6);
        CHECK(epoch_of_snapshot_number(
                  5, 3 * round + 5, [&](Epoch epoch) { return epoch == round + 5; }) == round + 5);
        CHECK(epoch_of_snapshot_number(5, 3 * round + 5, [](Epoch epoch) { return epoch == 5; }) ==
              5);
        CHECK(epoch_of_snapshot_number(round, 2 * round, never) == 0);
        for (Epoch epoch = 1; epoch < 5 * round; epoch += round / 3) {
            CHECK(epoch_of_snapshot_number(snapshot_number_of(epoch), epoch, always) == epoch);
        }
    }
}
