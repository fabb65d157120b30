// Previous versions through Debian's smbd: what clients list, open, fetch, and may not change.
#include <doctest/doctest.h>
#include <sys/xattr.h>

#include <algorithm>

#include "tests/share/served.h"
#include "tests/support/tree.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;
using Tokens = std::vector<std::string>;

bool has_line_with(const std::string& text, const std::string& part) {
    return text.find(part) != std::string::npos;
}

// The NT ACL that a client is shown: what acl_xattr keeps, or makes of the POSIX ACL.
std::string acl_of(Served& served, const std::string& path) {
    const std::string shown = served.smb("showacls; ls " + path);
    const auto begin = shown.find("ACL"), end = shown.find("blocks of size");
    REQUIRE(begin < end);
    return shown.substr(begin, shown.rfind("\n", end) - begin);
}

TEST_SUITE("samba") {
    TEST_CASE("each version is listed, opened and fetched: changed, deleted, renamed") {
        UMBRA_NEEDS_SAMBA();
        Served served;
        const std::string folder = "my folder \xc3\xbc";  // a space, and beyond ASCII
        const std::string name =
            "\xe6\x96\x87 d\xc3\xb6"
            "c.txt";
        fs::create_directory(served.path(folder));
        served.smb("put /etc/hostname \"" + folder + "\\" + name + "\"");
        write_file(served.path(folder) / name, "first");
        write_file(served.path("gone.txt"), "was here");
        write_file(served.path("old name.txt"), "renamed later");
        const std::string first = served.umbra().create_snapshot("before it went");
        write_file(served.path(folder) / name, "second, longer");
        fs::remove(served.path("gone.txt"));
        fs::rename(served.path("old name.txt"), served.path("new name.txt"));
        const std::string second = served.snapshot();
        write_file(served.path(folder) / name, "third");

        const std::string doc = folder + "\\" + name;
        CHECK(served.versions(doc) == Tokens{second, first});
        CHECK(served.fetch(first + "\\" + doc) == "first");
        CHECK(served.fetch(second + "\\" + doc) == "second, longer");
        CHECK(served.fetch(doc) == "third");
        // The token may come last, as old clients have it, or in the middle.
        CHECK(served.fetch(folder + "\\" + first + "\\" + name) == "first");

        CHECK(served.fetch(first + "\\gone.txt") == "was here");
        CHECK(served.smb_error("get " + second + "\\gone.txt -") ==
              "NT_STATUS_OBJECT_NAME_NOT_FOUND");
        CHECK(served.fetch(first + "\\old name.txt") == "renamed later");
        CHECK(served.fetch(second + "\\new name.txt") == "renamed later");
        const std::string listing = served.smb("ls " + first + "\\*");
        CHECK(has_line_with(listing, "gone.txt"));
        CHECK(has_line_with(listing, "old name.txt"));
        CHECK_FALSE(has_line_with(listing, "new name.txt"));
        CHECK(has_line_with(served.smb("ls \"" + first + "\\" + folder + "\\*\""), name));
        // By its label, as any folder.
        CHECK(served.fetch(".snapshots\\before it went\\gone.txt") == "was here");
        // .snapshots is not shown.
        CHECK_FALSE(has_line_with(served.smb("ls"), ".snapshots"));
    }

    TEST_CASE("nothing in a version can be changed") {
        UMBRA_NEEDS_SAMBA();
        Served served;
        fs::create_directory(served.path("dir"));
        write_file(served.path("dir/doc"), "kept");
        served.smb("put /etc/hostname dir\\doc:stream");
        const std::string token = served.snapshot();
        write_file(served.path("dir/doc"), "changed");
        const Tree before = capture(served.umbra().snapshot_path(token));
        const std::string at = token + "\\dir\\";
        for (const std::string& command :
             {"put /etc/hostname " + at + "new", "put /etc/hostname " + at + "doc",
              "put /etc/hostname " + at + "doc:stream", "put /etc/hostname " + at + "doc:other",
              "rm " + at + "doc", "mkdir " + at + "sub", "rmdir " + token + "\\dir",
              "rename " + at + "doc " + at + "moved", "rename dir\\doc " + at + "into",
              "rename " + at + "doc dir\\out", "setmode " + at + "doc +h",
              "utimes " + at + "doc -1 -1 2001:01:01-00:00:00 -1",
              "hardlink " + at + "doc " + at + "link"}) {
            CAPTURE(command);
            CHECK(served.smb_error(command) != "");
        }
        CHECK(differences(before, capture(served.umbra().snapshot_path(token))) == kNoDifferences);
        CHECK(served.fetch(token + "\\dir\\doc") == "kept");
        CHECK(served.fetch("dir\\doc") == "changed");
    }

    TEST_CASE("streams, DOS attributes and NT ACLs are those of the snapshot") {
        UMBRA_NEEDS_SAMBA();
        Served served;
        const TempDir local("streams");
        write_file(local.path() / "one", "stream one");
        write_file(local.path() / "two", "stream two, later");
        const auto stream_from = [&](const std::string& file, const std::string& stream) {
            served.smb("put " + (local.path() / file).string() + " doc.txt:" + stream);
        };
        const auto set_acl = [&](const std::string& what) {
            must_run({"setfacl", "-m", what, served.path("doc.txt")});
        };
        served.smb("put /etc/hostname doc.txt");
        stream_from("one", "note");
        served.smb("setmode doc.txt +h");
        set_acl("u:daemon:r--");
        const std::string acl_then = acl_of(served, "doc.txt");
        CHECK(has_line_with(acl_then, "ACE"));
        const std::string token = served.snapshot();

        // Writing a hidden file anew is refused to who does not say that it is one.
        served.smb("setmode doc.txt -h");
        stream_from("two", "note");
        stream_from("two", "added");
        served.smb("setmode doc.txt +s");
        set_acl("u:daemon:rwx,u:1234:r--");
        const std::string acl_now = acl_of(served, "doc.txt");
        CHECK(acl_now != acl_then);

        const std::string then = token + "\\doc.txt";
        CHECK(served.fetch(then + ":note") == "stream one");
        CHECK(served.fetch("doc.txt:note") == "stream two, later");
        CHECK(served.smb_error("get " + then + ":added -") == "NT_STATUS_OBJECT_NAME_NOT_FOUND");
        const std::string shown_then = served.smb("allinfo " + then);
        CHECK_MESSAGE(has_line_with(shown_then, "attributes: HA (22)"), shown_then);
        CHECK(has_line_with(shown_then, ":note:$DATA], 10 bytes"));
        CHECK_FALSE(has_line_with(shown_then, ":added"));
        CHECK(has_line_with(served.smb("allinfo doc.txt"), "attributes: SA (24)"));
        CHECK(acl_of(served, then) == acl_then);
        CHECK(acl_of(served, "doc.txt") == acl_now);
    }

    TEST_CASE("an NT ACL that a client has set is the snapshot's, also where POSIX has no words") {
        UMBRA_NEEDS_SAMBA();
        Served served;
        served.smb("put /etc/hostname doc.txt");
        const auto set_acl = [&](const std::vector<std::string>& entries) {
            std::vector<std::string> argv{
                kPython,  python_program("set_acl.py"), std::to_string(served.server().port()),
                "root",   SambaServer::kPassword,       "data",
                "doc.txt"};
            argv.insert(argv.end(), entries.begin(), entries.end());
            must_run(argv);
        };
        // Well-known identities: Everyone, the built-in users. One entry denies, and one lets
        // somebody delete and no more.
        set_acl({"deny:S-1-5-32-546:00000002", "allow:S-1-5-32-545:00110000",
                 "allow:S-1-1-0:001f01ff"});
        const std::string then = acl_of(served, "doc.txt");
        CHECK(has_line_with(then, "DENIED"));
        CHECK(has_line_with(then, "S-1-5-32-545"));
        const std::string token = served.snapshot();
        set_acl({"allow:S-1-1-0:001200a9"});
        const std::string now = acl_of(served, "doc.txt");
        CHECK_FALSE(has_line_with(now, "S-1-5-32-545"));
        CHECK(acl_of(served, token + "\\doc.txt") == then);
        CHECK(acl_of(served, "doc.txt") == now);
    }

    TEST_CASE("malformed tokens open nothing and harm nothing") {
        UMBRA_NEEDS_SAMBA();
        Served served;
        write_file(served.path("doc"), "kept");
        const std::string token = served.snapshot();
        write_file(served.path("doc"), "live");
        for (const std::string& bad :
             {std::string("@GMT-"), std::string("@GMT-x"), std::string("@GMT-2026.99.99-99.99.99"),
              std::string("@GMT-0000.00.00-00.00.00"), std::string("@GMT-9999.12.31-23.59.59"),
              std::string("@GMT--001.01.01-00.00.00"), token + "x", token.substr(0, 20),
              token + "." + token, "@gmt" + token.substr(4), "@GMT-" + std::string(200, '1'),
              std::string("@GMT-%n%n.%s.%s-00.00.00"), token + "\\" + token}) {
            CAPTURE(bad);
            CHECK(served.smb_error("get \"" + bad + "\\doc\" -") != "");
            CHECK(served.smb_error("ls \"" + bad + "\\*\"") != "");
        }
        CHECK(served.fetch(token + "\\doc") == "kept");
        CHECK(served.fetch("doc") == "live");
        CHECK_FALSE(has_line_with(served.server().log(), "PANIC"));
        CHECK_FALSE(has_line_with(served.server().log(), "INTERNAL ERROR"));
    }

    TEST_CASE("names of 255 bytes, and names that are not UTF-8") {
        UMBRA_NEEDS_SAMBA();
        Served served;
        const std::string longest(255, 'n');
        std::string wide;  // 254 bytes in 127 characters
        for (int i = 0; i < 127; ++i) wide += "\xc3\xa4";
        fs::create_directory(served.path(longest));
        for (const auto& name : {longest, wide}) {
            write_file(served.path(longest) / name, "long");
            write_file(served.path(name == longest ? "x" : wide), "long");
        }
        const std::string odd = "odd\xff\xfe.txt";
        write_file(served.path(odd), "not UTF-8");
        write_file(served.path("plain.txt"), "plain");
        const std::string token = served.umbra().create_snapshot("long");
        fs::remove_all(served.path(longest));
        fs::remove(served.path(odd));
        fs::remove(served.path(wide));

        CHECK(served.fetch(token + "\\" + wide) == "long");
        CHECK(has_line_with(served.smb("ls " + token + "\\*"), longest));
        // Deeper than what is left of it: by its label, Samba has no other way.
        CHECK(served.fetch(".snapshots\\long\\" + longest + "\\" + longest) == "long");
        // What has no name in UTF-8 does not take the others with it.
        CHECK(served.fetch(token + "\\plain.txt") == "plain");
        CHECK(contents_of(served.umbra().snapshot_path(token) / odd) == "not UTF-8");
    }

    TEST_CASE("what was in a deep folder that is gone is reached by a label") {
        UMBRA_NEEDS_SAMBA();
        Served served;
        std::string deep;
        for (int level = 0; level < 12; ++level) deep += (level ? "/" : "") + std::string(200, 'd');
        fs::create_directories(served.path(deep));
        write_file(served.path(deep) / "doc", "deep");
        served.umbra().create_snapshot("deep");
        fs::remove_all(served.path(std::string(200, 'd')));
        std::string smb_path = ".snapshots\\deep\\" + deep + "\\doc";
        std::replace(smb_path.begin(), smb_path.end(), '/', '\\');
        CHECK(served.fetch(smb_path) == "deep");
    }
}

}  // namespace
}  // namespace umbra::test
