#include "tests/share/nfs_support.h"

#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <chrono>
#include <stdexcept>
#include <thread>

namespace umbra::test {

namespace {

constexpr int kPlacesBelow = 16;

dev_t device_of(const std::filesystem::path& path) {
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) throw std::runtime_error("stat of " + path.string());
    return status.st_dev;
}

// The server must let everybody in: who writes comes as nobody.
std::string exported(const Share& share) {
    if (::chmod(share.path().c_str(), 0777) != 0) throw std::runtime_error("chmod of the share");
    return must_run({umbra_binary(), "share", "nfs", share.path().string()});
}

}  // namespace

class NfsShare::Placeholder {
   public:
    Placeholder() {
        if (::mount("umbra-test", directory_.path().c_str(), "tmpfs", 0, "size=64k") != 0)
            throw std::runtime_error("cannot mount a tmpfs");
    }
    Placeholder(const Placeholder&) = delete;
    Placeholder& operator=(const Placeholder&) = delete;
    ~Placeholder() { ::umount2(directory_.path().c_str(), MNT_DETACH); }

    dev_t device() const { return device_of(directory_.path()); }

   private:
    TempDir directory_{"placeholder"};
};

// The kernel gives the lowest free number. The share gets one that has free ones below it, so that
// what else is mounted on this machine meanwhile does not take it.
NfsShare::NfsShare(FilesystemType type)
    : NfsShare(type, [] {
          Placeholders below(kPlacesBelow);
          for (auto& place : below) place = std::make_unique<Placeholder>();
          return below;
      }()) {}

NfsShare::NfsShare(FilesystemType type, Placeholders below)
    : share_(type), device_(device_of(share_.path())), server_(exported(share_)) {
    below.clear();
}

void NfsShare::mount_as_before() {
    for (int second = 0; second < 60; ++second) {
        Placeholders below;
        do {
            below.push_back(std::make_unique<Placeholder>());
        } while (below.back()->device() < device_);
        if (below.back()->device() == device_) {
            below.pop_back();
            mount().mount();
            if (device_of(share_.path()) == device_) return;
            mount().unmount();
        }
        std::this_thread::sleep_for(std::chrono::seconds(1));
    }
    throw std::runtime_error("another mount of this machine keeps the share's device number");
}

SlowReader::SlowReader(const Ganesha& server, const std::filesystem::path& file) {
    std::string command = "exec";
    for (const auto& word : server.in_network({"/usr/bin/nfs-cat", Ganesha::url(file)}))
        command += " '" + word + "'";
    output_ = ::popen(command.c_str(), "re");
    if (output_ == nullptr) throw std::runtime_error("cannot start nfs-cat");
}

SlowReader::~SlowReader() {
    if (output_ == nullptr) return;
    std::string rest;
    finish(rest);
}

std::string SlowReader::read(std::size_t size) {
    std::string bytes(size, '\0');
    bytes.resize(std::fread(bytes.data(), 1, size, output_));
    return bytes;
}

int SlowReader::finish(std::string& text) {
    for (std::string more; !(more = read(1 << 20)).empty();) text += more;
    const int status = ::pclose(output_);
    output_ = nullptr;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

}  // namespace umbra::test
