// What an NFS server needs of the directories that are on no disk: numbers, times and places in a
// listing that stay what they are.
#include <dirent.h>
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <map>

#include "snapstore/unique_fd.h"
#include "tests/share/nfs_support.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;

struct Listed {
    std::string name;
    ino_t inode = 0;
    off_t next = 0;
};

// The entries of a directory from a place on, few at a time and from a new descriptor, as a server
// reads them that keeps none open. At most `limit`.
std::vector<Listed> list_from(const fs::path& directory, off_t place, std::size_t limit) {
    const UniqueFd fd(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    REQUIRE(fd.valid());
    REQUIRE(::lseek(fd.get(), place, SEEK_SET) == place);
    std::vector<Listed> found;
    alignas(dirent64) std::array<char, 1024> buffer{};
    while (found.size() < limit) {
        const long size = ::syscall(SYS_getdents64, fd.get(), buffer.data(), buffer.size());
        REQUIRE(size >= 0);
        if (size == 0) break;
        for (long at = 0; at < size && found.size() < limit;) {
            const auto* entry = reinterpret_cast<const dirent64*>(buffer.data() + at);
            found.push_back({entry->d_name, entry->d_ino, entry->d_off});
            at += entry->d_reclen;
        }
    }
    return found;
}

std::vector<std::string> names_of(const std::vector<Listed>& listed) {
    std::vector<std::string> names;
    for (const auto& entry : listed) names.push_back(entry.name);
    return names;
}

std::string identity(const fs::path& path) {
    struct stat status {};
    REQUIRE(::lstat(path.c_str(), &status) == 0);
    const auto time = [](const struct timespec& moment) {
        return std::to_string(moment.tv_sec) + "." + std::to_string(moment.tv_nsec);
    };
    return std::to_string(status.st_ino) + " " + time(status.st_mtim) + " " + time(status.st_ctim) +
           " " + std::to_string(status.st_nlink);
}

void virtual_directories_stay(FilesystemType type) {
    Share share(type);
    UmbraMount& mount = share.mount();
    REQUIRE(::mkdir(share.path("folder").c_str(), 0755) == 0);
    for (int i = 0; i < 40; ++i) write_file(share.path("folder/" + std::to_string(i)), "text");
    std::vector<std::string> tokens;
    for (int i = 0; i < 6; ++i) tokens.push_back(mount.create_snapshot());
    const fs::path list = mount.snapshots_path(), past = mount.snapshot_path(tokens[2]);
    const auto identities = [&] {
        return std::vector<std::string>{identity(list), identity(past), identity(past / "folder"),
                                        identity(past / "folder/7")};
    };
    const auto before = identities();
    const auto all = list_from(list, 0, 100), inside = list_from(past / "folder", 0, 100);
    REQUIRE(all.size() == tokens.size() + 2);
    REQUIRE(inside.size() == 42);

    const auto check_all = [&](const char* when) {
        INFO(std::string(when));
        CHECK(identities() == before);
        CHECK(names_of(list_from(list, 0, 100)) == names_of(all));
        // From every place the rest, and nothing else.
        for (std::size_t i = 0; i < all.size(); ++i) {
            const auto rest = list_from(list, all[i].next, 100);
            CHECK(names_of(rest) == names_of({all.begin() + static_cast<long>(i) + 1, all.end()}));
        }
        for (std::size_t i = 0; i < inside.size(); i += 5) {
            const auto rest = list_from(past / "folder", inside[i].next, 100);
            CHECK(names_of(rest) ==
                  names_of({inside.begin() + static_cast<long>(i) + 1, inside.end()}));
        }
    };
    check_all("at once");
    write_file(share.path("folder/7"), "changed");
    check_all("after a change of the live file");
    drop_kernel_caches();
    check_all("with nothing in the kernel's caches");
    mount.remount();
    check_all("after a remount");

    // A listing that is under way goes on behind its place, whatever comes and goes before it.
    const off_t place = all[4].next;
    const auto expected = names_of({all.begin() + 5, all.end()});
    mount.delete_snapshot(tokens[0]);
    mount.delete_snapshot(tokens[2]);  // the one that the place is behind
    const std::string later = mount.create_snapshot();
    auto rest = names_of(list_from(list, place, 100));
    REQUIRE(rest.size() == expected.size() + 1);
    CHECK(rest.back() == later);
    rest.pop_back();
    CHECK(rest == expected);
}

TEST_SUITE_BEGIN("nfs");

TEST_CASE("virtual directories keep numbers, times and places on ext4") {
    UMBRA_NEEDS_MOUNTS();
    virtual_directories_stay(FilesystemType::Ext4);
}

TEST_CASE("virtual directories keep numbers, times and places on btrfs") {
    UMBRA_NEEDS_MOUNTS();
    virtual_directories_stay(FilesystemType::Btrfs);
}

TEST_SUITE_END();

}  // namespace
}  // namespace umbra::test
