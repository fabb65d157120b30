// A snapshot shows exactly what was there, whatever happens to the live tree, the other snapshots
// and the daemon afterwards.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <set>

#include "tests/mount/changes.h"
#include "tests/mount/make.h"
#include "tests/mount/pair.h"
#include "tests/mount/snapshots_suite.h"
#include "tests/support/scratch.h"
#include "tests/support/skip.h"
#include "tests/support/tree.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;

constexpr int kRounds = 4;

struct Taken {
    std::string token;
    Tree picture;
};

Tree picture_of(const fs::path& root) {
    CaptureOptions options;
    options.holes = true;
    return capture(root, options);
}

// A history of kRounds snapshots with every change between any two.
class History {
   public:
    explicit History(FilesystemType type)
        : pair_(shared_pair(type)), root_(pair_.share() / "history") {
        pair_.delete_all_snapshots();
        make_start();
        for (int round = 1; round <= kRounds; ++round) {
            // Reading a file makes the kernel hand over what was stored through mappings, which
            // dates the file: the second picture is the settled one.
            picture_of(pair_.share());
            taken_.push_back({"", picture_of(pair_.share())});
            taken_.back().token = pair_.umbra().create_snapshot();
            for (const auto& change : all_changes()) change.apply(root_ / change.name, round);
        }
    }
    History(const History&) = delete;
    History& operator=(const History&) = delete;
    ~History() {
        release_held();
        remove_tree(root_);
    }

    UmbraMount& umbra() { return pair_.umbra(); }
    std::vector<Taken>& taken() { return taken_; }

    void check_all(const std::string& when, const CompareOptions& options = {}) {
        for (const auto& one : taken_) {
            const Tree now = picture_of(pair_.umbra().snapshot_path(one.token));
            const std::string difference = differences(one.picture, now, options);
            CHECK_MESSAGE(difference == kNoDifferences, when << ": " << one.token << difference);
        }
    }

   private:
    void make_start() {
        fs::create_directory(root_);
        for (const auto& change : all_changes()) {
            fs::create_directory(root_ / change.name);
            change.prepare(root_ / change.name);
        }
    }

    Pair& pair_;
    fs::path root_;
    std::vector<Taken> taken_;
};

void check_inodes(History& history) {
    const Tree live = picture_of(history.umbra().path());
    std::vector<std::set<uint64_t>> numbers(1);
    for (const auto& [path, node] : live.nodes) numbers[0].insert(node.inode);
    for (const auto& one : history.taken()) {
        numbers.emplace_back();
        const Tree now = picture_of(history.umbra().snapshot_path(one.token));
        for (const auto& named : now.nodes) {
            const auto& path = named.first;
            const auto& node = named.second;
            for (size_t other = 0; other + 1 < numbers.size(); ++other) {
                CHECK_MESSAGE(numbers[other].count(node.inode) == 0,
                              one.token << "/" << path << " has an inode number that "
                                        << (other == 0 ? "the live tree" : "an older snapshot")
                                        << " has, too: " << node.inode);
            }
            numbers.back().insert(node.inode);
            CHECK_MESSAGE(node.device == live.nodes.at(".").device,
                          path << " is on another device");
        }
    }
}

// The inode numbers become part of what must stay.
void remember_inodes(History& history) {
    for (auto& one : history.taken()) {
        one.picture = picture_of(history.umbra().snapshot_path(one.token));
    }
}

void exact_whatever_happens(FilesystemType type) {
    History history(type);
    history.check_all("after the changes");
    check_inodes(history);
    remember_inodes(history);
    CompareOptions with_inodes;
    with_inodes.inode = true;

    release_held();
    history.umbra().remount();
    history.check_all("after a remount", with_inodes);
    history.umbra().kill_daemon();
    history.umbra().mount();
    history.check_all("after the daemon was killed", with_inodes);

    history.umbra().delete_snapshot(history.taken().at(1).token);
    history.taken().erase(history.taken().begin() + 1);
    history.check_all("after one in the middle was deleted", with_inodes);
    history.umbra().delete_snapshot(history.taken().front().token);
    history.taken().erase(history.taken().begin());
    history.check_all("after the oldest was deleted", with_inodes);
    history.umbra().delete_snapshot(history.taken().back().token);
    history.taken().pop_back();
    history.check_all("after the newest was deleted", with_inodes);
    history.umbra().remount();
    history.check_all("after a remount with one left", with_inodes);
}

