#include "tests/share/nfs_support.h"

#include <sys/stat.h>
#include <sys/wait.h>

#include <stdexcept>

namespace umbra::test {

namespace {

// The server must let everybody in: who writes comes as nobody.
std::string exported(const Share& share) {
    if (::chmod(share.path().c_str(), 0777) != 0) throw std::runtime_error("chmod of the share");
    return must_run({umbra_binary(), "share", "nfs", share.path().string()});
}

}  // namespace

NfsShare::NfsShare(FilesystemType type) : share_(type), server_(exported(share_)) {}

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
