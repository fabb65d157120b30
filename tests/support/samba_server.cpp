#include "tests/support/samba_server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

namespace umbra::test {

namespace {

using namespace std::chrono_literals;

sockaddr_in loopback(int port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(port));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

int free_port() {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address = loopback(0);
    socklen_t length = sizeof address;
    const bool bound = ::bind(fd, reinterpret_cast<sockaddr*>(&address), length) == 0 &&
                       ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) == 0;
    ::close(fd);
    if (!bound) throw std::runtime_error("no free port on loopback");
    return ntohs(address.sin_port);
}

bool answers(int port) {
    const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const sockaddr_in address = loopback(port);
    const bool connected =
        ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
    ::close(fd);
    return connected;
}

bool runs(const std::string& program) { return run({program, "--version"}).exit_code == 0; }

}  // namespace

std::optional<std::string> missing_for_samba() {
    if (::geteuid() != 0) return "not root";
    for (const char* program : {"smbd", "smbclient", "smbtorture", "testparm", "smbpasswd"}) {
        // smbpasswd knows no --version, but says how it is used.
        const bool there = std::string(program) == "smbpasswd"
                               ? run({program, "-h"}).exit_code != 127
                               : runs(program);
        if (!there) return std::string("no ") + program + " (scripts/install-deps)";
    }
    return std::nullopt;
}

SambaServer::SambaServer(const std::string& sections, const std::string& global)
    : config_(directory_.path() / "smb.conf"), global_(global), port_(free_port()) {
    for (const char* name : {"private", "state", "lock", "cache", "pid", "ncalrpc", "winbindd"})
        std::filesystem::create_directory(directory_.path() / name);
    write_config(sections);
    add_user("root");
    add_user("daemon");
    start();
}

void SambaServer::write_config(const std::string& sections) const {
    const std::string at = directory_.path().string();
    std::ofstream file(config_);
    file << "[global]\n"
         << "    workgroup = UMBRA\n    server role = standalone\n    passdb backend = tdbsam\n"
         << "    private dir = " << at << "/private\n    state directory = " << at << "/state\n"
         << "    lock directory = " << at << "/lock\n    cache directory = " << at << "/cache\n"
         << "    pid directory = " << at << "/pid\n    ncalrpc dir = " << at << "/ncalrpc\n"
         << "    winbindd socket directory = " << at << "/winbindd\n"
         << "    log file = " << at << "/log.%m\n    log level = 1\n    max log size = 0\n"
         << "    interfaces = 127.0.0.1\n    bind interfaces only = yes\n"
         << "    smb ports = " << port_ << "\n    disable netbios = yes\n"
         << "    disable spoolss = yes\n    load printers = no\n    printing = bsd\n"
         << "    printcap name = /dev/null\n    usershare max shares = 0\n"
         << "    dns proxy = no\n    map to guest = never\n    unix password sync = no\n"
         << "    winbind scan trusted domains = no\n    panic action = /bin/true\n"
         << global_ << "\n"
         << sections << "\n";
}

void SambaServer::add_user(const std::string& user) const {
    ProcessOptions options;
    options.stdin_text = std::string(kPassword) + "\n" + kPassword + "\n";
    must_run({"smbpasswd", "-c", config_, "-L", "-a", "-s", user}, options);
}

void SambaServer::start() {
    pid_ = ::fork();
    if (pid_ < 0) throw std::runtime_error("fork failed");
    if (pid_ == 0) {
        // It makes a session of its own: its children are in its process group, and end with it.
        const int null = ::open("/dev/null", O_RDWR);
        const int out =
            ::open((directory_.path() / "log.start").c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
        ::dup2(null, STDIN_FILENO);
        ::dup2(out, STDOUT_FILENO);
        ::dup2(out, STDERR_FILENO);
        ::execlp("smbd", "smbd", "--foreground", "--configfile", config_.c_str(), nullptr);
        ::_exit(127);
    }
    const auto deadline = std::chrono::steady_clock::now() + 30s;
    while (!answers(port_)) {
        int status = 0;
        const bool ended = ::waitpid(pid_, &status, WNOHANG) == pid_;
        if (ended) pid_ = -1;
        if (ended || std::chrono::steady_clock::now() > deadline)
            throw std::runtime_error("smbd does not serve: " + log());
        std::this_thread::sleep_for(20ms);
    }
}

SambaServer::~SambaServer() {
    if (pid_ < 0) return;
    ::kill(-pid_, SIGTERM);
    const auto deadline = std::chrono::steady_clock::now() + 5s;
    int status = 0;
    while (::waitpid(pid_, &status, WNOHANG) == 0 && std::chrono::steady_clock::now() < deadline)
        std::this_thread::sleep_for(10ms);
    // Whatever of the group is left; helpers that it started are in it.
    while (::kill(-pid_, SIGKILL) == 0) {
        ::waitpid(pid_, &status, WNOHANG);
        std::this_thread::sleep_for(10ms);
        if (std::chrono::steady_clock::now() > deadline + 5s) break;
    }
}

void SambaServer::reload(const std::string& sections) {
    write_config(sections);
    ::kill(pid_, SIGHUP);
}

ProcessResult SambaServer::client(const std::string& share, const std::string& commands,
                                  const std::string& user) const {
    ProcessOptions options;
    options.working_directory = directory_.path();
    return run({"smbclient", "//127.0.0.1/" + share, "-p", std::to_string(port_), "-s", config_,
                "-U", user + "%" + kPassword, "-m", "SMB3", "-c", commands},
               options);
}

std::string SambaServer::must(const std::string& share, const std::string& commands,
                              const std::string& user) const {
    const ProcessResult result = client(share, commands, user);
    if (result.exit_code != 0)
        throw std::runtime_error("smbclient '" + commands + "': " + result.out + result.err);
    return result.out;
}

ProcessResult SambaServer::torture(const std::string& share, const std::string& test,
                                   const std::vector<std::string>& options,
                                   std::chrono::milliseconds timeout) const {
    std::vector<std::string> argv{"smbtorture",   "//127.0.0.1/" + share,
                                  "-p",           std::to_string(port_),
                                  "--configfile", config_,
                                  "-U",           std::string("root%") + kPassword};
    argv.insert(argv.end(), options.begin(), options.end());
    argv.push_back(test);
    ProcessOptions place;
    place.working_directory = directory_.path();
    place.timeout = timeout;
    return run(argv, place);
}

std::string SambaServer::log() const {
    std::ostringstream text;
    for (const auto& entry : std::filesystem::directory_iterator(directory_.path())) {
        if (!entry.path().filename().string().starts_with("log.")) continue;
        std::ifstream file(entry.path());
        text << entry.path().filename().string() << ":\n" << file.rdbuf();
    }
    return text.str();
}

}  // namespace umbra::test
