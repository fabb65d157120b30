#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <thread>
#include <vector>

#include "fuse/node_name.h"
#include "fuse/node_table.h"
#include "fuse/open_files.h"

using namespace umbra;

namespace {

const NodeId kNode(42);
const NodeId kParent(7);

FileHandle handle_for(NodeId node, int flags) {
    OpenFile file;
    file.flags = flags;
    return FileHandle{node, std::move(file)};
}

}  // namespace

TEST_SUITE("node table") {
    TEST_CASE("a node is known until every reference is forgotten") {
        NodeTable table;
        CHECK_FALSE(table.find(kNode).has_value());
        table.remember(kNode, 5, kParent);
        table.remember(kNode, 5, kParent);
        table.remember(kNode, 5, kParent);
        REQUIRE(table.find(kNode).has_value());
        CHECK(table.find(kNode)->generation == 5);
        CHECK(table.find(kNode)->parent == kParent);
        CHECK(table.size() == 1);
        table.forget(kNode, 2);
        CHECK(table.find(kNode).has_value());
        table.forget(kNode, 1);
        CHECK_FALSE(table.find(kNode).has_value());
        CHECK(table.size() == 0);
    }

    TEST_CASE("forgetting what is not known, or too much, is harmless") {
        NodeTable table;
        table.forget(kNode, 1);
        table.remember(kNode, 5, kParent);
        table.forget(kNode, 100);
        CHECK(table.size() == 0);
        table.remember(kNode, 6, kParent);
        CHECK(table.find(kNode)->generation == 6);
    }

    TEST_CASE("a node found by \".\" keeps the directory it was found in before") {
        NodeTable table;
        table.remember(kNode, 5, kNode);
        CHECK(table.find(kNode)->parent == kNode);
        table.remember(kNode, 5, kParent);
        table.remember(kNode, 5, kNode);
        CHECK(table.find(kNode)->parent == kParent);
    }

    TEST_CASE("what a removed directory was is known until it is forgotten or its number reused") {
        NodeTable table;
        struct stat status {};
        status.st_mode = S_IFDIR | 0751;
        table.keep_removed_directory(kNode, 5, status);
        CHECK_FALSE(table.removed_directory(kNode).has_value());
        table.remember(kNode, 5, kParent);
        table.keep_removed_directory(kNode, 4, status);
        CHECK_FALSE(table.removed_directory(kNode).has_value());
        table.keep_removed_directory(kNode, 5, status);
        REQUIRE(table.removed_directory(kNode).has_value());
        CHECK(table.removed_directory(kNode)->st_mode == (S_IFDIR | 0751));
        table.forget(kNode, 1);
        CHECK_FALSE(table.removed_directory(kNode).has_value());
        table.remember(kNode, 5, kParent);
        table.keep_removed_directory(kNode, 5, status);
        table.remember(kNode, 6, kParent);
        CHECK_FALSE(table.removed_directory(kNode).has_value());
    }

    TEST_CASE("a removed file stays open until it is forgotten or its number reused") {
        const auto is_open = [](int fd) { return ::fcntl(fd, F_GETFD) >= 0; };
        const auto opened = [] { return UniqueFd(::open("/dev/null", O_PATH | O_CLOEXEC)); };
        NodeTable table;
        UniqueFd unknown = opened();
        const int of_unknown = unknown.get();
        table.keep_removed_file(kNode, 5, std::move(unknown));
        CHECK_FALSE(is_open(of_unknown));
        table.remember(kNode, 5, kParent);
        table.remember(kNode, 5, kParent);
        UniqueFd file = opened();
        const int number = file.get();
        table.keep_removed_file(kNode, 5, std::move(file));
        CHECK(is_open(number));
        table.forget(kNode, 1);
        CHECK(is_open(number));
        table.forget(kNode, 1);
        CHECK_FALSE(is_open(number));
        table.remember(kNode, 6, kParent);
        file = opened();
        const int again = file.get();
        table.keep_removed_file(kNode, 6, std::move(file));
        CHECK(is_open(again));
        table.remember(kNode, 7, kParent);
        CHECK_FALSE(is_open(again));
    }

    TEST_CASE("an inode number used again has its new generation and one common count") {
        NodeTable table;
        table.remember(kNode, 5, kParent);
        table.set_unlinked(kNode, 5, true);
        table.remember(kNode, 6, kParent);
        CHECK(table.find(kNode)->generation == 6);
        CHECK_FALSE(table.find(kNode)->unlinked);
        table.forget(kNode, 1);  // the kernel's old inode
        REQUIRE(table.find(kNode).has_value());
        CHECK(table.find(kNode)->generation == 6);
        table.forget(kNode, 1);
        CHECK_FALSE(table.find(kNode).has_value());
    }

    TEST_CASE("the mark of an unlinked object stays with its generation") {
        NodeTable table;
        table.set_unlinked(kNode, 5, true);  // not known: nothing to mark
        CHECK(table.size() == 0);
        table.remember(kNode, 5, kParent);
        table.set_unlinked(kNode, 4, true);
        CHECK_FALSE(table.find(kNode)->unlinked);
        table.set_unlinked(kNode, 5, true);
        CHECK(table.find(kNode)->unlinked);
        table.remember(kNode, 5, kParent);
        CHECK(table.find(kNode)->unlinked);
        table.set_unlinked(kNode, 5, false);
        CHECK_FALSE(table.find(kNode)->unlinked);
    }

    TEST_CASE("counts are exact when many threads remember and forget the same nodes") {
        NodeTable table;
        constexpr std::uint64_t kNodes = 500;
        constexpr int kThreads = 4;
        constexpr int kRounds = 50;
        std::vector<std::thread> threads;
        for (int thread = 0; thread < kThreads; ++thread) {
            threads.emplace_back([&table] {
                for (int round = 0; round < kRounds; ++round) {
                    for (std::uint64_t node = 2; node < 2 + kNodes; ++node) {
                        table.remember(NodeId(node), 1, kParent);
                        table.remember(NodeId(node), 1, kParent);
                        table.forget(NodeId(node), 1);
                    }
                }
            });
        }
        for (std::thread& thread : threads) thread.join();
        CHECK(table.size() == kNodes);
        for (std::uint64_t node = 2; node < 2 + kNodes; ++node) {
            table.forget(NodeId(node), kThreads * kRounds - 1);
            REQUIRE(table.find(NodeId(node)).has_value());
            table.forget(NodeId(node), 1);
        }
        CHECK(table.size() == 0);
    }
}

