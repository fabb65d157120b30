// What a service manager hears of a daemon: sd_notify(3), by a real socket.
#include <doctest/doctest.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <stdexcept>
#include <vector>

#include "snapstore/unique_fd.h"
#include "tests/support/process.h"
#include "tests/support/scratch.h"
#include "tests/support/share.h"
#include "tests/support/skip.h"

namespace umbra::test {
namespace {

namespace fs = std::filesystem;

class Manager {
   public:
    explicit Manager(const fs::path& path)
        : socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
        struct sockaddr_un address {};
        address.sun_family = AF_UNIX;
        std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
        if (::bind(socket_.get(), reinterpret_cast<struct sockaddr*>(&address), sizeof address) !=
            0)
            throw std::runtime_error("cannot listen at " + path.string());
    }

    // The next message that has this line; false when there is none for so long.
    bool hears(const std::string& line, int seconds = 60) {
        const struct timeval limit { seconds, 0 };
        ::setsockopt(socket_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        for (;;) {
            char buffer[4096];
            const ssize_t size = ::recv(socket_.get(), buffer, sizeof buffer, 0);
            if (size < 0) return false;
            const std::string message =
                "\n" + std::string(buffer, static_cast<size_t>(size)) + "\n";
            if (message.find("\n" + line + "\n") != std::string::npos) return true;
        }
    }

    void forget_all() {
        char buffer[4096];
        while (::recv(socket_.get(), buffer, sizeof buffer, MSG_DONTWAIT) >= 0) {
        }
    }

   private:
    UniqueFd socket_;
};

// As a unit of systemd runs it.
struct Service {
    TempDir directory{"service"};
    Manager manager{directory.path() / "notify"};
    RamImage image{FilesystemType::Ext4};
    fs::path folder = make_folder(image);
    std::unique_ptr<BackgroundProcess> daemon;

    explicit Service(int watchdog_milliseconds) {
        ProcessOptions options;
        options.environment = {"NOTIFY_SOCKET=" + (directory.path() / "notify").string(),
                               "WATCHDOG_USEC=" + std::to_string(watchdog_milliseconds * 1000)};
        daemon = std::make_unique<BackgroundProcess>(
            std::vector<std::string>{umbra_binary(), "mount", "--foreground", folder.string()},
            options);
    }
    ~Service() {
        daemon->send(SIGTERM);
        daemon->wait();
    }
};

// A filesystem that lets nobody write, until this is gone.
class Frozen {
   public:
    explicit Frozen(const fs::path& filesystem)
        : root_(::open(filesystem.c_str(), O_RDONLY | O_CLOEXEC)) {
        if (::ioctl(root_.get(), FIFREEZE, 0) != 0)
            throw std::runtime_error("cannot freeze " + filesystem.string());
    }
    ~Frozen() { ::ioctl(root_.get(), FITHAW, 0); }
    Frozen(const Frozen&) = delete;
    Frozen& operator=(const Frozen&) = delete;

   private:
    UniqueFd root_;
};

TEST_SUITE_BEGIN("service-manager");

TEST_CASE("a service manager is told of readiness, restarts and the end") {
    UMBRA_NEEDS_MOUNTS();
    Service service(60'000);
    REQUIRE(service.manager.hears("READY=1"));
    // Ready means that the mount answers.
    write_file(service.folder / "file", "contents");
    CHECK(umbra({"snapshot", "create", service.folder.string()}).exit_code == 0);
    CHECK(umbra({"restart", service.folder.string()}).exit_code == 0);
    CHECK(service.manager.hears("RELOADING=1"));
    CHECK(service.manager.hears("READY=1"));
    CHECK(contents_of(service.folder / "file") == "contents");
    service.daemon->send(SIGTERM);
    CHECK(service.manager.hears("STOPPING=1"));
    CHECK(service.daemon->wait() == 0);
}

// Writes to a filesystem that is frozen wait: as many of them as there are threads that serve.
TEST_CASE("signs of life come as long as requests to the mount are answered, and no longer") {
    UMBRA_NEEDS_MOUNTS();
    constexpr int kThreads = 16;
    Service service(400);
    REQUIRE(service.manager.hears("READY=1"));
    for (int i = 0; i < 3; ++i) CHECK(service.manager.hears("WATCHDOG=1"));

    const auto file = [&](int i) { return (service.folder / std::to_string(i)).string(); };
    for (int i = 0; i < 2 * kThreads; ++i) write_file(file(i), "text");
    std::vector<std::unique_ptr<BackgroundProcess>> writers;
    {
        const Frozen frozen(service.image.path());
        for (int i = 0; i < 2 * kThreads; ++i) {
            writers.push_back(std::make_unique<BackgroundProcess>(
                std::vector<std::string>{"/bin/sh", "-c", "echo more >> '" + file(i) + "'"}));
        }
        // The last signs may be under way.
        bool silent = false;
        for (int i = 0; i < 20 && !silent; ++i) {
            service.manager.forget_all();
            silent = !service.manager.hears("WATCHDOG=1", 2);
        }
        CHECK(silent);
    }
    CHECK(service.manager.hears("WATCHDOG=1"));
    for (auto& writer : writers) CHECK(writer->wait() == 0);
}

TEST_SUITE_END();

}  // namespace
}  // namespace umbra::test
