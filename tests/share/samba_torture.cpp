// smbtorture's own tests of previous versions, and those that pass on a plain folder.
#include <doctest/doctest.h>

#include "tests/share/served.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;

std::string outcome(const ProcessResult& result) {
    if (result.exit_code == 0 && result.out.find("success: ") != std::string::npos) return "passed";
    return result.out + result.err;
}

TEST_SUITE("samba-torture") {
    TEST_CASE("smb2.twrp passes: opening for writing, streams, the root, listing") {
        UMBRA_NEEDS_SAMBA();
        Served served;
        fs::create_directory(served.path("subdir"));
        write_file(served.path("subdir/hardlink"), "linked");
        fs::create_hard_link(served.path("subdir/hardlink"), served.path("linked too"));
        write_file(served.path("doc"), "then");
        served.smb("put /etc/passwd doc:stream");
        const std::string token = served.snapshot();
        write_file(served.path("doc"), "now");
        for (const std::string test : {"write", "stream", "openroot", "listdir"}) {
            CAPTURE(test);
            CHECK(outcome(served.server().torture(
                      "data", "smb2.twrp." + test,
                      {"--option=torture:twrp_file=doc", "--option=torture:twrp_snapshot=" + token,
                       "--option=torture:twrp_stream=stream",
                       "--option=torture:twrp_stream_size=" +
                           std::to_string(fs::file_size("/etc/passwd"))})) == "passed");
        }
        CHECK(contents_of(served.umbra().snapshot_path(token) / "doc") == "then");
    }
}

}  // namespace
}  // namespace umbra::test
