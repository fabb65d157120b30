#include "tests/support/ganesha.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <chrono>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "tests/support/share.h"

namespace umbra::test {

namespace {

namespace fs = std::filesystem;

constexpr const char* kServer = "/usr/bin/ganesha.nfsd";
constexpr const char* kPortmapper = "/sbin/rpcbind";
constexpr auto kPatience = std::chrono::seconds(60);

constexpr const char* kSettings =
    "NFS_CORE_PARAM {\n"
    "    Protocols = 3, 4;\n"
    "    NFS_Port = 2049;\n"
    "    MNT_Port = 20048;\n"
    "    Enable_NLM = false;\n"
    "    Enable_RQUOTA = false;\n"
    "    Enable_UDP = false;\n"
    "}\n"
    "NFSV4 { Graceless = true; }\n";

template <typename Condition>
bool comes_true(Condition condition) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (!condition()) {
        if (std::chrono::steady_clock::now() > deadline) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return true;
}

// The server's records of its clients, and the portmapper's, are this test's own. In the mount
// namespace of the test, which scratch_directory() made.
void hide(const fs::path& directory) {
    scratch_directory();
    if (!fs::is_directory(directory)) fs::create_directories(directory);
    if (::mount("umbra-test", directory.c_str(), "tmpfs", 0, "size=16m") != 0)
        throw std::runtime_error("cannot mount a tmpfs at " + directory.string());
}

void hide_state_once() {
    static const bool hidden = [] {
        hide("/var/lib/nfs");
        hide("/run/ganesha");
        hide("/run/rpcbind");
        fs::create_directories("/var/lib/nfs/ganesha");
        return true;
    }();
    (void)hidden;
}

}  // namespace

std::optional<std::string> missing_for_nfs() {
    for (const char* program : {kServer, kPortmapper, "/usr/bin/nfs-cat", "/usr/bin/nsenter"}) {
        if (::access(program, X_OK) != 0)
            return std::string(program) + " is missing: scripts/install-deps installs it";
    }
    return std::nullopt;
}

Ganesha::Ganesha(const std::string& exports)
    : directory_("ganesha"),
      network_({"/usr/bin/setpriv", "--pdeathsig", "KILL", "/usr/bin/unshare", "--net", "/bin/sh",
                "-c",
                "ip link set lo up && touch '" + (directory_.path() / "up").string() +
                    "' && exec sleep 3600"}) {
    hide_state_once();
    write_file(directory_.path() / "conf", kSettings + exports);
    if (!comes_true([&] { return fs::exists(directory_.path() / "up"); }))
        throw std::runtime_error("cannot make a network namespace");
    portmapper_ = std::make_unique<BackgroundProcess>(in_network({kPortmapper, "-f", "-w"}));
    if (!comes_true([&] { return run({"/usr/sbin/rpcinfo", "-p", "127.0.0.1"}).exit_code == 0; }))
        throw std::runtime_error("rpcbind does not answer");
    start();
}

Ganesha::~Ganesha() {
    stop();
    if (portmapper_) portmapper_->send(SIGTERM);
}

void Ganesha::start() {
    const std::string folder = directory_.path().string();
    fs::remove(directory_.path() / "log");
    server_ = std::make_unique<BackgroundProcess>(
        in_network({kServer, "-F", "-f", folder + "/conf", "-L", folder + "/log", "-p",
                    folder + "/pid", "-N", "NIV_EVENT"}));
    const bool up = comes_true([&] {
        return !server_->running() ||
               run({"/usr/sbin/rpcinfo", "-t", "127.0.0.1", "100003", "3"}).exit_code == 0;
    });
    if (!up || !server_->running())
        throw std::runtime_error("nfs-ganesha does not come up: " + log());
}

void Ganesha::stop() {
    if (!server_) return;
    server_->send(SIGTERM);
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (server_->running() && std::chrono::steady_clock::now() < deadline)
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    server_.reset();  // kills what has not ended
}

std::string Ganesha::url(const fs::path& path) {
    return "nfs://127.0.0.1" + path.string() + "?version=3&nfsport=2049&mountport=20048";
}

std::vector<std::string> Ganesha::in_network(const std::vector<std::string>& argv) const {
    // Ends with the test, however that ends: a portmapper that is left behind keeps the next from
    // starting.
    std::vector<std::string> all{"/usr/bin/setpriv",
                                 "--pdeathsig",
                                 "KILL",
                                 "/usr/bin/nsenter",
                                 "--net=/proc/" + std::to_string(network_.pid()) + "/ns/net",
                                 "--"};
    all.insert(all.end(), argv.begin(), argv.end());
    return all;
}

ProcessResult Ganesha::run(const std::vector<std::string>& argv) const {
    return test::run(in_network(argv));
}

std::string Ganesha::contents(const fs::path& path) const {
    const ProcessResult result = run({"/usr/bin/nfs-cat", url(path)});
    if (result.exit_code != 0)
        throw std::runtime_error("nfs-cat " + path.string() + ": " + result.out.substr(0, 200) +
                                 result.err + "\n" + log());
    return result.out;
}

// A line: mode, links, owner, group, size and name.
std::vector<std::string> Ganesha::names(const fs::path& directory) const {
    const ProcessResult result = run({"/usr/bin/nfs-ls", url(directory)});
    if (result.exit_code != 0)
        throw std::runtime_error("nfs-ls " + directory.string() + ": " + result.out.substr(0, 200) +
                                 result.err + "\n" + log());
    std::vector<std::string> found;
    std::istringstream lines(result.out);
    for (std::string line; std::getline(lines, line);) {
        std::istringstream words(line);
        std::string mode, links, owner, group, size;
        words >> mode >> links >> owner >> group >> size;
        std::string name;
        std::getline(words >> std::ws, name);
        found.push_back(name);
    }
    return found;
}

std::string Ganesha::log() const {
    std::string text;
    try {
        text = contents_of(directory_.path() / "log");
    } catch (const std::exception&) {
        return "(no log)";
    }
    constexpr size_t kEnd = 2000;
    return text.size() > kEnd ? text.substr(text.size() - kEnd) : text;
}

}  // namespace umbra::test
