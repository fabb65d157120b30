#include "tests/share/nfs_client.h"

#include <fcntl.h>
#include <nfsc/libnfs.h>
#include <sched.h>

#include <cerrno>
#include <stdexcept>

#include "snapstore/unique_fd.h"

namespace umbra::test {

namespace {

UniqueFd network_of(const std::string& process) {
    UniqueFd network(::open(("/proc/" + process + "/ns/net").c_str(), O_RDONLY | O_CLOEXEC));
    if (!network.valid()) throw std::runtime_error("cannot open the network of " + process);
    return network;
}

// This thread is in the server's network as long as this lives: libnfs connects anew in any call.
class InNetwork {
   public:
    explicit InNetwork(const Ganesha& server) : own_(network_of("thread-self")) {
        enter(network_of(std::to_string(server.network_process())));
    }
    InNetwork(const InNetwork&) = delete;
    InNetwork& operator=(const InNetwork&) = delete;
    ~InNetwork() { (void)!::setns(own_.get(), CLONE_NEWNET); }

   private:
    static void enter(const UniqueFd& network) {
        if (::setns(network.get(), CLONE_NEWNET) != 0)
            throw std::runtime_error("cannot enter the server's network");
    }

    UniqueFd own_;
};

}  // namespace

void NfsFile::Destroy::operator()(nfs_context* context) const { ::nfs_destroy_context(context); }

NfsFile::NfsFile(const Ganesha& server, const std::filesystem::path& file, int flags)
    : server_(server), context_(::nfs_init_context()) {
    const InNetwork here(server_);
    const std::unique_ptr<nfs_url, void (*)(nfs_url*)> url(
        ::nfs_parse_url_full(context_.get(), (Ganesha::url(file) + "&autoreconnect=-1").c_str()),
        ::nfs_destroy_url);
    if (!url || ::nfs_mount(context_.get(), url->server, url->path) != 0 ||
        ::nfs_open(context_.get(), url->file, flags, &file_) != 0) {
        throw std::runtime_error("cannot open " + file.string() + " by NFS: " +
                                 ::nfs_get_error(context_.get()) + "\n" + server_.log());
    }
}

NfsFile::~NfsFile() = default;  // NFSv3 has nothing to close

int NfsFile::read(std::uint64_t offset, std::size_t size, std::string& bytes) {
    const InNetwork here(server_);
    bytes.assign(size, '\0');
    const int count = ::nfs_pread(context_.get(), file_, offset, size, bytes.data());
    bytes.resize(static_cast<std::size_t>(count < 0 ? 0 : count));
    return count < 0 ? -count : 0;
}

int NfsFile::write(std::uint64_t offset, const std::string& bytes) {
    const InNetwork here(server_);
    const int count = ::nfs_pwrite(context_.get(), file_, offset, bytes.size(), bytes.data());
    if (count < 0) return -count;
    return static_cast<std::size_t>(count) == bytes.size() ? 0 : EIO;
}

}  // namespace umbra::test
