// snapdir = everywhere, share-view-max and snapshot-access: which versions are shown to whom.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "tests/share/served.h"
#include "tests/support/tree.h"
#include "tests/support/unprivileged.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;
using Tokens = std::vector<std::string>;

Tokens listed(const fs::path& directory) {
    Tokens names;
    for (const auto& entry : fs::directory_iterator(directory))
        names.push_back(entry.path().filename().string());
    std::sort(names.begin(), names.end());
    return names;
}

void set(Share& share, const std::string& name, const std::string& value) {
    must_run({umbra_binary(), "set", share.path(), name, value});
}

// 0, or the errno of opening for reading.
int open_error(const Caller& caller, const fs::path& path) {
    return call_as(caller,
                   [&]() -> long {
                       const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
                       if (fd >= 0) ::close(fd);
                       return fd < 0 ? -1 : 0;
                   })
        .error;
}

constexpr Caller kSomebody{1002, 1002, {}, 022};

TEST_SUITE("samba-everywhere") {
    TEST_CASE("a document's versions are those in which its folder differs") {
        UMBRA_NEEDS_SAMBA();
        Served served({"snapdir", "everywhere"});
        fs::create_directories(served.path("docs/sub"));
        fs::create_directory(served.path("other"));
        write_file(served.path("docs/doc"), "one");
        write_file(served.path("other/file"), "x");
        const std::string t1 = served.snapshot();
        write_file(served.path("other/file"), "y");
        const std::string t2 = served.snapshot();
        write_file(served.path("docs/doc"), "two");
        const std::string t3 = served.snapshot();
        write_file(served.path("other/file"), "z");
        const std::string t4 = served.snapshot();
        // Nothing has changed since in docs.
        CHECK(served.versions("docs\\doc") == Tokens{t2});
        CHECK(served.versions("other\\file") == Tokens{t3, t1});
        CHECK(served.versions("docs") == Tokens{t2});
        write_file(served.path("docs/doc"), "three");
        CHECK(served.versions("docs\\doc") == Tokens{t4, t2});
        // Any token opens, listed or not.
        for (const auto& token : {t1, t2}) CHECK(served.fetch(token + "\\docs\\doc") == "one");
        for (const auto& token : {t3, t4}) CHECK(served.fetch(token + "\\docs\\doc") == "two");
        CHECK(served.fetch("docs\\" + t1 + "\\doc") == "one");
        // What is below counts for the folder, too.
        write_file(served.path("docs/sub/new"), "n");
        const std::string t5 = served.snapshot();
        fs::remove(served.path("docs/sub/new"));
        CHECK(served.versions("docs\\sub") == Tokens{t5, t4});
        CHECK(served.versions("docs") == Tokens{t5, t4, t2});
    }

    TEST_CASE("what counts as a difference") {
        UMBRA_NEEDS_MOUNTS();
        Share share(FilesystemType::Ext4, {}, 512);
        set(share, "snapdir", "everywhere");
        const fs::path d = share.path("d");
        const auto tokens = [&] { return listed(d / ".snapshots"); };
        fs::create_directory(d);
        write_file(d / "a", "a");
        write_file(d / "b", "b");
        const std::string t1 = share.mount().create_snapshot();
        CHECK(tokens() == Tokens{});
        // Renaming preserves neighbours ahead: records alone are no change.
        fs::rename(d / "a", d / "c");
        fs::rename(d / "c", d / "a");
        CHECK(tokens() == Tokens{});
        // What is made and removed between two snapshots is in neither.
        write_file(d / "passing", "p");
        fs::remove(d / "passing");
        CHECK(tokens() == Tokens{});
        fs::permissions(d / "a", fs::perms::owner_read);
        CHECK(tokens() == Tokens{t1});
        const std::string t2 = share.mount().create_snapshot();
        CHECK(tokens() == Tokens{t1});
        write_file(d / "new", "n");
        CHECK(tokens() == Tokens{t1, t2});
        const std::string t3 = share.mount().create_snapshot();
        CHECK(::setxattr((d / "b").c_str(), "user.x", "1", 1, 0) == 0);
        CHECK(tokens() == Tokens{t1, t2, t3});
        const std::string t4 = share.mount().create_snapshot();
        // A folder in place of the folder.
        fs::rename(d, share.path("moved"));
        fs::create_directory(d);
        CHECK(tokens() == Tokens{t1, t2, t3, t4});
        // The folder itself takes its versions along where nothing else had its path.
        CHECK(listed(share.path("moved/.snapshots")) == Tokens{t1, t2, t3});
        CHECK(contents_of(share.path("moved/.snapshots") / t1 / "a") == "a");
        // One that no snapshot has.
        fs::create_directory(share.path("young"));
        CHECK(listed(share.path("young/.snapshots")) == Tokens{});
        CHECK_FALSE(fs::exists(share.path("young/.snapshots") / t1));
        share.mount().delete_snapshot(t3);
        CHECK(tokens() == Tokens{t1, t2, t4});
    }

    TEST_CASE("a folder's versions are the snapshot's own, and nothing can be changed in them") {
        UMBRA_NEEDS_MOUNTS();
        Share share(FilesystemType::Ext4, {}, 512);
        fs::create_directories(share.path("d/e/f"));
        write_file(share.path("d/e/f/doc"), "one");
        write_file(share.path("d/top"), "one");
        const std::string token = share.mount().create_snapshot();
        write_file(share.path("d/e/f/doc"), "two");
        CHECK_FALSE(fs::exists(share.path("d/.snapshots")));
        set(share, "snapdir", "everywhere");
        const fs::path then = share.mount().snapshot_path(token);
        CompareOptions with_inodes;
        with_inodes.inode = true;
        for (const std::string folder : {"d", "d/e", "d/e/f"}) {
            CAPTURE(folder);
            const fs::path view = share.path(folder) / ".snapshots" / token;
            CHECK(differences(capture(then / folder), capture(view), with_inodes) ==
                  kNoDifferences);
            // Not listed, and nothing but a look is allowed.
            const Tokens names = listed(share.path(folder));
            CHECK(std::count(names.begin(), names.end(), ".snapshots") == 0);
            CHECK(::mkdir((view / "new").c_str(), 0755) == -1);
            CHECK(errno == EROFS);
            CHECK(::mkdir((share.path(folder) / ".snapshots/label").c_str(), 0755) == -1);
            CHECK(errno == EROFS);
            CHECK(::rmdir(view.c_str()) == -1);
            CHECK(::rmdir((share.path(folder) / ".snapshots").c_str()) == -1);
            CHECK(errno == EBUSY);
            CHECK(::mkdir((share.path(folder) / ".snapshots").c_str(), 0755) == -1);
            CHECK(errno == EEXIST);
            CHECK(::rename(share.path("d/top").c_str(),
                           (share.path(folder) / ".snapshots").c_str()) == -1);
        }
        // Both ways to a directory stay what they are, whoever is in the other.
        const fs::path one = share.path("d/.snapshots") / token / "e/f";
        const fs::path other = share.path("d/e/.snapshots") / token / "f";
        const int fd = ::open(one.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        REQUIRE(fd >= 0);
        CHECK(contents_of(other / "doc") == "one");
        CHECK(fs::read_symlink("/proc/self/fd/" + std::to_string(fd)) == one);
        ::close(fd);
        CHECK(fs::canonical(one / "../..") == share.path("d/.snapshots") / token);
        set(share, "snapdir", "root");
        CHECK_FALSE(fs::exists(share.path("d/.snapshots")));
    }

    TEST_CASE("what a folder has of that name itself stays to be seen") {
        UMBRA_NEEDS_MOUNTS();
        Share share(FilesystemType::Ext4, {}, 512);
        fs::create_directories(share.path("d/.snapshots"));
        write_file(share.path("d/.snapshots/mine"), "mine");
        share.mount().create_snapshot();
        set(share, "snapdir", "everywhere");
        CHECK(contents_of(share.path("d/.snapshots/mine")) == "mine");
        fs::rename(share.path("d/.snapshots"), share.path("d/renamed"));
        CHECK(contents_of(share.path("d/renamed/mine")) == "mine");
        CHECK(listed(share.path("d/.snapshots")).size() == 1);
    }

    TEST_CASE("a way around a folder that was closed then does not exist") {
        UMBRA_NEEDS_MOUNTS();
        Share share(FilesystemType::Ext4, {}, 512);
        set(share, "snapdir", "everywhere");
        fs::create_directories(share.path("closed/in"));
        write_file(share.path("closed/in/doc"), "secret then");
        fs::permissions(share.path("closed"), fs::perms(0700));
        const std::string token = share.mount().create_snapshot();
        fs::permissions(share.path("closed"), fs::perms(0755));
        const fs::path doc = share.path("closed/in/.snapshots") / token / "doc";
        CHECK(open_error(kSomebody, share.path("closed/in/doc")) == 0);
        CHECK(open_error({}, doc) == 0);
        CHECK(open_error(kSomebody, doc) == EACCES);
        // Also where root's look is still in the kernel's memory, and by the folder itself.
        CHECK(open_error(kSomebody, doc.parent_path()) == EACCES);
        CHECK(open_error(kSomebody, share.mount().snapshot_path(token) / "closed/in/doc") ==
              EACCES);
        // An ACL that lets him in then does so now.
        must_run({"setfacl", "-m", "u:1002:x", share.path("closed")});
        const std::string later = share.mount().create_snapshot();
        must_run({"setfacl", "-b", share.path("closed")});
        CHECK(open_error(kSomebody, share.path("closed/in/.snapshots") / later / "doc") == 0);
    }

    TEST_CASE("and-now: a folder that was closed since stays closed for its past") {
        UMBRA_NEEDS_MOUNTS();
        Share share(FilesystemType::Ext4, {}, 512);
        fs::create_directories(share.path("d/e"));
        write_file(share.path("d/e/doc"), "open then");
        write_file(share.path("file"), "open then");
        write_file(share.path("free"), "open then and now");
        const std::string token = share.mount().create_snapshot();
        const fs::path then = share.mount().snapshot_path(token);
        fs::permissions(share.path("d"), fs::perms(0700));
        fs::permissions(share.path("file"), fs::perms(0600));
        CHECK(open_error(kSomebody, then / "d/e/doc") == 0);
        CHECK(open_error(kSomebody, then / "file") == 0);
        const int held = ::open((then / "d").c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        set(share, "snapshot-access", "and-now");
        // The kernel hears of it by a message of its own.
        for (int i = 0; i < 200 && open_error(kSomebody, then / "d/e/doc") == 0; ++i)
            ::usleep(10'000);
        ::close(held);
        CHECK(open_error(kSomebody, then / "d/e/doc") == EACCES);
        CHECK(open_error(kSomebody, then / "d") == EACCES);
        CHECK(open_error(kSomebody, then / "file") == EACCES);
        CHECK(open_error(kSomebody, then / "free") == 0);
        CHECK(open_error({}, then / "d/e/doc") == 0);
        CHECK(open_error(kSomebody, then / "d/e/doc") == EACCES);
        // An old restriction counts as before.
        fs::permissions(share.path("free"), fs::perms(0600));
        const std::string closed = share.mount().create_snapshot();
        fs::permissions(share.path("free"), fs::perms(0644));
        CHECK(open_error(kSomebody, share.mount().snapshot_path(closed) / "free") == EACCES);
        fs::permissions(share.path("d"), fs::perms(0755));
        CHECK(open_error(kSomebody, then / "d/e/doc") == 0);
        share.mount().remount();
        fs::permissions(share.path("d"), fs::perms(0700));
        CHECK(open_error(kSomebody, then / "d/e/doc") == EACCES);
        set(share, "snapshot-access", "as-then");
        CHECK(open_error(kSomebody, then / "d/e/doc") == 0);
    }

    TEST_CASE("more snapshots than share-view-max: the newest and some older are shown") {
        UMBRA_NEEDS_SAMBA();
        Served served;
        Tokens all;
        for (int i = 0; i < 14; ++i) {
            write_file(served.path("doc"), std::to_string(i));
            all.push_back(served.snapshot());
        }
        std::reverse(all.begin(), all.end());
        CHECK(served.versions("doc") == all);
        served.set("share-view-max", "6");
        const Tokens shown = served.versions("doc");
        CHECK(shown.size() == 6);
        CHECK(std::equal(shown.begin(), shown.begin() + 3, all.begin()));
        CHECK(shown.back() == all.back());
        for (std::size_t i = 0; i < all.size(); ++i)
            CHECK(served.fetch(all[i] + "\\doc") == std::to_string(13 - i));
        CHECK(contents_of(served.umbra().snapshot_path(all[9]) / "doc") == "4");
        served.set("share-view-max", "unlimited");
        CHECK(served.versions("doc") == all);
    }

    TEST_CASE("settings are checked, kept and shown") {
        UMBRA_NEEDS_MOUNTS();
        Share share(FilesystemType::Ext4, {}, 512);
        const auto try_to_set = [&](const std::string& name, const std::string& value) {
            return umbra({"set", share.path(), name, value}).exit_code;
        };
        CHECK(try_to_set("snapdir", "nowhere") == 2);
        CHECK(try_to_set("snapshot-access", "") == 2);
        for (const char* bad : {"0", "-1", "x", "1x", "4294967296", ""})
            CHECK(try_to_set("share-view-max", bad) == 2);
        CHECK(try_to_set("no-such", "1") == 2);
        CHECK(try_to_set("snapdir", "everywhere") == 0);
        CHECK(try_to_set("share-view-max", "100") == 0);
        CHECK(try_to_set("snapshot-access", "and-now") == 0);
        const auto shown = [&] { return must_run({umbra_binary(), "set", share.path()}); };
        const std::string expected =
            "on-event = \nshare-view-max = 100\nsnapdir = everywhere\nsnapshot-access = and-now\n";
        CHECK(shown() == expected);
        share.mount().remount();
        CHECK(shown() == expected);
        share.mount().unmount();
        CHECK(must_run({umbra_binary(), "set", share.mount().share()}) == expected);
        share.mount().mount();
        CHECK(call_as(kSomebody, [&]() -> long {
                  return umbra({"set", share.path(), "snapdir", "root"}).exit_code;
              }).result == 4);
    }
}

}  // namespace
}  // namespace umbra::test
