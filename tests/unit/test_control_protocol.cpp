#include <doctest/doctest.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "fuse/caller_policy.h"
#include "fuse/control_client.h"
#include "fuse/control_protocol.h"
#include "fuse/control_server.h"
#include "tests/support/scratch.h"

using namespace umbra;
using nlohmann::json;

namespace {

std::string socket_in(const test::TempDir& directory) {
    return (directory.path() / "control.sock").string();
}

// What the server answers to these bytes until it closes or has sent `lines` lines.
std::string converse(const std::string& path, const std::string& bytes, int lines = 1) {
    struct sockaddr_un address {};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(::connect(socket.get(), reinterpret_cast<struct sockaddr*>(&address), sizeof address) ==
            0);
    // It may close before it has taken all.
    (void)!::send(socket.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
    std::string answer;
    char buffer[4096];
    while (std::count(answer.begin(), answer.end(), '\n') < lines) {
        const ssize_t count = ::recv(socket.get(), buffer, sizeof buffer, 0);
        if (count <= 0) break;
        answer.append(buffer, static_cast<std::size_t>(count));
    }
    return answer;
}

// Echoes the parameters; "versions" fails.
Result<json> echo(const ControlRequest& request, const PeerIdentity& peer) {
    if (request.method == "versions") return error_of(ErrorKind::kRefused, EPERM, "not you");
    return json{{"parameters", request.parameters}, {"uid", peer.uid}};
}

int error_code(const std::string& line) {
    return json::parse(line).at("error").at("code").get<int>();
}

}  // namespace

TEST_SUITE("control protocol") {
    TEST_CASE("a request survives being written and read") {
        const auto read = parse_request(*encode_request({7, "versions", {{"path", "a b"}}}));
        REQUIRE(read.has_value());
        CHECK(read->id == 7);
        CHECK(read->method == "versions");
        CHECK(read->parameters == json{{"path", "a b"}});
    }

    TEST_CASE("a parameter that is not UTF-8 is not sent as something else") {
        const auto encoded = encode_request({1, "snapshot.create", {{"label", "\xff"}}});
        REQUIRE_FALSE(encoded.has_value());
        CHECK(encoded.error().kind == ErrorKind::kUsage);
    }

    TEST_CASE("parameters may be left out") {
        const auto read = parse_request(R"({"jsonrpc":"2.0","id":"x","method":"status"})");
        REQUIRE(read.has_value());
        CHECK(read->parameters == json::object());
    }

    TEST_CASE("what is no request is answered with the right code") {
        struct Bad {
            const char* line;
            RpcCode code;
        };
        const Bad table[] = {
            {"", RpcCode::kParseError},
            {"{", RpcCode::kParseError},
            {"nonsense", RpcCode::kParseError},
            {"{\"a\":\"\xff\"}", RpcCode::kParseError},
            {"null", RpcCode::kInvalidRequest},
            {"[]", RpcCode::kInvalidRequest},
            {"17", RpcCode::kInvalidRequest},
            {R"([{"jsonrpc":"2.0","id":1,"method":"status"}])", RpcCode::kInvalidRequest},
            {"{}", RpcCode::kInvalidRequest},
            {R"({"jsonrpc":"2.0","method":"status"})", RpcCode::kInvalidRequest},
            {R"({"jsonrpc":"2.0","id":null,"method":"status"})", RpcCode::kInvalidRequest},
            {R"({"jsonrpc":"2.0","id":{"a":1},"method":"status"})", RpcCode::kInvalidRequest},
            {R"({"jsonrpc":"1.0","id":1,"method":"status"})", RpcCode::kInvalidRequest},
            {R"({"id":1,"method":"status"})", RpcCode::kInvalidRequest},
            {R"({"jsonrpc":"2.0","id":1})", RpcCode::kInvalidRequest},
            {R"({"jsonrpc":"2.0","id":1,"method":3})", RpcCode::kInvalidRequest},
            {R"({"jsonrpc":"2.0","id":1,"method":"status","params":[1]})",
             RpcCode::kInvalidParameters},
            {R"({"jsonrpc":"2.0","id":1,"method":"status","params":"x"})",
             RpcCode::kInvalidParameters},
        };
        for (const auto& bad : table) {
            CAPTURE(bad.line);
            const auto read = parse_request(bad.line);
            REQUIRE_FALSE(read.has_value());
            CHECK(read.error().code == bad.code);
            CHECK(error_code(read.error().reply) == static_cast<int>(bad.code));
        }
    }

    TEST_CASE("a request that is too long is refused, however it is nested") {
        const std::string deep(kMaximumRequestBytes, '[');
        CHECK(parse_request(deep).error().code == RpcCode::kParseError);
        CHECK(parse_request(deep + "[").error().code == RpcCode::kInvalidRequest);
    }

    TEST_CASE("random bytes never do harm") {
        std::mt19937 random(20240229);
        const std::string good =
            *encode_request({1, "snapshot.create", {{"label", "a"}, {"hold", "b"}}});
        int understood = 0;
        for (int round = 0; round < 20000; ++round) {
            std::string line = good;
            for (int change = 0; change < 1 + round % 4; ++change) {
                line[random() % line.size()] = static_cast<char>(random());
            }
            const auto read = parse_request(line);
            if (read) {
                ++understood;
                CHECK(read->parameters.is_object());
            } else {
                CHECK(json::accept(read.error().reply));
            }
        }
        CHECK(understood > 0);
    }

    TEST_CASE("an error arrives as it was") {
        const Error sent{EBUSY, ErrorKind::kRefused, "held: \"audit\"\xff"};
        const auto received = parse_response(encode_error(3, RpcCode::kMethodFailed, sent), 3);
        REQUIRE_FALSE(received.has_value());
        CHECK(received.error().code == EBUSY);
        CHECK(received.error().kind == ErrorKind::kRefused);
        CHECK(received.error().message == "held: \"audit\"\xef\xbf\xbd");
    }

    TEST_CASE("answers that are none are errors") {
        for (const char* line :
             {"", "[]", "{}", "x", R"({"jsonrpc":"2.0","id":2,"result":1})", R"({"id":1})"}) {
            CAPTURE(line);
            const auto answer = parse_response(line, 1);
            REQUIRE_FALSE(answer.has_value());
            CHECK(answer.error().code == EPROTO);
        }
        CHECK(parse_response(R"({"id":1,"error":{"message":3,"data":7}})", 1).error().code == EIO);
    }

    TEST_CASE("a path keeps its bytes, also where they are no UTF-8") {
        for (const std::string& path : {std::string("a/b"), std::string("\xff\xfe/x"),
                                        std::string("caf\xc3\xa9"), std::string("")}) {
            json object;
            set_path(object, "path", path);
            const json read = json::parse(object.dump());
            CHECK(*required_path(read, "path") == path);
        }
        CHECK(required_path({{"path", "x"}, {"path_hex", "zz"}}, "path").error().kind ==
              ErrorKind::kUsage);
        CHECK(required_path({{"path", "x"}, {"path_hex", "abc"}}, "path").error().kind ==
              ErrorKind::kUsage);
    }

    TEST_CASE("parameters of the wrong type are named") {
        const json object{{"a", 1}, {"b", "x"}, {"c", {1, 2}}};
        CHECK(required_text(object, "a").error().message.find("'a'") != std::string::npos);
        CHECK(required_text(object, "none").error().kind == ErrorKind::kUsage);
        CHECK_FALSE(optional_text(object, "none")->has_value());
        CHECK(optional_flag(object, "b").error().kind == ErrorKind::kUsage);
        CHECK(optional_integer(object, "b").error().kind == ErrorKind::kUsage);
        CHECK(optional_texts(object, "c").error().kind == ErrorKind::kUsage);
        CHECK(optional_texts(object, "b").error().kind == ErrorKind::kUsage);
    }
}

TEST_SUITE("control server") {
    TEST_CASE("it answers, knows who asks, and removes its socket") {
        const test::TempDir directory("control");
        {
            const auto server = ControlServer::start(socket_in(directory), echo);
            REQUIRE(server.has_value());
            auto client = ControlClient::connect(socket_in(directory));
            REQUIRE(client.has_value());
            CHECK(client->daemon_pid() == ::getpid());
            const auto answer = client->call("status", {{"n", 1}});
            REQUIRE(answer.has_value());
            CHECK(answer->at("parameters") == json{{"n", 1}});
            CHECK(answer->at("uid") == ::getuid());
            CHECK(client->call("versions").error().kind == ErrorKind::kRefused);
            CHECK(client->call("nonsense").error().message.find("nonsense") != std::string::npos);
            CHECK(client->call("status").has_value());
        }
        CHECK_FALSE(std::filesystem::exists(socket_in(directory)));
        CHECK(ControlClient::connect(socket_in(directory)).error().code == ENOENT);
    }

    TEST_CASE("malformed lines are answered one by one and the connection goes on") {
        const test::TempDir directory("control");
        const auto server = ControlServer::start(socket_in(directory), echo);
        REQUIRE(server.has_value());
        const std::string answers =
            converse(socket_in(directory),
                     "{\n[]\n" + *encode_request({5, "status", json::object()}) + "\n", 3);
        const std::size_t first = answers.find('\n'), second = answers.find('\n', first + 1);
        CHECK(error_code(answers.substr(0, first)) == static_cast<int>(RpcCode::kParseError));
        CHECK(error_code(answers.substr(first + 1, second - first - 1)) ==
              static_cast<int>(RpcCode::kInvalidRequest));
        CHECK(json::parse(answers.substr(second + 1)).at("id") == 5);
    }

    TEST_CASE("a line without an end is refused once it is too long") {
        const test::TempDir directory("control");
        const auto server = ControlServer::start(socket_in(directory), echo);
        REQUIRE(server.has_value());
        const std::string answer =
            converse(socket_in(directory), std::string(kMaximumRequestBytes * 2, 'x'));
        CHECK(error_code(answer) == static_cast<int>(RpcCode::kInvalidRequest));
        CHECK(ControlClient::connect(socket_in(directory))->call("status").has_value());
    }

    TEST_CASE("a slow call does not hold up another connection") {
        const test::TempDir directory("control");
        std::atomic<bool> go_on{false};
        const auto server = ControlServer::start(
            socket_in(directory),
            [&](const ControlRequest& request, const PeerIdentity&) -> Result<json> {
                if (request.method == "storage.show") go_on.wait(false);
                return json(request.method);
            });
        REQUIRE(server.has_value());
        std::thread slow([&] {
            CHECK(ControlClient::connect(socket_in(directory))->call("storage.show").has_value());
        });
        CHECK(ControlClient::connect(socket_in(directory))->call("status").has_value());
        go_on = true;
        go_on.notify_all();
        slow.join();
    }

    TEST_CASE("more connections than allowed are told so, and there is room again afterwards") {
        const test::TempDir directory("control");
        ControlLimits limits;
        limits.connections = 1;  // root has twice as many
        limits.connections_of_one_user = 2;
        const std::size_t allowed = ::getuid() == 0 ? 2 : 1;
        const auto server = ControlServer::start(socket_in(directory), echo, limits);
        REQUIRE(server.has_value());
        {
            std::vector<ControlClient> clients;
            for (std::size_t i = 0; i < allowed; ++i) {
                clients.push_back(std::move(*ControlClient::connect(socket_in(directory))));
                REQUIRE(clients.back().call("status").has_value());
            }
            auto refused = ControlClient::connect(socket_in(directory))->call("status");
            REQUIRE_FALSE(refused.has_value());
            CHECK(refused.error().code == EAGAIN);
        }
        // The server notices the ends in its own time.
        bool admitted = false;
        for (int attempt = 0; attempt < 2000 && !admitted; ++attempt) {
            admitted = ControlClient::connect(socket_in(directory))->call("status").has_value();
            if (!admitted) std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        CHECK(admitted);
    }

    TEST_CASE("ending with open connections does not hang") {
        const test::TempDir directory("control");
        auto server = ControlServer::start(socket_in(directory), echo);
        REQUIRE(server.has_value());
        auto idle = ControlClient::connect(socket_in(directory));
        REQUIRE(idle->call("status").has_value());
        server->reset();
        CHECK_FALSE(idle->call("status").has_value());
    }
}

TEST_SUITE("caller policy") {
    constexpr uid_t kOwner = 1000, kStranger = 1001;

    bool allowed(const char* method, uid_t uid) {
        return check_method_access(method, PeerIdentity{1, uid, uid, {}}, kOwner).has_value();
    }

    TEST_CASE("who may call what") {
        for (const char* method : {"status", "snapshot.list", "storage.show", "versions"}) {
            CAPTURE(method);
            CHECK(allowed(method, 0));
            CHECK(allowed(method, kOwner));
            CHECK(allowed(method, kStranger));
        }
        for (const char* method : {"snapshot.create", "snapshot.delete", "snapshot.hold",
                                   "snapshot.release", "snapshot.diff"}) {
            CAPTURE(method);
            CHECK(allowed(method, 0));
            CHECK(allowed(method, kOwner));
            CHECK_FALSE(allowed(method, kStranger));
        }
        CHECK(allowed("shutdown", 0));
        CHECK_FALSE(allowed("shutdown", kOwner));
        CHECK_FALSE(allowed("shutdown", kStranger));
        CHECK_FALSE(allowed("nonsense", 0));
    }

    TEST_CASE("a refusal says who may") {
        const auto refused =
            check_method_access("snapshot.create", PeerIdentity{1, kStranger, 1, {}}, kOwner);
        REQUIRE_FALSE(refused.has_value());
        CHECK(refused.error().kind == ErrorKind::kRefused);
        CHECK(refused.error().message.find("1000") != std::string::npos);
    }

    TEST_CASE("what a caller can look up is what he himself can") {
        if (::getuid() != 0) return;  // only root can act for others
        const test::TempDir mount("mount");
        const auto root = mount.path() / ".snapshots" / "T";
        std::filesystem::create_directories(root / "open");
        std::filesystem::create_directories(root / "closed");
        std::filesystem::create_directories(root / "group");
        for (const char* folder : {"open", "closed", "group"}) {
            const UniqueFd file(
                ::open((root / folder / "file").c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
            REQUIRE(file.valid());
        }
        REQUIRE(::symlink("/etc/passwd", (root / "link").c_str()) == 0);
        REQUIRE(::symlink("open", (root / "inner").c_str()) == 0);
        REQUIRE(::chmod((root / "open").c_str(), 0755) == 0);
        REQUIRE(::chmod((root / "closed").c_str(), 0700) == 0);
        REQUIRE(::chmod((root / "group").c_str(), 0710) == 0);
        REQUIRE(::chown((root / "group").c_str(), 0, 3000) == 0);
        const PeerIdentity stranger{1, kStranger, kStranger, {}},
            member{1, kStranger, kStranger, {3000}};
        const auto sees = [&](const PeerIdentity& who, const char* path) {
            return caller_can_look_up(who, mount.path().string(), "T", path);
        };
        CHECK(sees(stranger, ""));
        CHECK(sees(stranger, "open/file"));
        CHECK(sees(stranger, "link"));
        CHECK_FALSE(sees(stranger, "inner/file"));
        CHECK_FALSE(sees(stranger, "../../secret"));
        CHECK_FALSE(sees(stranger, "closed/file"));
        CHECK_FALSE(sees(stranger, "group/file"));
        CHECK(sees(member, "group/file"));
        CHECK_FALSE(caller_can_look_up(stranger, mount.path().string(), "U", "open/file"));
        // The thread that asked is still who it was.
        CHECK(::access((root / "closed" / "file").c_str(), R_OK) == 0);
        CHECK(UniqueFd(::open((root / "closed" / "file").c_str(), O_RDONLY | O_CLOEXEC)).valid());
    }
}