// What reading straight after each change gives: nothing may be stale in the kernel's caches.
void exact_after_each_change(FilesystemType type) {
    Pair& pair = shared_pair(type);
    pair.delete_all_snapshots();
    for (const auto& change : all_changes()) {
        const fs::path directory = pair.share() / "one change";
        fs::create_directory(directory);
        change.prepare(directory);
        const Tree picture = picture_of(directory);
        const std::string token = pair.umbra().create_snapshot();
        const fs::path in_snapshot = pair.umbra().snapshot_path(token) / "one change";
        CHECK_MESSAGE(differences(picture, picture_of(in_snapshot)) == kNoDifferences,
                      change.name << ", before");
        change.apply(directory, 1);
        const std::string difference = differences(picture, picture_of(in_snapshot));
        CHECK_MESSAGE(difference == kNoDifferences, change.name << difference);
        release_held();
        remove_tree(directory);
        const std::string later = differences(picture, picture_of(in_snapshot));
        CHECK_MESSAGE(later == kNoDifferences, change.name << ", all deleted" << later);
        pair.umbra().delete_snapshot(token);
    }
}

// The live tree below the mount is plain files: the same names and contents without Umbra.
void live_tree_is_plain_files(FilesystemType type) {
    History history(type);
    const Tree through_umbra = picture_of(history.umbra().path());
    release_held();
    history.umbra().unmount();
    CaptureOptions options;
    options.holes = true;
    options.without = {".umbra"};
    const Tree below = capture(history.umbra().share(), options);
    CompareOptions compare_options;
    // A hard link in limbo counts below, and .umbra counts in the root.
    compare_options.nlink = false;
    // Pages dirtied through a mapping reach the file after the first picture, and date it.
    compare_options.mtime = compare_options.ctime = false;
    compare_options.inode = true;
    const std::string difference = differences(through_umbra, below, compare_options);
    CHECK_MESSAGE(difference == kNoDifferences, difference);
    history.umbra().mount();
}

// Nothing of the deleted snapshots stays in the place where removed files wait.
void limbo_is_emptied(FilesystemType type) {
    Pair& pair = shared_pair(type);
    { const History history(type); }
    pair.delete_all_snapshots();
    pair.umbra().unmount();
    const fs::path limbo = pair.share() / ".umbra/limbo";
    const bool empty = fs::is_empty(limbo);
    std::string found;
    for (const auto& entry : fs::directory_iterator(limbo)) found += entry.path().string() + "\n";
    pair.umbra().mount();
    CHECK_MESSAGE(empty, "left in limbo:\n" << found);
}

// What was stored through a mapping and never synced, or written to a file that is still open.
void dirty_pages_are_in_the_snapshot(FilesystemType type) {
    Pair& pair = shared_pair(type);
    pair.delete_all_snapshots();
    const fs::path name = pair.share() / "dirty";
    make::file(name, std::string(100000, '-'));
    const int fd = ::open(name.c_str(), O_RDWR | O_CLOEXEC);
    REQUIRE(fd >= 0);
    auto* memory =
        static_cast<char*>(::mmap(nullptr, 100000, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0));
    REQUIRE(memory != MAP_FAILED);
    std::string expected(100000, '-');
    for (int round = 0; round < 5; ++round) {
        const char mark = static_cast<char>('a' + round);
        std::memset(memory + 40000 + round, mark, 50);
        expected.replace(40000 + static_cast<size_t>(round), 50, 50, mark);
        CHECK(::pwrite(fd, &mark, 1, 99999) == 1);
        expected[99999] = mark;
        const std::string token = pair.umbra().create_snapshot();
        memory[40010] = '!';
        CHECK(::pwrite(fd, "!", 1, 99999) == 1);
        CHECK(contents_of(pair.umbra().snapshot_path(token) / "dirty") == expected);
        expected[40010] = expected[99999] = '!';
    }
    CHECK(contents_of(name) == expected);
    ::munmap(memory, 100000);
    ::close(fd);
    CHECK(::unlink(name.c_str()) == 0);
    pair.delete_all_snapshots();
}

}  // namespace

UMBRA_ON_EACH_FILESYSTEM("a snapshot is exact whatever happens", exact_whatever_happens)
UMBRA_ON_EACH_FILESYSTEM("a snapshot is exact after each change", exact_after_each_change)
UMBRA_ON_EACH_FILESYSTEM("dirty pages are in the snapshot", dirty_pages_are_in_the_snapshot)
UMBRA_ON_EACH_FILESYSTEM("the live tree is plain files", live_tree_is_plain_files)
UMBRA_ON_EACH_FILESYSTEM("deleting all snapshots empties limbo", limbo_is_emptied)

}  // namespace umbra::test
