// Clients that hold files while snapshots come and go, and clients that take snapshots themselves.
#include <doctest/doctest.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <thread>

#include "tests/share/served.h"
#include "tests/support/umbra_mount.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

// What the program says is waited for in a file, and answered through a fifo.
bool says(const fs::path& output, const std::string& what) {
    for (int i = 0; i < 3000; ++i) {
        if (fs::exists(output) && contents_of(output).find(what) != std::string::npos) return true;
        std::this_thread::sleep_for(10ms);
    }
    return false;
}

std::string rpc(const SambaServer& server, const std::string& command, int expected = 0) {
    const ProcessResult result =
        run({"rpcclient", "-p", std::to_string(server.port()), "-s", server.config(), "-U",
             std::string("root%") + SambaServer::kPassword, "127.0.0.1", "-c", command});
    CHECK_MESSAGE((result.exit_code == 0) == (expected == 0),
                  command << ": " << result.out << result.err);
    return result.out;
}

// The text between two others.
std::string between(const std::string& text, const std::string& before, const std::string& after) {
    const auto begin = text.find(before);
    if (begin == std::string::npos) return {};
    const auto end = text.find(after, begin + before.size());
    return text.substr(begin + before.size(), end - begin - before.size());
}

TEST_SUITE("samba-clients") {
    TEST_CASE("a snapshot while a client holds an oplock and a byte-range lock") {
        UMBRA_NEEDS_SAMBA();
        Served served;
        write_file(served.path("held"), "before");
        const TempDir local("holder");
        const fs::path output = local.path() / "output", input = local.path() / "input";
        must_run({"mkfifo", input});
        const std::string command =
            std::string("exec ") + kPython + " '" + python_program("hold_open.py") + "' " +
            std::to_string(served.server().port()) + " root " + SambaServer::kPassword +
            " data held <'" + input.string() + "' >'" + output.string() + "' 2>&1";
        BackgroundProcess holder({"/bin/sh", "-c", command});
        std::ofstream to_holder(input);
        REQUIRE_MESSAGE(says(output, "ready"), (fs::exists(output) ? contents_of(output) : ""));
        const std::string token = served.snapshot();
        // Another client looks at the version while the file is held.
        CHECK(served.fetch(token + "\\held") == "held 1");
        to_holder << "go on\n" << std::flush;
        CHECK(says(output, "done"));
        CHECK(holder.wait() == 0);
        CHECK(contents_of(output) == "ready\ndone\n");
        CHECK(served.fetch(token + "\\held") == "held 1");
        CHECK(served.fetch("held") == "held 2");
        CHECK(contents_of(served.umbra().snapshot_path(token) / "held") == "held 1");
    }

    TEST_CASE("clients create, see and delete snapshots by vfs_shell_snap") {
        UMBRA_NEEDS_SAMBA();
        Share share(FilesystemType::Ext4, {}, 512);
        write_file(share.path("doc"), "then");
        SambaServer server(printed_section(share.path(), "data", {"--remote-snapshots"}),
                           "    registry shares = yes\n    include = registry\n");
        CHECK(rpc(server, "fss_is_path_sup data").find("supports shadow copy requests") !=
              std::string::npos);
        const std::string created = rpc(server, "fss_create_expose backup ro data");
        REQUIRE(share.mount().snapshots().size() == 1);
        write_file(share.path("doc"), "now");
        const std::string exposed = between(created, ": share ", " exposed");
        REQUIRE(exposed.starts_with("data@{"));
        CHECK(server.must(exposed, "get doc -").starts_with("then"));
        CHECK(server.must("data", "get doc -").starts_with("now"));
        CHECK(server.client(exposed, "put /etc/hostname new").exit_code != 0);

        const std::string set = created.substr(0, created.find(':'));
        const std::string copy = between(created, set + "(", ")");
        rpc(server, "fss_delete data " + set + " " + copy);
        CHECK(share.mount().snapshots().empty());
        CHECK(contents_of(share.path("doc")) == "now");
        // One on hold stays.
        const std::string again = rpc(server, "fss_create_expose backup ro data");
        const std::string held = share.mount().snapshots().front().token;
        must_run({umbra_binary(), "snapshot", "hold", share.path(), held, "--reason", "kept"});
        const std::string second = again.substr(0, again.find(':'));
        rpc(server, "fss_delete data " + second + " " + between(again, second + "(", ")"), 1);
        CHECK(share.mount().snapshots().size() == 1);
    }

    TEST_CASE("the commands for Samba delete what they made, and nothing else") {
        UMBRA_NEEDS_MOUNTS();
        Share share(FilesystemType::Ext4, {}, 512);
        Share other(FilesystemType::Ext4, {}, 512);
        fs::create_directory(share.path("dept"));
        const auto remote = [&](const std::vector<std::string>& arguments) {
            std::vector<std::string> all{"share", "remote-snapshot"};
            all.insert(all.end(), arguments.begin(), arguments.end());
            return umbra(all);
        };
        CHECK(remote({"check", share.path()}).exit_code == 0);
        CHECK(remote({"check", "/"}).exit_code == 3);
        const ProcessResult made = remote({"create", share.path("dept")});
        REQUIRE(made.exit_code == 0);
        const std::string token = share.mount().snapshots().front().token;
        CHECK(trim_end(made.out) == (share.mount().snapshot_path(token) / "dept").string());
        const std::string foreign = other.mount().create_snapshot();
        CHECK(remote({"delete", share.path(), other.mount().snapshot_path(foreign)}).exit_code ==
              2);
        CHECK(remote({"delete", share.path(), share.path()}).exit_code == 2);
        CHECK(remote({"delete", share.path(), share.mount().snapshot_path("@GMT-nothing")})
                  .exit_code != 0);
        CHECK(share.mount().snapshots().size() == 1);
        CHECK(other.mount().snapshots().size() == 1);
        CHECK(remote({"delete", share.path("dept"), trim_end(made.out)}).exit_code == 0);
        CHECK(share.mount().snapshots().empty());
        // A path that a shell would take apart is not given to one.
        fs::create_directory(share.path("a b"));
        CHECK(umbra({"share", "samba", share.path("a b"), "--remote-snapshots"}).exit_code == 2);
        CHECK(umbra({"share", "samba", share.path("a b")}).exit_code == 0);
    }
}

}  // namespace
}  // namespace umbra::test
