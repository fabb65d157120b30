// What `umbra share samba` prints: smb.conf as Samba understands it, or a refusal.
#include <doctest/doctest.h>

#include <fstream>

#include "tests/share/served.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;

std::string testparm(const fs::path& config, const std::vector<std::string>& options) {
    std::vector<std::string> argv{"testparm", "--suppress-prompt"};
    argv.insert(argv.end(), options.begin(), options.end());
    argv.push_back(config);
    const ProcessResult result = run(argv);
    CHECK_MESSAGE(result.exit_code == 0, result.err);
    for (const char* complaint : {"Unknown parameter", "Ignoring", "ERROR", "WARNING", "badly"})
        CHECK_MESSAGE(result.err.find(complaint) == std::string::npos, result.err);
    return trim_end(result.out);
}

std::string parameter(const fs::path& config, const std::string& name) {
    return testparm(config, {"--section-name=data", "--parameter-name=" + name});
}

TEST_SUITE("samba-section") {
    TEST_CASE("testparm takes the whole section as it was meant") {
        UMBRA_NEEDS_SAMBA();
        Served served;
        const fs::path config = served.server().config();
        const std::string folder = served.path("").parent_path();
        CHECK(parameter(config, "path") == folder);
        CHECK(parameter(config, "vfs objects") == "acl_xattr streams_xattr shadow_copy2");
        CHECK(parameter(config, "shadow:mountpoint") == folder);
        CHECK(parameter(config, "shadow:snapdir") == ".snapshots");
        CHECK(parameter(config, "shadow:format") == "@GMT-%Y.%m.%d-%H.%M.%S");
        CHECK(parameter(config, "shadow:snapdirseverywhere") == "no");
        CHECK(parameter(config, "read only") == "No");
        CHECK(parameter(config, "posix locking") == "Yes");
        CHECK(parameter(config, "kernel oplocks") == "No");
        CHECK(parameter(config, "case sensitive") == "No");
        CHECK(parameter(config, "store dos attributes") == "Yes");

        served.set("snapdir", "everywhere");
        served.server().reload(printed_section(folder));
        CHECK(parameter(config, "shadow:snapdirseverywhere") == "yes");
    }

    TEST_CASE("a folder of the share is served with the snapshots of the share") {
        UMBRA_NEEDS_SAMBA();
        Share share(FilesystemType::Ext4, {}, 512);
        fs::create_directories(share.path("some place/dept"));
        write_file(share.path("some place/dept/doc"), "one");
        const std::string token = share.mount().create_snapshot();
        write_file(share.path("some place/dept/doc"), "two");
        const SambaServer server(printed_section(share.path("some place/dept")));
        CHECK(server.must("data", "get " + token + "\\doc -").starts_with("one"));
        CHECK(server.must("data", "get doc -").starts_with("two"));
    }

    TEST_CASE("names that smb.conf would misread are refused, others are served") {
        UMBRA_NEEDS_SAMBA();
        Share share(FilesystemType::Ext4, {}, 512);
        const auto print = [&](const std::string& name) {
            return umbra({"share", "samba", share.path(), "--name", name});
        };
        for (const std::string bad :
             {"",       " a",     "a ",  "a]",   "[a",       "a\nb",  "a\tb",     "%u",
              "a/b",    "a\\",    "a;b", "a\"b", "a=b",      "a,b",   "a:b",      "a*",
              "a?",     "a|b",    "<a>", "a+b",  "global",   "Homes", "PRINTERS", "ipc$",
              "print$", "admin$", ".",   "..",   "\xff\xfe", "\xc3"}) {
            CAPTURE(bad);
            const ProcessResult refused = print(bad);
            CHECK(refused.exit_code == 2);
            CHECK(refused.out.empty());
            CHECK(refused.err.find("--name") != std::string::npos);
        }
        CHECK(print(std::string(81, 'n')).exit_code == 2);
        for (const std::string& good : {std::string(80, 'n'), std::string("Büro & Co. (2)"),
                                        std::string("#1"), std::string("it's ~ $x")}) {
            CAPTURE(good);
            const SambaServer server(printed_section(share.path(), good));
            CHECK(server.client(good, "ls").exit_code == 0);
        }
    }

    TEST_CASE("paths that smb.conf would misread are refused") {
        UMBRA_NEEDS_SAMBA();
        const RamImage image(FilesystemType::Ext4, 512);
        for (const std::string bad : {"a%u", "a\\b", "a\"b", "a ", "a\nb", "\xff"}) {
            CAPTURE(bad);
            UmbraMount mount(make_folder(image, bad));
            const ProcessResult refused = umbra({"share", "samba", mount.path(), "--name", "x"});
            CHECK(refused.exit_code == 2);
            CHECK(refused.out.empty());
            mount.unmount();
        }
        UmbraMount mount(make_folder(image, "a b;c#[d]$e"));
        write_file(mount.path() / "doc", "served");
        const SambaServer server(printed_section(mount.path()));
        CHECK(server.must("data", "get doc -").starts_with("served"));
    }
}

}  // namespace
}  // namespace umbra::test