TEST_SUITE("open files") {
    TEST_CASE("nodes are listed by how they were opened, each once") {
        OpenFiles files;
        files.add(handle_for(NodeId(10), O_RDONLY));
        files.add(handle_for(NodeId(11), O_WRONLY));
        const std::uint64_t first = files.add(handle_for(NodeId(12), O_RDWR));
        files.add(handle_for(NodeId(12), O_RDWR));
        files.add(handle_for(NodeId(12), O_RDONLY));
        files.add(FileHandle{NodeId(13), PastFile{}, 1});
        CHECK(files.size() == 6);

        CHECK(files.nodes_opened(OpenedFor::kReadingAndWriting) == std::vector{NodeId(12)});
        auto writable = files.nodes_opened(OpenedFor::kWriting);
        std::sort(writable.begin(), writable.end());
        CHECK(writable == std::vector{NodeId(11), NodeId(12)});

        files.close(first);
        CHECK(files.nodes_opened(OpenedFor::kReadingAndWriting) == std::vector{NodeId(12)});
    }

    TEST_CASE("a handle is gone after close, but usable by who holds it") {
        OpenFiles files;
        const std::uint64_t handle = files.add(handle_for(kNode, O_RDWR));
        const auto held = files.any_of(kNode);
        REQUIRE(held != nullptr);
        files.close(handle);
        CHECK(files.any_of(kNode) == nullptr);
        CHECK(files.size() == 0);
        CHECK(held->live()->flags == O_RDWR);
    }
}

TEST_SUITE("node names") {
    TEST_CASE("what is not a name is refused with the errno of the kernel") {
        CHECK(check_name("a") == 0);
        CHECK(check_name("...") == 0);
        CHECK(check_name("with\nnewline") == 0);
        CHECK(check_name(std::string(255, 'x')) == 0);
        CHECK(check_name(std::string(256, 'x')) == ENAMETOOLONG);
        CHECK(check_name("") == EINVAL);
        CHECK(check_name(".") == EINVAL);
        CHECK(check_name("..") == EINVAL);
        CHECK(check_name("a/b") == EINVAL);
    }
}
