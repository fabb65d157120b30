// A client of an NFS server, in this process (libnfs), that keeps a file open.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "tests/support/ganesha.h"

struct nfs_context;
struct nfsfh;

namespace umbra::test {

class NfsFile {
   public:
    // Throws std::runtime_error when the file cannot be opened. `flags` are those of open(2).
    NfsFile(const Ganesha& server, const std::filesystem::path& file, int flags);
    NfsFile(const NfsFile&) = delete;
    NfsFile& operator=(const NfsFile&) = delete;
    ~NfsFile();

    // Both wait for a server that is away, as kernels' clients do. 0, or an errno.
    int read(std::uint64_t offset, std::size_t size, std::string& bytes);
    int write(std::uint64_t offset, const std::string& bytes);

   private:
    struct Destroy {
        void operator()(nfs_context* context) const;
    };

    const Ganesha& server_;
    std::unique_ptr<nfs_context, Destroy> context_;
    nfsfh* file_ = nullptr;
};

}  // namespace umbra::test
